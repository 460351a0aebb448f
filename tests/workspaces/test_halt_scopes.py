"""What a halt names: one thing that exists here, by id or by the name that people use, kept as one id."""

from uuid import UUID

import pytest

from agents.models import ModelProvider
from apikeys.services import issue_key
from audit.models import AuditDetail
from audit.taxonomy import Event
from provenance.db import scope
from provenance.errors import Invalid
from provenance.ids import public_id, uuid7
from tests import factories
from workspaces import control
from workspaces.errors import HaltAlreadyEngaged
from workspaces.models import SCOPE_KINDS, Control
from workspaces.services import engage_halt

# Always the same: the workers of a test run must agree on the names of the tests.
NOBODYS = UUID("01a1fc95-0000-7000-8000-000000000000")


def halt(admin, kind, name):
    return engage_halt(actor=admin, scope_kind=kind, scope_id=name, reason="Looks odd.")


@pytest.mark.parametrize("kind", SCOPE_KINDS)
@pytest.mark.parametrize(
    "name", ["ledger-opps", "erp.getVendr", str(NOBODYS), public_id("agt", NOBODYS), "agt_x", "a\0b"]
)
def test_a_typo_halts_nothing_and_says_so(admin, kind, name):
    with pytest.raises(Invalid, match="Nothing was halted") as refusal:
        halt(admin, kind, name)
    assert refusal.value.data["errors"][0]["path"] == "scope_id"
    assert not Control.objects.for_actor(admin).exists()


def test_every_spelling_is_the_same_halt(admin, events):
    agent = factories.make_agent(admin)
    engaged = halt(admin, "agent", "ledger-ops")
    assert engaged.scope_id == str(agent.pk)
    for spelling in (str(agent.pk), public_id("agt", agent.pk), "ledger-ops"):
        with pytest.raises(HaltAlreadyEngaged):
            halt(admin, "agent", spelling)
    (event,) = events(Event.HALT_ENGAGED)
    assert AuditDetail.objects.get(pk=event.pk).facts["named"] == "ledger-ops"


def test_providers_keys_environments_and_the_workspace_are_found_too(admin, workspace):
    factories.make_agent(admin)
    key, _text = issue_key(actor=admin, name="k", scopes=["runs:write"])
    provider = ModelProvider.objects.for_actor(admin).get()
    assert halt(admin, "provider", "scripted").scope_id == str(provider.pk)
    assert halt(admin, "key", key.prefix).scope_id == str(key.pk)
    assert halt(admin, "environment", "staging").scope_id == "staging"
    assert halt(admin, "workspace", str(workspace.pk)).scope_id == str(workspace.pk)


def test_another_workspace_s_names_and_ids_name_nothing_here(admin, stranger, other_workspace):
    with scope(other_workspace.pk):
        agent = factories.make_agent(stranger)
    for name in ("ledger-ops", str(agent.pk)):
        with pytest.raises(Invalid):
            halt(admin, "agent", name)
    with pytest.raises(Invalid):
        halt(admin, "workspace", str(other_workspace.pk))


def test_work_belongs_to_what_it_has_and_always_to_its_workspace(workspace):
    run = uuid7()
    assert control.scopes_of(workspace.pk) == {("workspace", str(workspace.pk))}
    assert control.scopes_of(workspace.pk, environment="staging", workflow=run, agent=None, key="") == {
        ("workspace", str(workspace.pk)),
        ("environment", "staging"),
        ("workflow", str(run)),
    }
