"""Reads of agents for pages, endpoints, the engine and the gateway."""

from dataclasses import dataclass
from uuid import UUID

from agents.errors import AgentNotActive
from agents.models import Agent, AgentVersion, ModelProvider
from provenance.actor import Actor
from provenance.db import TenantQuerySet
from provenance.errors import Conflict, NotFound
from provenance.permissions import Permission


@dataclass(frozen=True, slots=True)
class AgentDetail:
    """An agent with its versions, newest first."""

    agent: Agent
    versions: list[AgentVersion]

    def version(self, number: int) -> AgentVersion | None:
        """The version of that number."""
        return next((version for version in self.versions if version.number == number), None)

    @property
    def current(self) -> AgentVersion | None:
        """The version in force."""
        return self.version(self.agent.current_version)


@dataclass(frozen=True, slots=True)
class RunnableAgent:
    """What the engine needs to run an agent: the agent, its version in force, and where its model is called."""

    agent: Agent
    version: AgentVersion
    provider: ModelProvider


def agents(actor: Actor) -> TenantQuerySet:
    """The workspace's agents."""
    actor.require(Permission.AGENTS_READ)
    return Agent.objects.for_actor(actor)


def current_versions(actor: Actor, listed: list[Agent]) -> dict[UUID, AgentVersion]:
    """The versions in force of these agents, by agent id, in one query."""
    actor.require(Permission.AGENTS_READ)
    rows = AgentVersion.objects.for_actor(actor).filter(agent__in=listed).select_related("provider")
    numbers = {agent.pk: agent.current_version for agent in listed}
    return {row.agent_id: row for row in rows if row.number == numbers[row.agent_id]}


def agent_detail(actor: Actor, slug: str) -> AgentDetail:
    """One agent by its slug."""
    actor.require(Permission.AGENTS_READ)
    agent = Agent.objects.for_actor(actor).filter(slug=slug).first()
    if agent is None:
        raise NotFound(f"There is no agent {slug[:60]!r} here.")
    versions = list(
        AgentVersion.objects.for_actor(actor).filter(agent=agent).select_related("provider").order_by("-number")
    )
    return AgentDetail(agent, versions)


def version_for_run(workspace_id: UUID, slug: str) -> RunnableAgent:
    """The agent as a new run uses it. Raises `AgentNotActive` when it is suspended or has no version."""
    agent = Agent.objects.for_workspace(workspace_id).filter(slug=slug).first()
    if agent is None:
        raise NotFound(f"There is no agent {slug[:60]!r} here.")
    if not agent.is_active:
        raise AgentNotActive(f"{slug} is {agent.status}.", slug=slug)
    version = (
        AgentVersion.objects.for_workspace(workspace_id)
        .filter(agent=agent, number=agent.current_version)
        .select_related("provider")
        .first()
    )
    if version is None:
        raise Conflict(f"{slug} has no published version.", slug=slug)
    return RunnableAgent(agent, version, version.provider)


def scripted_providers(actor: Actor) -> frozenset[str]:
    """Names of the providers that are scripts and no language models; wherever one is shown, it is called so."""
    rows = ModelProvider.objects.for_actor(actor).filter(scripted=True)
    return frozenset(rows.values_list("name", flat=True))
