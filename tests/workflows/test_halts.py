"""A halt means the same at the engine, the gateway, the model proxy and the vault, whichever way it was named."""

from dataclasses import replace

import httpx2
import pytest
from django.db import transaction

from apikeys.services import issue_key
from audit.taxonomy import Event
from gateway import tokens
from gateway.contract import CallState
from gateway.credentials import Halted
from provenance.actor import ActorKind
from provenance.ids import public_id
from tests.gateway.world import CALL_TOKEN, detail, reread_policy
from tests.workflows.desk import desk_in
from workflows import services
from workflows.models import Workflow
from workspaces.services import engage_halt

KINDS = ["workspace", "environment", "workflow", "agent", "server", "tool", "provider", "key"]
PREFIXES = {"workflow": "wf", "agent": "agt", "server": "srv", "tool": "tool", "provider": "mdp", "key": "key"}


@pytest.fixture
def desk(transactional_db, as_role):
    with desk_in(as_role) as made:
        made.key, _text = issue_key(actor=made.world.admin, name="starter", scopes=["runs:write"])
        yield made


@pytest.fixture
def held(desk):
    """A run of `sending` that a worker holds, started through the key, as the gateway's doors see it."""
    world = desk.world
    run = world.start_run()
    with transaction.atomic():
        workflow = Workflow.objects.get(slug="sending")
    world.owner_does(
        "UPDATE workflows_run SET workflow_id = %s, key_id = %s WHERE id = %s", workflow.pk, desk.key.pk, run.id
    )
    return run


def names(desk):
    """How people call each thing, and its id."""
    world = desk.world
    with transaction.atomic():
        workflow = Workflow.objects.get(slug="sending")
    provider = world.agents["helper"]
    return {
        "workspace": (str(world.workspace.pk), world.workspace.pk),
        "environment": ("development", None),
        "workflow": ("sending", workflow.pk),
        "agent": ("helper", provider.id),
        "server": ("up", world.servers["up"].pk),
        "tool": ("up.send", world.tools["up.send"].pk),
        "provider": ("fake", provider_id(world)),
        "key": (desk.key.prefix, desk.key.pk),
    }


def provider_id(world):
    from agents.models import ModelProvider

    with transaction.atomic():
        return ModelProvider.objects.get(name="fake").pk


def spelled(desk, kind, how):
    name, id_ = names(desk)[kind]
    if how == "name" or id_ is None:
        return name
    return str(id_) if how == "id" or kind not in PREFIXES else public_id(PREFIXES[kind], id_)


def halt(desk, kind, how="name"):
    name = spelled(desk, kind, how)
    return engage_halt(actor=desk.world.admin, scope_kind=kind, scope_id=name, reason="Looks odd.")


def started_by_key(desk, workflow, kind=ActorKind.INTEGRATION):
    """A run that a program, or an agent of somebody else's, started through the key."""
    id_ = desk.key.pk if kind is ActorKind.INTEGRATION else desk.world.agents["helper"].id
    actor = replace(desk.operator, kind=kind, id=str(id_), via=f"key:{desk.key.pk}", on_behalf_of=desk.operator.id)
    with transaction.atomic():
        return services.start_run(actor=actor, workflow_slug=workflow, input={"words": "hello"})


def model_code(desk):
    token = tokens.mint(desk.world.claims("helper"), CALL_TOKEN)
    url = f"{desk.world.url}/call/model/fake/chat/completions"
    body = {"model": "model-2026-01-01", "messages": []}
    return httpx2.post(url, json=body, headers={"Authorization": f"Bearer {token}"}).json().get("code")


@pytest.mark.parametrize("how", ["name", "id", "public id"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_the_engine(desk, kind, how):
    desk.answers = []
    run = started_by_key(desk, "asking" if kind == "provider" else "sending")
    halt(desk, kind, how)
    assert desk.drive(run).status == "paused"
    assert not desk.up.calls
    assert not desk.asked


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "provider"])
@pytest.mark.parametrize("how", ["name", "id"])
def test_at_the_gateway(desk, held, kind, how):
    halt(desk, kind, how)
    reread_policy(desk.world)
    response = desk.world.call("helper", "up.send", text="hello")
    assert response.state is CallState.BLOCKED
    assert desk.world.rule(Event.MCP_TOOL_BLOCKED) == "halt.engaged"
    assert not desk.up.calls


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"server", "tool"}])
@pytest.mark.parametrize("how", ["name", "id"])
def test_at_the_model_proxy(desk, held, kind, how):
    halt(desk, kind, how)
    assert model_code(desk) == "halt.engaged"
    assert detail(desk.world.events(Event.AUTHZ_DENIED)[0])["rule"] == "halt.engaged"
    assert not desk.asked


def test_at_the_vault_the_secret_of_a_halted_server_stays_shut(desk):
    """Looking at what a server offers sends its credential as well."""
    received = len(desk.up.http.requests)
    halt(desk, "server")
    with pytest.raises(Halted, match="The server is halted"):
        desk.world.discover("up")
    assert len(desk.up.http.requests) == received


@pytest.mark.parametrize("kind", [ActorKind.INTEGRATION, ActorKind.AGENT])
def test_a_halted_key_stops_the_runs_that_were_started_through_it(desk, kind):
    mine, other = started_by_key(desk, "sending", kind), desk.start("sending")
    halt(desk, "key")
    assert desk.drive(mine).status == "paused"
    assert desk.drive(other).status == "succeeded"
