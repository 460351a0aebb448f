"""Halts: engaged by many, released by people, read by everybody below."""

from dataclasses import replace
from uuid import uuid4

import pytest

from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import scope
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from tests import factories
from workspaces import control, services
from workspaces.errors import HaltAlreadyEngaged, HaltNotEngaged


@pytest.fixture
def agents(admin):
    return {slug: str(factories.make_agent(admin, slug).pk) for slug in ("ledger-ops", "account-research")}


@pytest.fixture
def halt(admin, agents):
    return services.engage_halt(actor=admin, scope_kind="agent", scope_id="ledger-ops", reason="It loops.")


def test_a_halt_is_engaged_on_the_record_and_read_at_once(halt, agents, workspace, events):
    state = control.state(workspace.pk)
    assert (state.epoch, [item.scope_id for item in state.halts]) == (1, [agents["ledger-ops"]])
    assert [event.object_id for event in events(Event.HALT_ENGAGED)] == [str(halt.pk)]


def test_without_halts_nothing_is_stopped(workspace):
    assert control.state(workspace.pk) == control.ControlState(epoch=0)
    assert control.state(workspace.pk).stops(control.scopes_of(workspace.pk)) is None


def test_a_halt_stops_its_scope_and_nothing_else(halt, agents, workspace):
    state, own = control.state(workspace.pk), agents["ledger-ops"]
    assert state.stops(control.scopes_of(workspace.pk, agent=own, environment="production")).id == halt.pk
    assert state.stops(control.scopes_of(workspace.pk, agent=agents["account-research"])) is None
    assert state.stops(control.scopes_of(workspace.pk, workflow=own)) is None


def test_a_halt_of_the_workspace_stops_everything_and_the_harder_mode_counts(halt, agents, admin, workspace):
    services.engage_halt(
        actor=admin, scope_kind="workspace", scope_id=str(workspace.pk), mode="terminate", reason="All of it."
    )
    state = control.state(workspace.pk)
    assert state.stops(control.scopes_of(workspace.pk, agent="anything")).mode == "terminate"
    assert state.stops(control.scopes_of(workspace.pk, agent=agents["ledger-ops"])).mode == "terminate"


def test_an_approver_may_engage_and_a_viewer_may_not(approver, viewer):
    assert services.engage_halt(actor=approver, scope_kind="environment", scope_id="staging", reason="Stop.")
    with pytest.raises(PermissionDenied, match="halts:engage"):
        services.engage_halt(actor=viewer, scope_kind="environment", scope_id="production", reason="Stop.")


def test_a_key_may_engage_but_never_release(workspace, halt):
    """Vocabulary 2.2: `gateway:write` engages a halt and never releases one."""
    key = Actor(
        kind=ActorKind.INTEGRATION,
        id=str(uuid4()),
        label="key",
        workspace_id=workspace.pk,
        permissions=frozenset({Permission.GATEWAY_WRITE}),
    )
    assert services.engage_halt(actor=key, scope_kind="environment", scope_id="staging", reason="Leaks.")
    with pytest.raises(PermissionDenied, match="halts:release"):
        services.release_halt(actor=key, control_id=halt.pk, reason="Fine now.")


def test_not_even_the_platform_releases(workspace, halt):
    with pytest.raises(PermissionDenied, match="Only a person"):
        services.release_halt(actor=factories.system_of(workspace), control_id=halt.pk, reason="Fine now.")


def test_a_release_raises_the_epoch_and_works_once(admin, halt, workspace, events):
    services.release_halt(actor=admin, control_id=halt.pk, reason="Fixed.")
    assert control.state(workspace.pk) == control.ControlState(epoch=2)
    assert len(events(Event.HALT_RELEASED)) == 1
    with pytest.raises(HaltNotEngaged):
        services.release_halt(actor=admin, control_id=halt.pk, reason="Fixed.")


def test_what_is_halted_cannot_be_halted_again_until_released(admin, halt):
    with pytest.raises(HaltAlreadyEngaged):
        services.engage_halt(actor=admin, scope_kind="agent", scope_id="ledger-ops", reason="Again.")
    services.release_halt(actor=admin, control_id=halt.pk, reason="Fixed.")
    assert services.engage_halt(actor=admin, scope_kind="agent", scope_id="ledger-ops", reason="Again.").epoch == 3


def test_another_workspaces_halt_is_not_found(halt, stranger):
    with scope(stranger.workspace_id), pytest.raises(NotFound):
        services.release_halt(actor=stranger, control_id=halt.pk, reason="Not mine.")


def test_a_halt_of_another_workspace_stops_nothing_here(halt, other_workspace):
    with scope(other_workspace.pk):
        assert control.state(other_workspace.pk).halts == ()


@pytest.mark.parametrize(
    "changes", [{"scope_kind": "planet"}, {"mode": "explode"}, {"scope_id": ""}, {"reason": " "}, {"reason": "a\nb"}]
)
def test_a_halt_that_makes_no_sense_is_refused(admin, changes):
    values = {"scope_kind": "environment", "scope_id": "staging", "mode": "pause", "reason": "Stop.", **changes}
    with pytest.raises(Invalid):
        services.engage_halt(actor=admin, **values)


def test_an_actor_of_no_workspace_halts_nothing(admin):
    with pytest.raises(PermissionDenied):
        services.engage_halt(actor=replace(admin, workspace_id=None), scope_kind="agent", scope_id="a", reason="Stop.")
