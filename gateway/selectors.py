"""Reads: servers, tools and grants as pages and lists show them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Value
from django.db.models.functions import Concat

from gateway.contract import LONGEST_SECONDS, CallState
from gateway.models import DlpPolicy, McpServer, Tool, ToolCall, ToolGrant
from gateway.policy import selectors_of
from provenance.actor import Actor
from provenance.dlp.engine import FieldPolicy
from provenance.permissions import Permission
from workspaces import scopes


def servers(actor: Actor) -> Any:
    """Every server with its tools, by name. Two queries, however many there are."""
    actor.require(Permission.GATEWAY_READ)
    tools = Prefetch("tools", queryset=Tool.objects.for_actor(actor).order_by("name"))
    return McpServer.objects.for_actor(actor).prefetch_related(tools).order_by("slug")


def tools(actor: Actor) -> Any:
    """Every tool with its server."""
    actor.require(Permission.GATEWAY_READ)
    return Tool.objects.for_actor(actor).select_related("server").order_by("server__slug", "name")


def tools_by_name(actor: Actor) -> Any:
    """Every tool with its `full_name`, such as `erp.getVendor`."""
    return tools(actor).annotate(full_name=Concat("server__slug", Value("."), "name"))


def server_named(workspace_id: UUID, name: str) -> str | None:
    """The id of the server that this id or short name means, as text."""
    return scopes.id_of(McpServer.objects.for_workspace(workspace_id), "srv", name, slug=name)


def tool_named(workspace_id: UUID, name: str) -> str | None:
    """The id of the tool that this id or full name (`erp.getVendor`) means, as text."""
    server, _, own = name.partition(".")
    return scopes.id_of(Tool.objects.for_workspace(workspace_id), "tool", name, server__slug=server, name=own)


def grants(actor: Actor) -> Any:
    """Every grant that was neither revoked nor closed at its end, with its tool."""
    actor.require(Permission.GATEWAY_READ)
    standing = ToolGrant.objects.for_actor(actor).filter(revoked_at=None, ended_at=None)
    return standing.select_related("tool__server").order_by("-id")


def refusals_of_run(actor: Actor, run_id: UUID) -> dict[UUID, tuple[str, str]]:
    """Rule and reason of each refused call of a run, by call id. The agent itself is not told which rule it met."""
    actor.require(Permission.RUNS_READ)
    rows = ToolCall.objects.for_actor(actor).filter(run_id=run_id, state=CallState.BLOCKED)
    return {row.pk: (row.rule, row.reason) for row in rows}


def nobody_performs_from(workspace_id: UUID, call_id: UUID, not_after: datetime | None) -> datetime:
    """When no gateway can still be performing a call that its caller may send until `not_after`: not even one that was
    stopped meanwhile and wakes up. One of the two sides has set a limit.
    """
    recorded = ToolCall.objects.for_workspace(workspace_id).filter(pk=call_id)
    limits = [not_after, recorded.values_list("not_after", flat=True).first()]
    return max(limit for limit in limits if limit is not None) + timedelta(seconds=LONGEST_SECONDS)


def output_schema(workspace_id: UUID, full_name: str) -> Mapping[str, Any] | None:
    """The shape of a tool's answers; None when the tool promises none, or is gone."""
    server, _, name = full_name.partition(".")
    tools = Tool.objects.for_workspace(workspace_id).filter(server__slug=server, name=name)
    schema: Mapping[str, Any] | None = tools.values_list("output_schema", flat=True).first()
    return schema


def output_policies(workspace_id: UUID, full_name: str, action: DlpPolicy.Action) -> list[FieldPolicy]:
    """The policies that hold for a tool's answers."""
    policies = DlpPolicy.objects.for_workspace(workspace_id).filter(
        enabled=True,
        direction=DlpPolicy.Direction.OUTPUT,
        action=action,
        selector__in=selectors_of(full_name),
    )
    return [FieldPolicy(policy.name, tuple(policy.fields)) for policy in policies.order_by("name")]
