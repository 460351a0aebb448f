"""The worker asks, when the answer to a `once` call was lost, the tool that knows; a person only where it does not."""

import socket

import pytest

from audit.taxonomy import Event
from tests import databases
from tests.fakes.mcp_server import text, tool
from tests.workflows.desk import ANSWERS, desk_in

pytestmark = pytest.mark.django_db(transaction=True)

KEY = {"key": {"type": "string"}}


@pytest.fixture
def desk(transactional_db, as_role):
    """The desk, after its server learned to say what became of a key."""
    with desk_in(as_role) as made:
        made.up.tools[:] = [
            tool("send", {"text": {"type": "string"}, **KEY}, outputSchema=ANSWERS),
            tool("sent", KEY),
        ]
        made.world.discover("up")
        made.world.review("up.sent")
        made.world.review("up.send", "write", idempotency_argument="key", verify_tool="sent")
        yield made


def losing(word):
    """What the server does: `send` never answers, `sent` says the word."""

    def reply(name, _arguments):
        if name == "send":
            return lambda connection, _id: connection.socket.shutdown(socket.SHUT_RDWR)
        return text("", structuredContent=word) if word is not None else text("No idea.")

    return reply


def let_time_pass():
    with databases.admin() as owner:
        owner.execute("UPDATE gateway_toolcall SET not_after = now() - interval '1 hour'")


def sent(desk):
    return [arguments for arguments in desk.up.sent if "text" in arguments]


def test_the_run_goes_on_with_what_the_tool_says_and_no_person_is_asked(desk):
    desk.up.reply = losing({"happened": True, "result": {"number": 7}})
    done = desk.drive(desk.start("sending"))
    assert done.status == "succeeded", done.failure_reason
    (call,) = desk.calls(done)
    assert (call.status, call.rule, call.resolved_by) == ("succeeded", "call.verified", "")
    assert len(sent(desk)) == 1
    assert not desk.world.events(Event.RUN_STEP_UNKNOWN)


def test_after_a_crash_the_next_worker_waits_until_a_no_can_be_believed(desk):
    desk.up.reply = losing({"happened": False})
    waiting = desk.drive(desk.start("sending"))
    assert waiting.waiting_on == ["timer"], waiting.failure_reason
    let_time_pass()
    failed = desk.drive(waiting)
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert "did not happen" in failed.failure_reason
    assert [call.status for call in desk.calls(failed)] == ["failed"]
    assert len(sent(desk)) == 1


def test_where_the_tool_cannot_say_a_person_decides(desk):
    desk.up.reply = losing(None)
    unknown = desk.drive(desk.start("sending"))
    assert unknown.waiting_on == ["decision"], unknown.failure_reason
    (call,) = desk.calls(unknown)
    assert call.status == "indeterminate"
    assert "up.sent could not say" in call.reason
    assert len(sent(desk)) == 1
