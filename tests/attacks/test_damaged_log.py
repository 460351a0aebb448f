"""A superuser puts anything into the tables that the log is read by: whoever reads it is told what is damaged, and gets nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from apikeys import services as keys
from provenance.db import enter
from provenance.ids import public_id
from tests import databases, factories
from tests.audit import sealing
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)

NO_CHECKPOINTS = {
    "nothing": "note = ''",
    "null": "note = NULL",
    "words": "note = 'gärbage — x'",
    "megabytes": "note = repeat('x', 3000000)",
    "lines": "note = E'a\n\nb\n'",
    "another size": "note = replace(note, E'\n' || size || E'\n', E'\n9223372036854775808\n')",
    "a negative size": "note = replace(note, E'\n' || size || E'\n', E'\n-7\n')",
}
NO_SIGNATURES = {
    "nothing": "signatures = ''",
    "words": "signatures = 'gärbage'",
    "no base64": "signatures = E'— log.test gärbage\n'",
    "too many": "signatures = repeat(signatures, 100)",
    "cosignatures": "cosignatures = 'gärbage'",
}
NO_KEYS = {
    "words": "vkey = 'gärbage'",
    "one byte": "vkey = 'x'",
    "no bytes": "vkey = '===='",
    "too short": "vkey = encode('\\x01ff', 'base64')",
    "an unknown algorithm": "vkey = encode('\\xff'::bytea || sha256('x'), 'base64')",
    "megabytes": "vkey = repeat('QUFB', 1000000)",
    "a rotation": "rotation = 'gärbage'",
}


@pytest.fixture
def _keys_stay():
    """`audit.key` is not emptied between tests."""
    kept = sealing.rows("SELECT vkey, rotation, kid FROM audit.key")
    yield
    for values in kept:
        sealing.tamper("UPDATE audit.key SET vkey = %s, rotation = %s WHERE kid = %s", *values)


@contextmanager
def _without_not_null(column: str) -> Iterator[None]:
    """Whoever owns a table can take NOT NULL away."""
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.checkpoint ALTER {column} DROP NOT NULL")
        try:
            yield
        finally:
            sealing.tamper("DELETE FROM audit.checkpoint")
            owner.execute(f"ALTER TABLE audit.checkpoint ALTER {column} SET NOT NULL")


@pytest.fixture
def workspace(db):
    """Not in scope: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def read(workspace, admin, auditor):
    """What the addresses that people and programs read the log at answer."""
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="monitor", scopes=["audit:read"])
    sealing.seal()
    (_hash, event_id), *more = sealing.leaves(workspace.pk)
    event, place = public_id("evt", event_id), f"000.p/{1 + len(more)}"
    clients = {"w": browser(auditor), "api": program(text)}
    log = f"/api/v1/audit/log/{workspace.pk}"
    addresses = {
        "the log": f"/w/{workspace.slug}/audit/",
        "an event": f"/w/{workspace.slug}/audit/{event}/",
        "streams": f"/w/{workspace.slug}/streams/",
        "checkpoint": f"{log}/checkpoint",
        "tile": f"{log}/tile/0/{place}",
        "entries": f"{log}/tile/entries/{place}",
        "proof": f"/api/v1/audit/events/{event}/proof",
        "export": "/api/v1/audit/export",
        "evidence": "/api/v1/audit/evidence/soc2",
    }

    def answers():
        found = {name: clients[at.split("/")[1]].get(at) for name, at in addresses.items()}
        for answer in found.values():
            if answer.streaming:
                answer.close()
        return found

    assert {name: answer.status_code for name, answer in answers().items()} == dict.fromkeys(addresses, 200)
    return answers


def refused(answers):
    """What was refused because the log is damaged; the rest was answered."""
    found = {name for name, answer in answers.items() if answer.status_code == 409}
    assert {answer.status_code for name, answer in answers.items() if name not in found} <= {200}
    for name in found - {"streams"}:
        problem = answers[name].json()
        assert (problem["code"], "./manage.py" in problem["detail"]) == ("damaged_log", True)
    return found


@pytest.mark.parametrize("change", NO_CHECKPOINTS.values(), ids=list(NO_CHECKPOINTS))
def test_nothing_is_handed_out_by_a_checkpoint_that_is_none(read, change):
    with _without_not_null("note"):
        sealing.tamper(f"UPDATE audit.checkpoint SET {change}")
        answers = read()
    assert refused(answers) == {"streams", "checkpoint", "tile", "entries", "proof", "export", "evidence"}
    assert "What is stored as checkpoint" in answers["an event"].content.decode()


@pytest.mark.parametrize("change", NO_SIGNATURES.values(), ids=list(NO_SIGNATURES))
def test_no_note_is_handed_out_whose_signatures_are_none(read, change):
    sealing.tamper(f"UPDATE audit.checkpoint SET {change}")
    answers = read()
    assert refused(answers) == {"checkpoint", "proof", "export", "evidence"}
    assert "Checkpoint is not signed" in answers["an event"].content.decode()


def test_a_checkpoint_without_cosignatures_and_time_is_one_all_the_same(read):
    with _without_not_null("cosignatures"), _without_not_null("at"):
        sealing.tamper("UPDATE audit.checkpoint SET cosignatures = NULL, at = NULL")
        assert refused(read()) == set()


@pytest.mark.usefixtures("_keys_stay")
@pytest.mark.parametrize("change", NO_KEYS.values(), ids=list(NO_KEYS))
def test_no_bundle_is_made_with_a_key_that_is_none(read, change):
    sealing.tamper(f"UPDATE audit.key SET {change} WHERE kid = 'checkpoint-1'")
    answers = read()
    assert refused(answers) == {"export", "evidence"}
    assert "of checkpoint-1 is none" in answers["export"].json()["detail"]
