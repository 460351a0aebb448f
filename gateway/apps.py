from django.apps import AppConfig

from provenance import sweeper
from provenance.console import Place, register
from provenance.permissions import Permission


class GatewayConfig(AppConfig):
    name = "gateway"

    def ready(self) -> None:
        """Stand in the navigation, close grants among the sweeps, say what calls brought and what searches and halts name."""
        from approvals import witness  # noqa: PLC0415  its models are loaded by now
        from audit import names  # noqa: PLC0415  as above
        from gateway import expiry, panels, selectors, testimony  # noqa: PLC0415  they need models, which are loaded by now
        from gateway.models import McpServer  # noqa: PLC0415  as above
        from provenance.pages import add_panel  # noqa: PLC0415  as above
        from workspaces import scopes  # noqa: PLC0415  as above

        witness.register(testimony.answers)
        names.rows("server", Permission.GATEWAY_READ, McpServer.objects.for_actor, "slug", "title")
        names.rows("tool", Permission.GATEWAY_READ, selectors.tools_by_name, "full_name")
        scopes.register("server", selectors.server_named)
        scopes.register("tool", selectors.tool_named)
        sweeper.register("gateway.grants", expiry.sweep)
        add_panel("agents.detail", "grants", panels.grants_of_agent)
        register(
            Place(
                group="control",
                order=60,
                label="Tools",
                icon="grid-3x3",
                route="gateway:servers",
                permission=Permission.GATEWAY_READ,
            )
        )
