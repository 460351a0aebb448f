"""Agents and providers in searches, halts and the navigation."""

from agents.models import Agent, AgentVersion, ModelProvider
from audit import belongings, labels, names
from provenance import console
from provenance.permissions import Permission
from workspaces import scopes

scopes.register("agent", lambda place, name: scopes.id_of(Agent.objects.for_workspace(place), "agt", name, slug=name))
scopes.register(
    "provider",
    lambda place, name: scopes.id_of(ModelProvider.objects.for_workspace(place), "mdp", name, name=name),
)
names.rows("agent", Permission.AGENTS_READ, Agent.objects.for_actor, "slug", "title")
names.rows("provider", Permission.AGENTS_READ, ModelProvider.objects.for_actor, "name", object_type="model_provider")
labels.rows("agent", Permission.AGENTS_READ, Agent.objects.for_actor, "{title}")
labels.rows("agent_version", Permission.AGENTS_READ, AgentVersion.objects.for_actor, "{agent__slug} v{number}")
belongings.register("agent", AgentVersion.objects.for_actor, "agent_id", about="agent_version")
console.register(
    console.Link(
        group="control",
        order=10,
        label="Agents",
        icon="bot",
        route="agents:list",
        permission=Permission.AGENTS_READ,
    )
)
