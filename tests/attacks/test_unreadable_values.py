"""One value that cannot be read hides nothing: whoever owns the database blinds no reader of the log with it."""

import pytest

from audit.seal import SealState, seal_of
from provenance.db import enter
from provenance.ids import public_id
from tests.audit import sealing
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)

NINES = "9" * 5000
DETAILS = [
    "body = '\\x00ff'",
    "body = '[1]'",
    "body = 'null'",
    f"body = convert_to('{{\"reason\":{NINES}}}', 'UTF8')",
    "body = convert_to(repeat('[', 60000), 'UTF8')",
    "erased_at = 'infinity', salt = NULL, body = NULL",
    "erased_at = '-infinity', salt = NULL, body = NULL",
    "erased_at = '4000-01-01 BC', salt = NULL, body = NULL",
    "erased_at = '20000-01-01', salt = NULL, body = NULL",
]


@pytest.fixture
def read(workspace, auditor):
    """What the log's page and the page of one event answer."""
    sealing.seal()
    client = browser(auditor)

    def answers(event_id):
        pages = ["", f"{public_id('evt', event_id)}/"]
        return [client.get(f"/w/{workspace.slug}/audit/{page}") for page in pages]

    return answers


@pytest.mark.parametrize("change", DETAILS, ids=[change[:40] for change in DETAILS])
def test_a_detail_that_says_nothing_hides_no_event(workspace, read, change):
    (_hash, event_id), *_more = sealing.leaves(workspace.pk)
    assert sealing.tamper(f"UPDATE audit.detail SET {change} WHERE event_id = %s", event_id) == 1
    listed, shown = read(event_id)
    assert (listed.status_code, shown.status_code) == (200, 200)
    assert public_id("evt", event_id) in listed.content.decode()


@pytest.mark.parametrize("at", ["infinity", "20000-01-01", "2100-01-01", "-infinity", "4000-01-01 BC"])
def test_a_checkpoint_of_no_time_keeps_the_log_readable_and_is_no_seal(workspace, auditor, read, at):
    """Nor is one of a time to come: the sealer could be dead for as long."""
    (_hash, event_id), *_more = sealing.leaves(workspace.pk)
    assert sealing.tamper(f"UPDATE audit.checkpoint SET at = '{at}'")
    assert [answer.status_code for answer in read(event_id)] == [200, 200]
    with enter(workspace.pk):
        assert seal_of(auditor).state is SealState.STALE
