"""Filling the demo workspace, through the same services that people use, each change with its event.

All of it is one transaction: the workspace is there whole or not at all, and one that is there is left as people made
it. The operator does what an operator does (with the operator's rights, so that conflicts of duty come out as in real
life); only people and workspace are made by the platform.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents import services as agents
from agents.definition import RequestedTool
from apikeys import services as apikeys
from apikeys.authentication import actor_for_key
from gateway import services as gateway
from gateway.models import McpServer, Tool
from gateway.upstream import Upstream
from provenance.actor import Actor, ActorKind
from provenance.db import scope
from provenance.egress import Egress
from provenance.home import Home
from provenance.management.demo.seed_file import Seed
from provenance.management.demo.sign_ins import Person, SignIns, new_password
from provenance.permissions import Permission
from secrets_vault import services as vault
from secrets_vault.services import Binding
from workflows import documents
from workflows import services as workflows
from workspaces import lookups
from workspaces import services as workspaces
from workspaces.roles import permissions_of

VIA = "seed_demo"
SLOT = "header:Authorization"
ENVIRONMENTS = frozenset({"demo", "test"})

Listings = Mapping[str, Sequence[dict[str, Any]]]


class NotADemo(Exception):
    """This installation is not for trying things out."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the example servers and the scripted model listen, and what they demand."""

    home: Home

    def server(self, slug: str) -> str:
        """Address of an example server's MCP endpoint."""
        return f"http://127.0.0.1:{self.home.ports().examples}/{slug}/mcp"

    @property
    def model(self) -> str:
        """Base URL of the scripted model."""
        return f"http://127.0.0.1:{self.home.ports().scripted_model}/v1"


def seed_demo(home: Home, seed: Seed) -> bool:
    """Fill the demo workspace and start its runs; False when it is there already, and then nothing is touched.

    Raises `NotADemo` in production, `UpstreamError` when an example server does not answer.
    """
    if settings.ENVIRONMENT not in ENVIRONMENTS:
        raise NotADemo(
            f"PROVENANCE_ENV is {settings.ENVIRONMENT}, and demo people and a scripted model have no place there. "
            "On a machine for trying things out, set PROVENANCE_ENV=demo."
        )
    if lookups.workspace_of_slug(seed["workspace"]["slug"]):
        return False
    places = Places(home)
    # Asked before the transaction: nothing waits for a network while it holds locks.
    listings = asyncio.run(_listings(places, seed))
    with transaction.atomic():
        sign_ins = _fill(places, seed, listings)
        # Before the commit: passwords and key are in no other place, so they must not be lost between the two.
        sign_ins.write(home.demo_file)
    return True


async def _listings(places: Places, seed: Seed) -> Listings:
    """What each server offers, by its slug. The tokens are those that the vault is about to be given."""
    found = {}
    for server in seed["servers"]:
        url = places.server(server["slug"])
        upstream = Upstream(url, Egress.to(url))
        token = places.home.read_key(server["key"])
        try:
            found[server["slug"]] = await upstream.list_tools(credentials={"Authorization": f"Bearer {token}"})
        finally:
            await upstream.aclose()
    return found


def _fill(places: Places, seed: Seed, listings: Listings) -> SignIns:
    host = Actor.system(VIA, None, {Permission.WORKSPACE_WRITE, Permission.MEMBERS_WRITE})
    workspace = workspaces.create_workspace(actor=host, **seed["workspace"])
    with scope(workspace.pk):
        members = {
            title: _join(replace(host, workspace_id=workspace.pk), person) for title, person in seed["people"].items()
        }
        operator = members["operator"][0]
        _connect_model(operator, places, seed["model"])
        for server in seed["servers"]:
            _connect_server(operator, places, server, listings[server["slug"]])
        for policy in seed["redactions"]:
            gateway.set_dlp_policy(actor=operator, **policy)
        for agent in seed["agents"]:
            _register_agent(operator, agent, seed.agents[agent["file"]])
        for source in seed.workflows.values():
            _publish(operator, source)
        key, audit_key = (_issue_key(operator, seed[name]) for name in ("integration", "auditing"))
    _start_runs(key, seed)
    return SignIns(
        workspace=workspace.slug,
        workspace_id=str(workspace.pk),
        people=[Person(title=title, password=members[title][1], **person) for title, person in seed["people"].items()],
        api_key=key,
        audit_key=audit_key,
    )


def _join(host: Actor, person: Mapping[str, Any]) -> tuple[Actor, str]:
    """A new person with these roles: as an actor, and the password that was made up."""
    password = new_password()
    account = replace(host, workspace_id=None)
    user = workspaces.create_user(actor=account, email=person["email"], name=person["name"], password=password)
    workspaces.add_member(actor=host, user_id=user.pk, roles=person["roles"])
    actor = Actor(
        kind=ActorKind.USER,
        id=str(user.pk),
        label=user.name,
        workspace_id=host.workspace_id,
        permissions=permissions_of(person["roles"]),
        via=VIA,
    )
    return actor, password


def _connect_model(operator: Actor, places: Places, model: Mapping[str, Any]) -> None:
    vault.create_secret(
        actor=operator,
        name=model["secret"],
        value=places.home.read_key(model["key"]),
        bindings=[Binding(places.model, SLOT)],
        access="read",
    )
    agents.create_provider(
        actor=operator,
        name=model["name"],
        base_url=places.model,
        secret_name=model["secret"],
        scripted=True,
        input_price=model["input_price"],
        output_price=model["output_price"],
        currency=model["currency"],
        capabilities=model["capabilities"],
    )


def _connect_server(
    operator: Actor, places: Places, server: Mapping[str, Any], listing: Sequence[dict[str, Any]]
) -> None:
    """Register, discover, review and approve, in the order in which an operator does it."""
    url = places.server(server["slug"])
    vault.create_secret(
        actor=operator,
        name=server["secret"],
        value=places.home.read_key(server["key"]),
        bindings=[Binding(url, SLOT)],
        access=server["access"],
    )
    registered: McpServer = gateway.register_server(
        actor=operator,
        slug=server["slug"],
        title=server["title"],
        url=url,
        secret_name=server["secret"],
        slot=SLOT,
        private_network=True,
    )
    found = {
        tool.name: tool for tool in gateway.record_listing(actor=operator, server_id=registered.pk, listing=listing)
    }
    for review in server["reviews"]:
        tool, verdict = found[review["tool"]], {name: value for name, value in review.items() if name != "tool"}
        gateway.review_tool(actor=operator, tool_id=tool.pk, pin=tool.pin, **verdict)
    gateway.approve_server(actor=operator, server_id=registered.pk, reason=server["approved_because"])


def _register_agent(operator: Actor, wanted: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    agent = agents.create_agent(actor=operator, slug=definition["slug"], title=definition["title"])
    agents.publish_version(actor=operator, agent_id=agent.pk, configuration=configuration(definition))
    if "trust" in wanted:
        agents.raise_trust(
            actor=operator, agent_id=agent.pk, level=wanted["trust"], justification=wanted["justification"]
        )
    for grant in wanted["grants"]:
        server, _, name = grant["tool"].partition(".")
        gateway.grant_tool(
            actor=operator,
            agent_id=agent.pk,
            tool_id=Tool.objects.for_actor(operator).get(server__slug=server, name=name).pk,
            reason=grant["reason"],
            expires_at=timezone.now() + timedelta(days=grant["days"]),
            constraints=grant.get("constraints"),
        )


def configuration(definition: Mapping[str, Any]) -> agents.Configuration:
    """The version that an agent's file describes."""
    facts = {name: value for name, value in definition.items() if name not in {"slug", "title"}}
    return agents.Configuration(
        **{**facts, "requested_tools": [RequestedTool(**tool) for tool in facts["requested_tools"]]}
    )


def _publish(operator: Actor, source: str) -> None:
    slug = documents.read(source)["name"]
    workflows.save_draft(actor=operator, slug=slug, source=source)
    workflows.publish_version(actor=operator, slug=slug)


def _issue_key(operator: Actor, wanted: Mapping[str, Any]) -> str:
    _key, text = apikeys.issue_key(
        actor=operator, name=wanted["name"], scopes=wanted["scopes"], expires_in_days=wanted["days"]
    )
    return text


def _start_runs(key: str, seed: Seed) -> None:
    """The runs that a newcomer finds, started by the integration as it will start all others."""
    actor = actor_for_key(key)
    workspace_id = actor.workspace_id
    assert isinstance(workspace_id, UUID)  # noqa: S101  a key always has one
    with scope(workspace_id):
        for run in seed["runs"].values():
            workflows.start_run(actor=actor, workflow_slug=run["workflow"], input=run["input"])
