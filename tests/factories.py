"""Rows for tests, made through the services, so that each comes with its events. Each app adds its own below its header."""

from collections.abc import Iterable
from itertools import count
from typing import Any
from uuid import UUID

from django.conf import settings

from agents import services as agents
from agents.definition import RequestedTool
from agents.models import Agent, ModelProvider
from approvals import services as approvals
from approvals.digest import ActionFacts
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import scope
from provenance.ids import uuid7
from provenance.permissions import Permission
from tests import databases
from workspaces import services as workspaces
from workspaces.models import Workspace
from workspaces.roles import permissions_of

_numbers = count(1)

PASSWORD = "correct-horse-battery-42"

# --- audit -----------------------------------------------------------------------------------------------------------


def events(event: Event | None = None) -> list[AuditEvent]:
    """What the log of the workspace in scope holds (of one type), oldest first."""
    found = AuditEvent.objects.order_by("id")
    return list(found.filter(action=event) if event else found)


def instance_events(event: Event | None = None) -> list[AuditEvent]:
    """What the instance log holds (of one type), oldest first. Only `prov_audit_read` can read it."""
    before = databases.become("prov_audit_read")
    try:
        found = AuditEvent.objects.filter(workspace_id__isnull=True).order_by("id")
        return list(found.filter(action=event) if event else found)
    finally:
        databases.become(before)


# --- workspaces ------------------------------------------------------------------------------------------------------


def host() -> Actor:
    """The platform itself, as commands on the host act."""
    return Actor.system("tests", None, permissions=Permission)


def make_workspace(name: str = "") -> Workspace:
    """A workspace with its three environments."""
    number = next(_numbers)
    return workspaces.create_workspace(actor=host(), slug=f"workspace-{number}", name=name or f"Workspace {number}")


def make_member(workspace: Workspace, roles: Iterable[str], name: str = "") -> Actor:
    """A person with these roles in the workspace, as the door of sessions would present them."""
    number = next(_numbers)
    name = name or f"Person {number}"
    user = workspaces.create_user(actor=host(), email=f"person-{number}@example.com", name=name, password=PASSWORD)
    with scope(workspace.id):
        workspaces.add_member(actor=system_of(workspace), user_id=user.pk, roles=set(roles))
    return actor_of(workspace, user.pk, roles, label=name)


def system_of(workspace: Workspace) -> Actor:
    """The platform itself, inside this workspace."""
    return Actor.system("tests", workspace.id, permissions=Permission)


def actor_of(workspace: Any, user_id: UUID, roles: Iterable[str], label: str = "") -> Actor:
    """The actor that a signed-in member with these roles is."""
    return Actor(
        kind=ActorKind.USER,
        id=str(user_id),
        label=label,
        workspace_id=workspace.id,
        permissions=permissions_of(roles),
        via="session",
        request_id="test",
        ip="127.0.0.1",
    )


# --- approvals -------------------------------------------------------------------------------------------------------

VENDOR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["vendor_id", "payment_terms", "effective_from"],
    "additionalProperties": False,
    "properties": {
        "vendor_id": {"type": "string", "readOnly": True},
        "payment_terms": {"type": "string", "enum": ["NET30", "NET60", "NET90"]},
        "effective_from": {"type": "string", "format": "date"},
        "reference": {"type": "string", "maxLength": 20},
    },
}
VENDOR_PAYLOAD = {
    "vendor_id": "V-10233",
    "payment_terms": "NET60",
    "effective_from": "2026-12-01",
    "reference": "CON-4821",
}
VENDOR_EVIDENCE = [
    {"label": "Contract reference", "value": "CON-4821", "tone": "emerald", "note": "Clause 7.2 names Net-60"},
    {"label": "Open invoices", "value": "3, worth 48,120.00 SEK", "tone": "slate"},
    {"label": "Agent confidence", "value": "0.71", "tone": "amber"},
    {"label": "Effective date", "value": "Contract says 1 January 2027", "tone": "rose"},
]


def agent_actor(workspace: Any, on_behalf_of: str = "") -> Actor:
    """An agent of the workspace that may ask for approvals."""
    return Actor(
        kind=ActorKind.AGENT,
        id="agent-ledger-ops",
        label="ledger-ops",
        workspace_id=workspace.id,
        permissions=frozenset({Permission.APPROVALS_WRITE}),
        via="worker",
        on_behalf_of=on_behalf_of,
    )


def action_facts(workspace: Any, **changes: Any) -> ActionFacts:
    """The facts of one call of `erp.updateVendorTerms`."""
    facts: dict[str, Any] = {
        "workspace_id": workspace.id,
        "call_key": "run-1:update:1",
        "environment": "production",
        "tool": "erp.updateVendorTerms",
        "pin": "a" * 64,
        "target": "http://127.0.0.1:8421",
        "workflow_version": "b" * 64,
        "policy_digest": "c" * 64,
    }
    return ActionFacts(**{**facts, **changes})


def make_approval(workspace: Any, actor: Actor | None = None, **changes: Any) -> ApprovalRequest:
    """A request of an agent, asked by a worker; inside the workspace's scope."""
    values: dict[str, Any] = {
        "origin": "run_step",
        "origin_id": uuid7(),
        "run_id": None,
        "title": "Change Halden Supply AB payment terms from Net-30 to Net-60",
        "rationale": "The amendment to CON-4821 moves the vendor to Net-60.",
        "risk": "high",
        "sla_minutes": 120,
        "payload": VENDOR_PAYLOAD,
        "payload_schema": VENDOR_SCHEMA,
        "current": {"vendor_id": "V-10233", "payment_terms": "NET30"},
        "evidence": VENDOR_EVIDENCE,
        "facts": action_facts(workspace),
        "agent_label": "ledger-ops",
        "tool_label": "erp.updateVendorTerms",
        "conflicted_user_ids": [],
    }
    signs_before, settings.AUDIT_SIGNS_AS = settings.AUDIT_SIGNS_AS, "worker"
    before = databases.become("prov_worker")
    try:
        return approvals.request_approval(actor=actor or agent_actor(workspace), **{**values, **changes})
    finally:
        databases.become(before)
        settings.AUDIT_SIGNS_AS = signs_before


# --- agents ----------------------------------------------------------------------------------------------------------


def make_provider(actor: Actor, name: str = "scripted") -> ModelProvider:
    """A scripted model provider on loopback; inside the workspace's scope."""
    return agents.create_provider(
        actor=actor, name=name, base_url="http://127.0.0.1:8422/v1", secret_name="model-key", scripted=True
    )


def agent_configuration(**changes: Any) -> agents.Configuration:
    """A version as its author writes it, for the provider of `make_provider`."""
    values: dict[str, Any] = {
        "provider": "scripted",
        "model": "scripted-analyst-2026-11-01",
        "system_prompt": "You compare the terms in the ERP with what was signed. The word of the day is marzipan.",
        "requested_tools": [RequestedTool("erp.getVendor", "Reads the terms in force before it compares them.")],
        "forbidden_actions": ["Change bank details of a vendor."],
        "forbidden_tools": ["erp.exportLedger"],
    }
    return agents.Configuration(**{**values, **changes})


def make_agent(actor: Actor, slug: str = "ledger-ops", **changes: Any) -> Agent:
    """An agent of low trust with one version; inside the workspace's scope."""
    if not ModelProvider.objects.for_actor(actor).filter(name="scripted").exists():
        make_provider(actor)
    agent = agents.create_agent(actor=actor, slug=slug, title=slug.replace("-", " ").capitalize())
    agents.publish_version(actor=actor, agent_id=agent.pk, configuration=agent_configuration(**changes))
    return agent.fresh()
