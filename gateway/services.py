"""Every write by people: servers, what a reviewer says of their tools, grants and redaction policies."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from agents.models import Agent, AgentVersion
from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from gateway import pins, schemas
from gateway.contract import Effect, RetryClass
from gateway.errors import PinChanged, ToolNotRequested, ToolNotReviewed
from gateway.models import DlpPolicy, McpServer, Tool, ToolGrant
from provenance.actor import Actor
from provenance.db import service, workspace_of
from provenance.egress import origin_of
from provenance.errors import Conflict, Invalid, NotFound
from provenance.permissions import Permission
from provenance.tool_names import is_server_name, is_tool_name

LONGEST_GRANT_DAYS = 365
SHORTEST_REASON = 10


@service
def register_server(
    *,
    actor: Actor,
    slug: str,
    title: str,
    url: str,
    secret_name: str = "",
    slot: str = "header:Authorization",
    environment: str = "production",
    private_network: bool = False,
) -> McpServer:
    """Register a server of tools. Nothing of it may be used before a review (M051).

    `secret_name` is the vault's name of its credential, which must be bound to the url's origin and to `slot`.
    `private_network` allows exactly this host and port although they are not on the public internet (T20).
    """
    actor.require(Permission.GATEWAY_WRITE)
    if not is_server_name(slug):
        raise Invalid("A server's slug is 1 to 40 lower-case letters, digits and dashes, and starts with a letter.")
    if not slot.startswith("header:"):
        raise Invalid("The credential of a server goes into a header, for example header:Authorization.")
    if McpServer.objects.for_actor(actor).filter(slug=slug).exists():
        raise Conflict(f"There is a server {slug!r} already.")
    server = McpServer.objects.create(
        workspace_id=workspace_of(actor),
        slug=slug,
        title=title,
        url=url,
        origin=origin_of(url),
        secret_name=secret_name,
        slot=slot,
        environment=environment,
        private_network=private_network,
    )
    record(
        actor=actor, event=Event.MCP_SERVER_REGISTERED, target=server, detail={"slug": slug, "title": title, "url": url}
    )
    return server


@service
def record_listing(*, actor: Actor, server_id: UUID, listing: Sequence[dict[str, Any]]) -> list[Tool]:
    """Store what a server offers, as unreviewed. A definition that differs from the reviewed one is quarantined."""
    actor.require(Permission.GATEWAY_WRITE)
    server = _server(actor, server_id)
    others = set(Tool.objects.for_actor(actor).exclude(server=server).values_list("name", flat=True))
    stored = Tool.objects.for_actor(actor).select_for_update().filter(server=server).order_by("pk")
    known = {tool.name: tool for tool in stored}
    return [_store_definition(actor, server, definition, known, others) for definition in _checked(listing)]


@service
def review_tool(
    *,
    actor: Actor,
    tool_id: UUID,
    pin: str,
    effect: str,
    retry_class: str,
    data_tier: int,
    verify_tool: str = "",
    idempotency_argument: str = "",
) -> Tool:
    """Say what a tool does and confirm the definition with this pin: the one that the reviewer looked at.

    `idempotency_argument` takes the key of a call, which the gateway fills in. `verify_tool` is a read of the same server
    that takes that key under the same name and says whether the call happened (`gateway.calls.verification`).
    """
    actor.require(Permission.GATEWAY_WRITE)
    tool = _tool(actor, tool_id)
    demand_as_signed(tool)
    if tool.pin != pin:
        raise PinChanged(tool=tool.name)
    _check_review(
        tool,
        effect=effect,
        retry_class=retry_class,
        data_tier=data_tier,
        verify_tool=verify_tool,
        idempotency_argument=idempotency_argument,
    )
    tool.effect = effect
    tool.retry_class = retry_class
    tool.data_tier = data_tier
    tool.verify_tool = verify_tool
    tool.idempotency_argument = idempotency_argument
    tool.status = Tool.Status.APPROVED
    tool.reviewed_at = timezone.now()
    tool.save()
    detail = {"effect": effect, "retry_class": retry_class, "data_tier": data_tier, "pin": pin, "tool": tool.name}
    record(actor=actor, event=Event.MCP_TOOL_REVIEWED, target=tool, detail=detail)
    return tool


@service
def approve_server(*, actor: Actor, server_id: UUID, reason: str) -> McpServer:
    """Let the reviewed tools of a server be used. Also ends a quarantine, after its tools were reviewed again."""
    actor.require(Permission.GATEWAY_WRITE)
    server = _server(actor, server_id)
    demand_as_signed(server)
    if server.status == McpServer.Status.APPROVED:
        raise Conflict(f"{server.slug} is approved already.")
    server.status = McpServer.Status.APPROVED
    server.save(update_fields=["status"])
    record(actor=actor, event=Event.MCP_SERVER_REVIEWED, target=server, reason=reason, detail={"verdict": "approved"})
    return server


@service
def disable_server(*, actor: Actor, server_id: UUID, reason: str) -> McpServer:
    """Take a server out of use. Its tools, grants and history stay."""
    actor.require(Permission.GATEWAY_WRITE)
    server = _server(actor, server_id)
    if server.status == McpServer.Status.DISABLED:
        raise Conflict(f"{server.slug} is disabled already.")
    server.status = McpServer.Status.DISABLED
    server.save(update_fields=["status"])
    record(actor=actor, event=Event.MCP_SERVER_DISABLED, target=server, reason=reason)
    return server


@service
def quarantine_tool(*, actor: Actor, tool_id: UUID, observed: dict[str, Any] | None) -> Tool:
    """Stop a tool because its server no longer offers the definition that was reviewed. Done by the gateway itself."""
    actor.require(Permission.GATEWAY_WRITE)
    tool = _tool(actor, tool_id)
    if tool.status == Tool.Status.QUARANTINED:
        return tool
    tool.status = Tool.Status.QUARANTINED
    tool.save(update_fields=["status"])
    detail = {"tool": tool.name, "reviewed_pin": tool.pin, "observed_pin": pins.pin(observed) if observed else None}
    record(actor=actor, event=Event.MCP_TOOL_QUARANTINED, target=tool, reason="The definition changed.", detail=detail)
    record(actor=actor, event=Event.MCP_TOOL_DEFINITION_CHANGED, target=tool, detail={**detail, "observed": observed})
    return tool


@service
def grant_tool(
    *,
    actor: Actor,
    agent_id: UUID,
    tool_id: UUID,
    reason: str,
    expires_at: datetime | None = None,
    constraints: dict[str, Any] | None = None,
) -> ToolGrant:
    """Give an agent the right to one tool that its current version requests, for at most a year (M015, M035, M045).

    `constraints` is a JSON Schema that arguments must satisfy besides the tool's own. Without `expires_at`: 90 days.
    A grant that ran out makes room for the new one; one that still counts has to be revoked first.
    """
    actor.require(Permission.GATEWAY_WRITE)
    actor.require(Permission.AGENTS_WRITE)
    # Holding the tool's row lets one person at a time grant it, so that two cannot both find the place free.
    tool = _tool(actor, tool_id)
    agent = _agent(actor, agent_id)
    full_name = f"{tool.server.slug}.{tool.name}"
    version = AgentVersion.objects.for_actor(actor).filter(agent=agent, number=agent.current_version).first()
    demand_as_signed(*(row for row in (tool, agent, version) if row is not None))
    if version is None or full_name not in {request["tool"] for request in version.requested_tools}:
        raise ToolNotRequested(agent=agent.slug, tool=full_name)
    if tool.status != Tool.Status.APPROVED:
        raise ToolNotReviewed(tool=full_name)
    if len(reason.strip()) < SHORTEST_REASON:
        raise Invalid(f"Say in at least {SHORTEST_REASON} characters why {agent.slug} needs {full_name}.")
    _demand_no_live_grant(actor, agent, tool)
    grant = ToolGrant(
        workspace_id=workspace_of(actor),
        agent_id=agent_id,
        tool=tool,
        reason=reason,
        constraints=_checked_constraints(constraints or {}),
        expires_at=_checked_expiry(expires_at),
        granted_by=actor.answerable,
    )
    grant.save(force_insert=True)
    detail = {"agent": agent.slug, "tool": full_name, "expires_at": grant.expires_at.isoformat()}
    record(actor=actor, event=Event.AGENT_TOOL_GRANTED, target=grant, reason=reason, detail=detail)
    return grant


@service
def revoke_grant(*, actor: Actor, grant_id: UUID, reason: str) -> ToolGrant:
    """Take the right back, at once and also for runs in flight."""
    actor.require(Permission.GATEWAY_WRITE)
    grant = ToolGrant.locked(actor, pk=grant_id)
    if grant is None:
        raise NotFound("There is no such grant here.")
    if grant.revoked_at:
        raise Conflict("This grant was revoked already.")
    if grant.ended_at:
        raise Conflict("This grant has ended by itself.")
    grant.revoked_at = timezone.now()
    grant.save(update_fields=["revoked_at"])
    record(actor=actor, event=Event.AGENT_TOOL_REVOKED, target=grant, reason=reason)
    return grant


@service
def end_grant(*, actor: Actor, grant_id: UUID, now: datetime) -> bool:
    """Close a grant whose time is over, and say so in the log (M010). False when somebody was faster."""
    actor.require(Permission.GATEWAY_WRITE)
    over = ToolGrant.objects.for_actor(actor).filter(revoked_at=None, ended_at=None, expires_at__lte=now)
    # Whoever comes second waits here and then finds nothing, so the log says it once.
    grant: ToolGrant | None = over.select_for_update().filter(pk=grant_id).first()
    if grant is None:
        return False
    grant.ended_at = now
    grant.save(update_fields=["ended_at"])
    record(actor=actor, event=Event.AGENT_GRANT_EXPIRED, target=grant, detail={"granted_by": grant.granted_by})
    return True


@service
def set_dlp_policy(
    *,
    actor: Actor,
    name: str,
    fields: Sequence[str],
    selector: str = "",
    direction: str = DlpPolicy.Direction.OUTPUT,
    action: str = DlpPolicy.Action.REDACT,
    enabled: bool = True,
) -> DlpPolicy:
    """Create or change the policy of this name: which fields are withheld, from what and how.

    `selector` is "" for every tool, `crm` for a server's or `crm.getAccount` for one.
    """
    actor.require(Permission.GATEWAY_WRITE)
    _check_policy(name, fields, direction, action)
    policy = DlpPolicy.locked(actor, name=name)
    event = Event.DLP_POLICY_UPDATED if policy else Event.DLP_POLICY_CREATED
    policy = policy or DlpPolicy(workspace_id=workspace_of(actor), name=name)
    policy.fields = sorted(set(fields))
    policy.selector = selector
    policy.direction = direction
    policy.action = action
    policy.enabled = enabled
    policy.save()
    detail = {"name": name, "selector": selector, "fields": policy.fields, "direction": direction, "action": action}
    record(actor=actor, event=event, target=policy, detail=detail)
    return policy


def _server(actor: Actor, server_id: UUID) -> McpServer:
    server = McpServer.locked(actor, pk=server_id)
    if server is None:
        raise NotFound("There is no such server here.")
    return server


def _tool(actor: Actor, tool_id: UUID) -> Tool:
    # `of`: only the tool is locked; without it the server's row would be, too, and calls of its other tools queue.
    tools = Tool.objects.for_actor(actor).select_related("server").select_for_update(of=("self",))
    tool: Tool | None = tools.filter(pk=tool_id).first()
    if tool is None:
        raise NotFound("There is no such tool here.")
    return tool


def _agent(actor: Actor, agent_id: UUID) -> Agent:
    agent: Agent | None = Agent.objects.for_actor(actor).filter(pk=agent_id).first()
    if agent is None:
        raise NotFound("There is no such agent here.")
    return agent


def _demand_no_live_grant(actor: Actor, agent: Agent, tool: Tool) -> None:
    """Raise `Conflict` while a grant of this tool counts. One that ran out is closed: the sweep may not have been here."""
    now = timezone.now()
    grants = ToolGrant.objects.for_actor(actor).filter(agent_id=agent.pk, tool=tool, revoked_at=None, ended_at=None)
    standing = grants.select_for_update().first()
    if standing is None:
        return
    if standing.expires_at > now:
        raise Conflict(f"{agent.slug} has a grant for {tool.full_name} already; revoke it first.")
    end_grant(actor=grant_keeper(standing.workspace_id), grant_id=standing.pk, now=now)


def grant_keeper(workspace_id: UUID) -> Actor:
    """The platform, as it closes grants whose time is over: nobody ended them but the clock."""
    return Actor.system("gateway.grants", workspace_id, [Permission.GATEWAY_WRITE])


def _checked(listing: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The definitions with names that can be told apart; the others could pass for one of them (gateway.md 5, row 3)."""
    usable = [definition for definition in listing if is_tool_name(definition.get("name"))]
    names = [definition["name"] for definition in usable]
    if len(set(names)) != len(names):
        raise Invalid("The server offers two tools of the same name.")
    return usable


def _store_definition(
    actor: Actor, server: McpServer, definition: dict[str, Any], known: dict[str, Tool], others: set[str]
) -> Tool:
    new_pin = pins.pin(definition)
    tool = known.get(definition["name"])
    if tool and tool.pin == new_pin:
        return tool
    was_reviewed = tool is not None and tool.status != Tool.Status.PENDING
    tool = tool or Tool(workspace_id=workspace_of(actor), server=server, name=definition["name"])
    tool.pin = new_pin
    tool.title = str(definition.get("title") or "")[:200]
    tool.description = str(definition.get("description") or "")
    tool.input_schema = schemas.as_schema(definition.get("inputSchema"))
    tool.output_schema = schemas.as_schema(definition["outputSchema"]) if definition.get("outputSchema") else None
    tool.annotations = definition.get("annotations") if isinstance(definition.get("annotations"), dict) else {}
    tool.findings = pins.findings(definition, others)
    tool.status = Tool.Status.QUARANTINED if was_reviewed else Tool.Status.PENDING
    tool.save()
    event = Event.MCP_TOOL_DEFINITION_CHANGED if was_reviewed else Event.MCP_TOOL_DISCOVERED
    detail = {"tool": f"{server.slug}.{tool.name}", "pin": new_pin, "findings": tool.findings, "definition": definition}
    record(actor=actor, event=event, target=tool, detail=detail)
    return tool


def _check_review(
    tool: Tool, *, effect: str, retry_class: str, data_tier: int, verify_tool: str, idempotency_argument: str
) -> None:
    errors = []
    if effect not in set(Effect):
        errors.append({"path": "effect", "message": f"must be one of {', '.join(Effect)}"})
    if retry_class not in set(RetryClass):
        errors.append({"path": "retry_class", "message": f"must be one of {', '.join(RetryClass)}"})
    if retry_class == RetryClass.READ and effect != Effect.READ:
        errors.append({"path": "retry_class", "message": "may be read only for a tool whose effect is read"})
    if not 1 <= data_tier <= 4:
        errors.append({"path": "data_tier", "message": "must be 1 to 4"})
    properties = tool.input_schema.get("properties", {})
    if retry_class == RetryClass.IDEMPOTENT and idempotency_argument not in properties:
        errors.append({"path": "idempotency_argument", "message": "must name the argument that carries the key"})
    if verify_tool and (problem := _verifier_problem(tool, verify_tool, idempotency_argument)):
        errors.append({"path": "verify_tool", "message": problem})
    if problem := schemas.problem(tool.input_schema):
        errors.append({"path": "input_schema", "message": problem})
    if errors:
        raise Invalid(f"This review of {tool.name} does not fit its definition.", errors=errors)


def _verifier_problem(tool: Tool, verify_tool: str, idempotency_argument: str) -> str:
    """Why this tool cannot say what became of a call of the other: it is asked with the key of that call, and no more."""
    verifier = Tool.objects.filter(workspace_id=tool.workspace_id, server=tool.server, name=verify_tool).first()
    if verifier is None:
        return "must be a tool of the same server"
    if not idempotency_argument or idempotency_argument not in tool.input_schema.get("properties", {}):
        return "needs idempotency_argument: the argument that carries the key by which it knows a call"
    if idempotency_argument not in verifier.input_schema.get("properties", {}):
        return f"must take {idempotency_argument}, the key of the call that it is asked about"
    if set(verifier.input_schema.get("required", [])) - {idempotency_argument}:
        return f"must need nothing but {idempotency_argument}"
    return ""


def _checked_constraints(constraints: dict[str, Any]) -> dict[str, Any]:
    if constraints and (problem := schemas.problem(constraints)):
        raise Invalid(f"The constraints are not a usable JSON Schema: {problem}")
    return constraints


def _checked_expiry(expires_at: datetime | None) -> datetime:
    now = timezone.now()
    expires_at = expires_at or now + timedelta(days=90)
    if not now < expires_at <= now + timedelta(days=LONGEST_GRANT_DAYS):
        raise Invalid(f"A grant ends in the future and within {LONGEST_GRANT_DAYS} days.")
    return expires_at


def _check_policy(name: str, fields: Sequence[str], direction: str, action: str) -> None:
    errors = []
    if not name.strip():
        errors.append({"path": "name", "message": "must not be empty"})
    if not fields or not all(any(c.isalnum() for c in field) for field in fields):
        errors.append({"path": "fields", "message": "must name at least one field, each with a letter or digit"})
    if direction not in DlpPolicy.Direction.values:
        errors.append({"path": "direction", "message": "must be input or output"})
    if action not in DlpPolicy.Action.values:
        errors.append({"path": "action", "message": "must be redact or block"})
    if errors:
        raise Invalid("This policy is not valid.", errors=errors)
