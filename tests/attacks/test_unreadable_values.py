"""One value that cannot be read hides nothing: whoever owns the database blinds no reader of the log with it."""

import pytest

from audit import one_event
from audit.seal import SealState, seal_of
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id
from tests import databases
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


COLUMNS = (
    "object_type",
    "object_id",
    "op",
    "changed",
    "action",
    "actor_id",
    "actor_type",
    "outcome",
    "risk",
    "kid",
    "mac",
    "body",
)
EVENTS = {
    **{f"{column}=nothing": f"{column} = NULL" for column in COLUMNS},
    "no address": "actor_id = 'a/b'",
}


@pytest.mark.parametrize("change", EVENTS.values(), ids=list(EVENTS))
def test_a_value_of_an_event_that_is_none_hides_no_other_and_is_not_proved(workspace, admin, read, change):
    """Whoever owns the table can take NOT NULL away."""
    column = change.split(" ")[0]
    with enter(workspace.pk):
        told = record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"))
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.event ALTER {column} DROP NOT NULL")
        try:
            sealing.seal()
            sealing.tamper(f"UPDATE audit.event SET {change} WHERE id = %s", told.id)
            listed, shown = read(told.id)
        finally:
            sealing.tamper("DELETE FROM audit.event WHERE id = %s", told.id)
            owner.execute(f"ALTER TABLE audit.event ALTER {column} SET NOT NULL")
    assert (listed.status_code, shown.status_code) == (200, 200)
    assert public_id("evt", told.id) in listed.content.decode()
    assert "Tell your security lead" in shown.content.decode()


@pytest.mark.parametrize("index", [-1, 2**63 - 1])
def test_a_leaf_at_no_index_is_none(workspace, read, index):
    (_hash, event_id), *_more = sealing.leaves(workspace.pk)
    with databases.admin() as owner:
        owner.execute("ALTER TABLE audit.leaf DROP CONSTRAINT leaf_idx_check")
        try:
            sealing.tamper("UPDATE audit.leaf SET idx = %s WHERE event_id = %s", index, event_id)
            assert [answer.status_code for answer in read(event_id)] == [200, 200]
        finally:
            sealing.tamper("DELETE FROM audit.leaf")
            owner.execute("ALTER TABLE audit.leaf ADD CONSTRAINT leaf_idx_check CHECK (idx >= 0)")


@pytest.mark.usefixtures("read")
def test_the_entry_of_a_leaf_without_an_event_is_not_found_by_its_index(workspace, auditor):
    sealing.tamper("UPDATE audit.leaf SET event_id = NULL WHERE idx = 0")
    with enter(workspace.pk):
        assert one_event.event_named(auditor, "0") is None
        assert one_event.event_named(auditor, "1")


@pytest.mark.usefixtures("read")
def test_a_process_whose_key_was_taken_out_of_use_says_that_the_log_takes_nothing(workspace, auditor):
    with databases.admin() as owner:
        kept = owner.execute("SELECT not_after FROM audit.key WHERE kid = 'web-1'").fetchone()
        sealing.tamper("UPDATE audit.key SET not_after = '-infinity' WHERE kid = 'web-1'")
        try:
            answer = browser(auditor).get(f"/w/{workspace.slug}/audit/")
        finally:
            sealing.tamper("UPDATE audit.key SET not_after = %s WHERE kid = 'web-1'", *kept)
    assert answer.status_code == 503
    assert "The audit log accepts no event from this process" in answer.content.decode()


@pytest.mark.parametrize("at", ["infinity", "20000-01-01", "2100-01-01", "-infinity", "4000-01-01 BC"])
def test_a_checkpoint_of_no_time_keeps_the_log_readable_and_is_no_seal(workspace, auditor, read, at):
    """Nor is one of a time to come: the sealer could be dead for as long."""
    (_hash, event_id), *_more = sealing.leaves(workspace.pk)
    assert sealing.tamper(f"UPDATE audit.checkpoint SET at = '{at}'")
    assert [answer.status_code for answer in read(event_id)] == [200, 200]
    with enter(workspace.pk):
        assert seal_of(auditor).state is SealState.STALE
