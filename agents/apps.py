from django.apps import AppConfig

from provenance import console
from provenance.permissions import Permission


class AgentsConfig(AppConfig):
    name = "agents"

    def ready(self) -> None:
        """Put the agents into the navigation, and say what searches and halts name."""
        from agents.models import Agent, ModelProvider  # noqa: PLC0415  loaded by now
        from audit import names  # noqa: PLC0415  its models are loaded by now
        from workspaces import scopes  # noqa: PLC0415  as above

        scopes.register(
            "agent", lambda place, name: scopes.id_of(Agent.objects.for_workspace(place), "agt", name, slug=name)
        )
        scopes.register(
            "provider",
            lambda place, name: scopes.id_of(ModelProvider.objects.for_workspace(place), "mdp", name, name=name),
        )
        names.rows("agent", Permission.AGENTS_READ, Agent.objects.for_actor, "slug", "title")
        names.rows("provider", Permission.AGENTS_READ, ModelProvider.objects.for_actor, "name")
        console.register(
            console.Place(
                group="control",
                order=10,
                label="Agents",
                icon="bot",
                route="agents:list",
                permission=Permission.AGENTS_READ,
            )
        )
