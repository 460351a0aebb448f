"""A superuser puts anything into the tables that the log is read by: whoever reads it is told what is damaged, and gets nothing."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from audit.evidence import evidence_pack
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.db import enter
from tests import databases, factories
from tests.attacks.reading import ReadLog
from tests.audit import sealing

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
def _without_not_null(column: str, of: str = "checkpoint") -> Iterator[None]:
    """Whoever owns a table can take NOT NULL away."""
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.{of} ALTER {column} DROP NOT NULL")
        try:
            yield
        finally:
            sealing.tamper(f"DELETE FROM audit.{of}")
            owner.execute(f"ALTER TABLE audit.{of} ALTER {column} SET NOT NULL")


@pytest.fixture
def workspace(db):
    """Not in scope: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def read(workspace, admin, auditor):
    """What the addresses answer at which people and programs read the log."""
    return ReadLog.of(workspace, admin, auditor).answers


def test_a_log_that_is_whole_is_read_everywhere(read):
    assert refused(read()) == set()


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


DAMAGES = {
    "a log without a name": ("log", "origin", "UPDATE audit.log SET origin = NULL"),
    "a checkpoint of another log": (
        "log",
        "origin",
        "UPDATE audit.checkpoint SET note = replace(note, split_part(note, E'\n', 1), 'log.other')",
    ),
    "a leaf without a hash": ("leaf", "hash", "UPDATE audit.leaf SET hash = NULL WHERE idx = 1"),
    "no leaf": ("leaf", "hash", "DELETE FROM audit.leaf WHERE idx = 1"),
}


@pytest.mark.parametrize(("table", "column", "damage"), DAMAGES.values(), ids=list(DAMAGES))
def test_nothing_is_handed_out_of_a_log_that_is_not_whole(read, table, column, damage):
    with _without_not_null(column, of=table):
        sealing.tamper(damage)
        found = refused(read())
    assert found >= {"tile", "proof", "export", "evidence"}


@pytest.fixture
def told(workspace, admin):
    """An event that no row is held against."""
    with enter(workspace.pk):
        return record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "1"))


@pytest.mark.parametrize(
    "body", ["", "gärbage", "[]", '{"action": 5}', '{"v": []}', '{"action": "run.failed", "id": []}']
)
def test_a_text_that_is_none_of_an_event_supports_no_control(workspace, auditor, told, read, body):
    sealing.tamper("UPDATE audit.event SET body = %s WHERE id = %s", body, told.id)
    assert not refused(read()) & {"export", "evidence"}
    pack = io.BytesIO()
    with enter(workspace.pk):
        controls = evidence_pack(actor=auditor, framework_id="soc2", times=EventFilters(), out=pack)
    assert not any("run.failed" in control.by_type for control in controls)
    with zipfile.ZipFile(pack) as opened:
        assert json.loads(opened.read("report.json"))["verdict"] == "failed"


def test_an_event_that_is_larger_than_any_that_was_sealed_is_no_entry(told, read):
    with databases.admin() as owner:
        ((check,),) = sealing.rows(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'event_body_check'"
            " AND conrelid = 'audit.event'::regclass"
        )
        owner.execute("ALTER TABLE audit.event DROP CONSTRAINT event_body_check")
        try:
            sealing.tamper("UPDATE audit.event SET body = repeat('x', 70000) WHERE id = %s", told.id)
            assert refused(read()) == {"entries"}
        finally:
            sealing.tamper("DELETE FROM audit.event WHERE id = %s", told.id)
            owner.execute(f"ALTER TABLE audit.event ADD CONSTRAINT event_body_check {check}")


@pytest.mark.usefixtures("_keys_stay")
@pytest.mark.parametrize("change", NO_KEYS.values(), ids=list(NO_KEYS))
def test_no_bundle_is_made_with_a_key_that_is_none(read, change):
    sealing.tamper(f"UPDATE audit.key SET {change} WHERE kid = 'checkpoint-1'")
    answers = read()
    assert refused(answers) == {"export", "evidence"}
    assert "of checkpoint-1 is none" in answers["export"].json()["detail"]
