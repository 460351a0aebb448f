"""An agent that calls what it may not: no grant, no trust, no room (gateway.md 5, row 21; checks 5 to 8)."""

from gateway import services
from gateway.contract import CallState
from provenance.ids import uuid7
from tests.attacks.calls import HIDDEN, refused
from tests.fakes.mcp_server import tool
from tests.gateway.world import reread_policy
from workspaces.services import engage_halt


def test_unknown_and_forbidden_look_the_same_and_the_log_knows_better(echo, fake):
    fake.tools.append(tool("other"))
    echo.discover("up")
    unknown = echo.call("helper", "up.nothing")
    forbidden = echo.call("helper", "up.other")
    assert (unknown.rule, unknown.reason) == (forbidden.rule, forbidden.reason)
    assert not fake.calls


def test_without_a_grant_an_approved_and_requested_tool_is_not_called(world, fake):
    world.add_server("up", fake.url)
    world.review("up.echo")
    world.add_agent("helper", ["up.echo"])
    refused(world, world.call("helper", "up.echo", text="x"), "grant.missing", shown=HIDDEN)
    assert not fake.calls


def test_a_revoked_grant_stops_the_next_call(world, fake):
    world.add_server("up", fake.url)
    world.review("up.echo")
    world.add_agent("helper", ["up.echo"])
    grant = world.grant("helper", "up.echo")
    assert world.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    services.revoke_grant(actor=world.admin, grant_id=grant.pk, reason="No longer needed.")
    reread_policy(world)
    refused(world, world.call("helper", "up.echo", text="x"), "grant.missing", shown=HIDDEN)
    assert len(fake.calls) == 1


def test_an_expired_grant_is_none(echo, fake):
    echo.served("UPDATE gateway_toolgrant SET expires_at = now() - interval '1 second'")
    refused(echo, echo.call("helper", "up.echo", text="x"), "grant.expired", shown=HIDDEN)
    assert not fake.calls


def test_a_low_trust_agent_writes_nothing_whatever_is_granted(world, fake):
    world.add_server("up", fake.url, access="read")
    world.review("up.echo", "write")
    world.add_agent("helper", ["up.echo"])
    world.grant("helper", "up.echo")
    refused(world, world.call("helper", "up.echo", text="x"), "trust.capability")
    assert not fake.calls


def test_a_forbidden_tool_stays_forbidden_when_granted_by_an_earlier_version(echo, fake):
    echo.served("UPDATE agents_agentversion SET forbidden_tools = ARRAY['up.echo']")
    refused(echo, echo.call("helper", "up.echo", text="x"), "agent.forbidden")
    assert not fake.calls


def test_a_halt_stops_the_next_call(echo, fake):
    assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    engage_halt(actor=echo.admin, scope_kind="agent", scope_id="helper", mode="pause", reason="Looks odd.")
    call_id = uuid7()
    response = echo.call("helper", "up.echo", call_id=call_id, text="x")
    assert response.state is CallState.BLOCKED
    assert len(fake.calls) == 1


def test_the_51st_call_of_a_low_trust_run_is_refused(echo, fake):
    """Row 21 in part: an allowed tool in a loop."""
    echo.start_run()
    for _ in range(50):
        assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    refused(echo, echo.call("helper", "up.echo", text="x"), "limit.calls")
    assert len(fake.calls) == 50
