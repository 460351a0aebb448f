"""A policy that holds back an answer holds back the answer: what the call did stands, and nobody does it again (M060)."""

import json

import pytest

from audit.taxonomy import Event
from gateway import services
from gateway.calls.performance import WITHHELD
from gateway.contract import CallState
from provenance.ids import uuid7
from tests.fakes.mcp_server import text, tool
from tests.gateway.world import detail

IBAN = "SE35 5000 0000 0549 1000 0003"


@pytest.fixture
def writing(world, fake):
    """`up.send`, a write that may be done once; what it answers holds a field that no agent may see."""
    fake.tools = [tool("send", {"text": {"type": "string"}})]
    world.add_server("up", fake.url, access="write")
    world.review("up.send", "write")
    world.add_agent("helper", ["up.send"], trust="high")
    world.grant("helper", "up.send")
    world.environment = "development"
    services.set_dlp_policy(actor=world.admin, name="accounts", fields=["iban"], action="block")
    fake.reply = lambda _name, _arguments: text(f"iban: {IBAN}", structuredContent={"iban": IBAN, "number": 7})
    return world


def test_a_write_whose_answer_is_held_back_has_succeeded(writing, fake):
    call_id = uuid7()
    first = writing.call("helper", "up.send", call_id=call_id, text="hello")
    again = writing.call("helper", "up.send", call_id=call_id, text="hello")
    for answer in (first, again):
        assert (answer.state, answer.rule, answer.reason) == (CallState.SUCCEEDED, "dlp.blocked", WITHHELD), answer
        assert (answer.result.text, answer.result.structured_content) == (WITHHELD, None)
        assert not answer.result.is_error
        assert IBAN not in json.dumps(answer.to_json())
    assert len(fake.calls) == 1
    (called,) = writing.events(Event.MCP_TOOL_CALLED)
    assert (called.outcome, detail(called)["rule"]) == ("success", "dlp.blocked")
    assert IBAN not in json.dumps(detail(called))
    assert [detail(event)["rule"] for event in writing.events(Event.POLICY_VIOLATION)] == ["accounts"]


def test_an_error_whose_words_are_held_back_is_still_an_error(writing, fake):
    fake.reply = lambda _name, _arguments: text(f"No such iban: {IBAN}", isError=True)
    answer = writing.call("helper", "up.send", text="hello")
    assert (answer.state, answer.rule) == (CallState.FAILED, "tool.error")
    assert (answer.result.text, answer.result.is_error) == (WITHHELD, True)


def test_an_answer_without_the_field_is_shown(writing, fake):
    fake.reply = lambda _name, _arguments: text("number: 7")
    answer = writing.call("helper", "up.send", text="hello")
    assert (answer.state, answer.rule, answer.result.text) == (CallState.SUCCEEDED, "", "number: 7")
