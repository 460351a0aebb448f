"""What every attack on the gateway looks at: that the call was refused, and that the log says so once, signed."""

from typing import Any

from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.contract import CallRequest, CallResponse, CallState
from provenance.ids import uuid7
from tests.gateway.world import World

HIDDEN = "tool.unavailable"
"""What a caller is told where it must not learn whether there is such a tool."""


def refused(world: World, response: CallResponse, rule: str, shown: str | None = None) -> None:
    """Blocked under this rule, said once in the log under a signature that verifies."""
    assert response.state is CallState.BLOCKED, response
    assert response.rule == (shown or rule)
    (event,) = world.events(Event.MCP_TOOL_BLOCKED)
    assert world.rule(Event.MCP_TOOL_BLOCKED) == rule
    assert event.outcome == "blocked"
    key = KeyRing.from_settings("gateway").key(event.kid, world.workspace.id)
    assert key is not None
    assert key.verifies(event.body.encode(), bytes(event.mac))


def call_body(full_name: str, **arguments: Any) -> dict[str, Any]:
    """The JSON body of a call with an id of its own."""
    call_id = uuid7()
    return CallRequest(call_id=call_id, call_key=f"key-{call_id}", tool=full_name, arguments=arguments).to_json()
