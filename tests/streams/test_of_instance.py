"""The log of the instance as its operator's shipper takes it: in order, each at least once, and nothing of a workspace."""

import base64
import io
import json

import pytest
from django.core.management import CommandError, call_command

from audit.judging import event_entry
from audit.merkle import leaf_hash
from audit.taxonomy import Event
from streams import of_instance
from streams.management.commands import audit_stream
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE
from tests.audit.telling import tell, tell_the_instance

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]


def stream(cursor):
    out = io.StringIO()
    call_command("audit_stream", str(cursor), stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def cursor(tmp_path):
    return tmp_path / "siem.cursor"


def test_each_sealed_event_comes_once_in_order_with_the_leaf_that_it_is(cursor, monkeypatch):
    monkeypatch.setattr(of_instance, "WINDOW", 2)
    denied = [str(tell_the_instance()) for _ in range(3)]
    tell(count=2)
    sealing.seal()
    first = stream(cursor)
    denied += [str(tell_the_instance())]
    assert stream(cursor) == []
    sealing.seal()
    records = first + stream(cursor)
    assert [json.loads(one["body"])["id"] for one in records if "authz.denied" in one["body"]] == denied
    assert [one["log_index"] for one in records] == sorted({one["log_index"] for one in records})
    assert [one["previous_index"] for one in records] == [None, *(one["log_index"] for one in records[:-1])]
    leaves = sealing.leaves(None)
    for one in records:
        assert base64.b64decode(one["leaf"]) == leaves[one["log_index"]][0]
        assert leaf_hash(event_entry(one["body"].encode(), base64.b64decode(one["mac"]))) == leaves[one["log_index"]][0]
    assert str(WORKSPACE) not in json.dumps(records)
    assert stream(cursor) == []


def test_that_a_stream_begins_is_told_once(cursor):
    stream(cursor)
    stream(cursor)
    ((_log, facts),) = sealing.told(Event.AUDIT_EXPORTED)
    assert facts["cursor"] == "siem.cursor"


def test_what_is_not_sealed_yet_waits(cursor):
    tell_the_instance()
    assert stream(cursor) == []
    sealing.seal()
    assert len(stream(cursor)) == 2


def test_where_no_cursor_can_be_made_nothing_is_told(tmp_path):
    with pytest.raises(CommandError, match="cannot be used as a cursor"):
        stream(tmp_path / "nowhere" / "cursor")
    assert not sealing.told(Event.AUDIT_EXPORTED)


def test_what_was_printed_and_not_noted_is_printed_again(cursor):
    tell_the_instance()
    sealing.seal()
    stream(cursor)
    noted = cursor.read_text()
    tell_the_instance()
    sealing.seal()
    again = stream(cursor)
    cursor.write_text(noted)
    assert stream(cursor) == again != []


@pytest.mark.parametrize("text", ["", "[]", '{"epoch": "one"}'])
def test_a_file_that_is_no_cursor_is_left_alone(cursor, text):
    cursor.write_text(text)
    with pytest.raises(CommandError, match="cannot be used as a cursor"):
        stream(cursor)
    assert cursor.read_text() == text


def test_a_log_that_was_begun_anew_is_taken_from_its_beginning(cursor):
    tell_the_instance()
    sealing.seal()
    before = stream(cursor)
    sealing.tamper(
        "UPDATE audit.checkpoint SET note = replace(note, origin, origin || '/2') FROM audit.log"
        " WHERE log_id = log.id AND log.workspace_id IS NULL"
    )
    sealing.tamper("UPDATE audit.log SET epoch = 2, origin = origin || '/2' WHERE workspace_id IS NULL")
    assert [one["log_index"] for one in stream(cursor)][: len(before)] == [one["log_index"] for one in before]


def test_who_follows_gets_what_comes_until_stopped(cursor, monkeypatch):
    came = []

    def wait(_seconds):
        if len(came) == 2:
            raise KeyboardInterrupt
        came.append(str(tell_the_instance()))
        sealing.seal()

    monkeypatch.setattr(audit_stream.time, "sleep", wait)
    out = io.StringIO()
    call_command("audit_stream", str(cursor), "--follow", stdout=out)
    said = [json.loads(json.loads(line)["body"])["id"] for line in out.getvalue().splitlines()]
    assert said[-2:] == came
