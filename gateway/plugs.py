"""Servers and tools in searches, halts and the navigation, grants among the sweeps, and what calls brought in approvals."""

from approvals import witness
from audit import belongings, labels, names
from gateway import expiry, panels, selectors, testimony
from gateway.models import McpServer, ToolCall, ToolGrant
from provenance import sweeper
from provenance.console import Link, register
from provenance.pages import add_panel
from provenance.permissions import Permission
from workspaces import scopes

witness.register(testimony.answers)
names.rows("server", Permission.GATEWAY_READ, McpServer.objects.for_actor, "slug", "title", object_type="mcp_server")
names.rows("tool", Permission.GATEWAY_READ, selectors.tools_by_name, "full_name")
labels.rows("tool_grant", Permission.GATEWAY_READ, ToolGrant.objects.for_actor, "{tool__server__slug}.{tool__name}")
belongings.register("tool", ToolGrant.objects.for_actor, "tool_id", about="tool_grant")
belongings.register("tool", ToolCall.objects.for_actor, "tool_id", about="tool_call")
belongings.register("tool", ToolCall.objects.for_actor, "tool_id", about="approval", named="approval_id")
belongings.register("agent", ToolGrant.objects.for_actor, "agent_id", about="tool_grant")
belongings.register("agent", ToolCall.objects.for_actor, "agent_id", about="approval", named="approval_id")
scopes.register("server", selectors.server_named)
scopes.register("tool", selectors.tool_named)
sweeper.register("gateway.grants", expiry.sweep)
add_panel("audit.event", "call", panels.call_of_event)
add_panel("agents.detail", "grants", panels.grants_of_agent)
register(
    Link(
        group="control",
        order=60,
        label="Tools",
        icon="grid-3x3",
        route="gateway:servers",
        permission=Permission.GATEWAY_READ,
    )
)
