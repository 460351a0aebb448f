"""A grant ends by itself, the log says so once, and then the tool can be granted again (M010, M015, M035)."""

from datetime import timedelta

import pytest
from django.db import Error, connection, transaction
from django.utils import timezone

from audit.taxonomy import Event
from gateway import services
from gateway.contract import CallState
from gateway.expiry import close_ended
from gateway.models import ToolGrant
from provenance.db import enter, scope
from provenance.errors import Conflict
from provenance.sweeper import registered
from tests.gateway.world import reread_policy
from tests.racing import at_once


@pytest.fixture
def sweep(as_role):
    def at(moment):
        with as_role("worker"):
            return close_ended(moment)

    return at


def ended(world):
    return [event.object_id for event in world.events(Event.AGENT_GRANT_EXPIRED)]


def test_the_end_of_a_grant_is_recorded_once_and_by_the_platform(echo, sweep):
    granted = echo.events(Event.AGENT_TOOL_GRANTED)[-1].object_id
    now = timezone.now()
    assert sweep(now) == 0
    assert ended(echo) == []

    after = now + timedelta(days=366)
    assert [sweep(after), sweep(after)] == [1, 0]
    assert ended(echo) == [granted]
    (event,) = echo.events(Event.AGENT_GRANT_EXPIRED)
    assert (event.actor_type, event.actor_id, event.kid) == ("system", "gateway.grants", "worker-1")


def test_a_grant_that_was_revoked_before_does_not_end_again(echo, sweep):
    with scope(echo.workspace.id), transaction.atomic():
        grant = ToolGrant.objects.for_actor(echo.admin).get()
        services.revoke_grant(actor=echo.admin, grant_id=grant.pk, reason="Not needed any more.")
    assert sweep(timezone.now() + timedelta(days=366)) == 0


def run_out(world):
    """Let the one grant be over, as if its day had come a second ago."""
    world.served("UPDATE gateway_toolgrant SET expires_at = now() - interval '1 second'")


def grants(world):
    with enter(world.workspace.id):
        return list(ToolGrant.objects.order_by("id"))


def test_a_tool_is_granted_again_although_no_sweep_has_closed_the_grant_that_ran_out(echo, fake):
    """M015: in the minute before the sweep comes by, too; and the log has both, the end first."""
    run_out(echo)
    assert echo.call("helper", "up.echo", text="x").state is CallState.BLOCKED

    renewed = echo.grant("helper", "up.echo")

    reread_policy(echo)
    assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    old, new = grants(echo)
    assert (old.revoked_at, new.pk, new.ended_at) == (None, renewed.pk, None)
    assert old.ended_at >= old.expires_at
    (event,) = echo.events(Event.AGENT_GRANT_EXPIRED)
    assert (event.object_id, event.actor_type, event.actor_id) == (str(old.pk), "system", "gateway.grants")
    granted = [event.object_id for event in echo.events(Event.AGENT_TOOL_GRANTED)]
    assert granted == [str(old.pk), str(new.pk)]


def test_a_tool_is_granted_again_after_the_sweep(echo, sweep):
    run_out(echo)
    assert sweep(timezone.now()) == 1
    echo.grant("helper", "up.echo")
    assert len(echo.events(Event.AGENT_GRANT_EXPIRED)) == 1


def test_a_grant_that_still_counts_is_not_replaced(echo):
    with pytest.raises(Conflict, match="revoke it first"):
        echo.grant("helper", "up.echo")
    assert not echo.events(Event.AGENT_GRANT_EXPIRED)


def test_two_people_who_renew_at_once_make_one_grant(echo, fake):
    run_out(echo)
    outcomes = at_once(
        echo.workspace.id, lambda: echo.grant("helper", "up.echo"), lambda: echo.grant("helper", "up.echo")
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "ToolGrant"]
    assert len(grants(echo)) == 2
    assert len(echo.events(Event.AGENT_GRANT_EXPIRED)) == 1


def test_a_sweep_and_a_person_at_once_say_once_that_it_ended(echo):
    run_out(echo)
    old = grants(echo)[0]

    def close():
        keeper = services.grant_keeper(echo.workspace.id)
        return services.end_grant(actor=keeper, grant_id=old.pk, now=timezone.now())

    outcomes = at_once(echo.workspace.id, close, lambda: echo.grant("helper", "up.echo"))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(echo.events(Event.AGENT_GRANT_EXPIRED)) == 1


def test_after_a_renewed_grant_is_revoked_the_one_that_ran_out_does_not_count_again(echo, fake):
    run_out(echo)
    renewed = echo.grant("helper", "up.echo")
    services.revoke_grant(actor=echo.admin, grant_id=renewed.pk, reason="Not needed any more.")
    reread_policy(echo)
    assert echo.call("helper", "up.echo", text="x").state is CallState.BLOCKED
    assert not fake.calls


def test_a_grant_that_has_ended_is_not_revoked(echo, sweep):
    run_out(echo)
    sweep(timezone.now())
    with pytest.raises(Conflict, match="ended by itself"):
        services.revoke_grant(actor=echo.admin, grant_id=grants(echo)[0].pk, reason="Not needed any more.")


def test_a_worker_cannot_close_a_grant_before_its_time(echo, as_role):
    """T01: the role that sweeps may close what is over and nothing else."""
    statements = ["ended_at = now()", "revoked_at = now()", "expires_at = now() + interval '1 year'"]
    for change in statements:
        with as_role("worker"), pytest.raises(Error), enter(echo.workspace.id), connection.cursor() as cursor:
            cursor.execute(f"UPDATE gateway_toolgrant SET {change}")


def test_the_sweeper_knows_it():
    assert "gateway.grants" in registered()
