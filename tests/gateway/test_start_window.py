"""What changes between the decision and the one statement that starts a call keeps the call from starting (T04)."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from audit.taxonomy import Event
from gateway.calls import performance, tool_gateway
from gateway.calls.admission import Admission
from gateway.contract import CallState
from provenance.ids import uuid7
from tests.gateway.approving import approve
from workspaces.services import engage_halt, release_halt

LEASE_SECONDS, LEASE_MARGIN_SECONDS = 60, 5
"""A call must be sent so long before its run's lease ends."""


@pytest.fixture
def meanwhile(monkeypatch):
    """`meanwhile(act)`: after the gateway has decided, and before it starts the call, this happens."""

    start = Admission._start

    def at_the_last_moment(act):
        async def late(self, *args, **more):
            await asyncio.to_thread(act)
            return await start(self, *args, **more)

        monkeypatch.setattr(Admission, "_start", late)

    return at_the_last_moment


CHANGES = {
    "the run is canceled": "UPDATE workflows_run SET status = 'canceling'",
    "the run is paused": "UPDATE workflows_run SET status = 'paused'",
    "another worker took over": "UPDATE workflows_token SET fence = fence + 1",
    "the worker gave up": "UPDATE workflows_token SET state = 'ready'",
    "the lease ended": "UPDATE workflows_token SET lease_until = now() - interval '1 second'",
    "a halt was engaged": "UPDATE workspaces_control SET epoch = epoch + 1",
}


@pytest.fixture
def halted_before(echo):
    """A halt of long ago, so that there is an epoch to count up."""
    control = engage_halt(actor=echo.admin, scope_kind="agent", scope_id="helper", mode="pause", reason="A drill.")
    release_halt(actor=echo.admin, control_id=control.pk, reason="It is over.")


@pytest.mark.usefixtures("halted_before")
def test_what_changes_after_the_decision_stops_the_call(echo, fake, meanwhile):
    for what, statement in CHANGES.items():
        echo.start_run()
        meanwhile(lambda statement=statement: echo.owner_does(statement))
        call_id = uuid7()
        response = echo.call("helper", "up.echo", call_id=call_id, text="hello")
        assert (response.state, response.rule) == (CallState.BLOCKED, "call.overtaken"), what
        assert echo.outcome("helper", call_id) is None, what
    assert not fake.calls
    assert not echo.events(Event.MCP_TOOL_REQUESTED)


@pytest.mark.usefixtures("halted_before")
def test_when_nothing_changes_the_call_starts(echo, fake, meanwhile):
    """The control of the test above."""
    meanwhile(lambda: echo.owner_does("UPDATE workflows_token SET priority = 1"))
    assert echo.call("helper", "up.echo", text="hello").state is CallState.SUCCEEDED


def test_a_worker_of_an_earlier_lease_does_not_start_a_call_that_a_later_one_asked_for(world, erp):
    """The call waits for a person under fence 2; who held fence 1 cannot move it on, whatever the token's row says."""
    call_id = uuid7()
    waiting = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET60")
    approve(world, waiting.approval_id)
    world.owner_does("UPDATE gateway_toolcall SET fence = fence + 1")
    stale = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET60")
    assert (stale.state, stale.rule) == (CallState.BLOCKED, "call.overtaken")
    assert not erp.calls
    world.owner_does("UPDATE gateway_toolcall SET fence = fence - 1")
    assert world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET60").state is (
        CallState.SUCCEEDED
    )


def test_a_call_that_was_stalled_past_its_last_moment_is_not_sent(echo, fake, monkeypatch):
    """A gateway that was stopped between its commit and the socket must not act for a lease that has ended."""
    perform, left = tool_gateway.perform, []

    async def stalled(catalog, admitted):
        left.append(admitted.send_by - leased_at)
        late = SimpleNamespace(monotonic=lambda: max(admitted.send_by, time.monotonic()))
        with monkeypatch.context() as clock:
            clock.setattr(performance, "time", late)
            return await perform(catalog, admitted)

    monkeypatch.setattr(tool_gateway, "perform", stalled)
    echo.start_run()
    echo.owner_does(
        "UPDATE workflows_token SET lease_until = clock_timestamp() + make_interval(secs => %s)", LEASE_SECONDS
    )
    leased_at = time.monotonic()
    response = echo.call("helper", "up.echo", text="hello")
    assert (response.state, response.rule) == (CallState.FAILED, "call.too_late")
    assert left[0] <= LEASE_SECONDS - LEASE_MARGIN_SECONDS
    assert not fake.calls
