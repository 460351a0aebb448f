"""One tool call through the real endpoint: decided, recorded before and after, performed once."""

from django.db import transaction

from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.ids import uuid7
from tests.gateway.world import detail


def test_an_allowed_call_reaches_the_server_and_is_recorded_before_and_after(echo, fake):
    response = echo.call("helper", "up.echo", text="hello")
    assert response.state is CallState.SUCCEEDED, response
    assert response.result.text == "done"
    assert fake.sent == [{"text": "hello"}]
    (before,), (after,) = echo.events(Event.MCP_TOOL_REQUESTED), echo.events(Event.MCP_TOOL_CALLED)
    assert before.id < after.id
    assert (before.kid, before.outcome, after.outcome) == ("gateway-1", "pending", "success")
    assert detail(before)["arguments"] == {"text": "hello"}
    (injected,) = [event for event in echo.events(Event.SECRET_INJECTED) if event.object_type == "tool_call"]
    assert detail(injected)["secret"] == "up-token"
    called = [detail(event)["actor_label"] for event in (before, injected, after)]
    assert called == ["Helper"] * 3, "an agent is called by its title, as everywhere in the log"
    tool = str(echo.tools["up.echo"].pk)
    assert [event.context["tool"] for event in (before, injected, after)] == [tool] * 3, "also when labels are erased"


def test_the_same_id_again_gives_the_stored_result_and_calls_nothing(echo, fake):
    call_id = uuid7()
    first = echo.call("helper", "up.echo", call_id=call_id, text="once")
    second = echo.call("helper", "up.echo", call_id=call_id, text="once")
    assert second.result == first.result
    assert len(fake.calls) == 1
    assert echo.outcome("helper", call_id).state is CallState.SUCCEEDED


def test_an_agent_published_a_moment_ago_may_call_at_once(echo, fake):
    """The snapshot counts as fresh for a second; a version it does not know is a reason to look again."""
    assert echo.call("helper", "up.echo", text="warms the snapshot").state is CallState.SUCCEEDED
    with transaction.atomic():
        echo.add_agent("newcomer", ["up.echo"])
        echo.grant("newcomer", "up.echo")
    assert echo.call("newcomer", "up.echo", text="first").state is CallState.SUCCEEDED
