"""An answer that comes after its call was given up: kept beside what was said of the call, and it changes nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.calls.performance import WITHHELD
from gateway.contract import CallState
from gateway.errors import AuditUnavailable
from gateway.journal import Journal
from gateway.models import ToolCall
from gateway.server import Application, Gateway
from gateway.services import set_dlp_policy
from provenance.db import enter
from provenance.ids import uuid7
from tests import databases
from tests.fakes.mcp_server import fake_mcp, text, tool
from tests.gateway.world import detail, reread_policy, served

SOON = 60


class Slow:
    """A tool that has the call, and answers when it is told to."""

    def __init__(self, server):
        self.received, self.may_answer = threading.Event(), threading.Event()
        server.reply = self.reply

    def reply(self, _name, _arguments):
        self.received.set()
        assert self.may_answer.wait(SOON)
        return text("sent", structuredContent={"number": 7, "iban": "DE89 3704"})


@pytest.fixture
def slow(world):
    with fake_mcp(tool("send", {"text": {"type": "string"}})) as server:
        world.environment = "development"
        world.add_server("up", server.url, access="write")
        world.review("up.send", "write")
        world.add_agent("helper", ["up.send"], trust="high")
        world.grant("helper", "up.send")
        world.start_run()
        yield Slow(server)


@contextmanager
def given_up(world, slow, call_id):
    """The call is at the tool, and another gateway found that nobody can be performing it any more.

    Yields the future of what the first gateway answers to its caller.
    """
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(world.call, "helper", "up.send", call_id=call_id, text="hello")
        assert slow.received.wait(SOON)
        world.owner_does("UPDATE gateway_toolcall SET not_after = now() - interval '1 hour'")
        other = Application(lambda: Gateway(databases.role_url("gateway"), KeyRing.from_settings("gateway")))
        first = world.url
        with served(other) as world.url:
            assert world.outcome("helper", call_id).state is CallState.INDETERMINATE
        world.url = first
        slow.may_answer.set()
        yield calling


def row(world, call_id):
    with enter(world.workspace.id):
        return ToolCall.objects.get(pk=call_id)


def test_it_is_kept_and_recorded_and_its_caller_is_told_that_the_call_is_unknown(world, slow):
    call_id = uuid7()
    with given_up(world, slow, call_id) as calling:
        answer = calling.result(SOON)
    assert (answer.state, answer.rule, answer.result) == (CallState.INDETERMINATE, "call.abandoned", None)
    assert answer.late_result.structured_content["number"] == 7

    kept = row(world, call_id)
    assert (kept.state, kept.result_ref) == ("indeterminate", "")
    assert kept.late_at > kept.finished_at
    (event,) = world.events(Event.MCP_TOOL_ANSWERED_LATE)
    assert (event.object_id, event.outcome) == (str(call_id), "unknown")
    assert [event.outcome for event in world.events(Event.MCP_TOOL_CALLED)] == ["unknown"]
    # Whoever asks later is told the same.
    assert world.outcome("helper", call_id).late_result.structured_content["number"] == 7


def test_it_goes_through_the_policies_like_any_answer(world, slow):
    set_dlp_policy(actor=world.admin, name="accounts", fields=["iban"])
    reread_policy(world)
    call_id = uuid7()
    with given_up(world, slow, call_id) as calling:
        answer = calling.result(SOON)
    assert "DE89 3704" not in str(answer.to_json())
    assert [detail(event)["rule"] for event in world.events(Event.POLICY_VIOLATION)] == ["accounts"]


def test_of_one_that_may_not_be_shown_only_this_is_kept_and_it_decides_nothing_either(world, slow):
    set_dlp_policy(actor=world.admin, name="accounts", fields=["iban"], action="block")
    reread_policy(world)
    call_id = uuid7()
    with given_up(world, slow, call_id) as calling:
        answer = calling.result(SOON)
    assert (answer.state, answer.rule) == (CallState.INDETERMINATE, "call.abandoned")
    assert answer.late_result.to_json() == {
        "content": [{"type": "text", "text": WITHHELD}],
        "structured_content": None,
        "is_error": False,
    }


def test_a_gateway_does_not_give_up_what_it_is_performing_itself(world, slow):
    """Its clock may have jumped while it was stopped; the call is in its hands all the same."""
    call_id = uuid7()
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(world.call, "helper", "up.send", call_id=call_id, text="hello")
        assert slow.received.wait(SOON)
        world.owner_does("UPDATE gateway_toolcall SET not_after = now() - interval '1 hour'")
        assert world.outcome("helper", call_id).state is CallState.STARTED
        slow.may_answer.set()
        assert calling.result(SOON).state is CallState.SUCCEEDED
    assert not world.events(Event.MCP_TOOL_ANSWERED_LATE)


def test_a_settlement_that_is_tried_again_is_not_late(world, slow, monkeypatch):
    """The commit went through and its confirmation did not: the second try meets its own answer."""
    commit, lost = Journal.commit, []

    async def losing_confirmation(self, workspace_id, work):
        result = await commit(self, workspace_id, work)
        if slow.received.is_set() and not lost:
            lost.append(True)
            raise AuditUnavailable
        return result

    monkeypatch.setattr(Journal, "commit", losing_confirmation)
    slow.may_answer.set()
    call_id = uuid7()
    assert world.call("helper", "up.send", call_id=call_id, text="hello").state is CallState.SUCCEEDED
    assert lost
    assert row(world, call_id).late_result_ref == ""
    assert not world.events(Event.MCP_TOOL_ANSWERED_LATE)
