"""The ways in which agents and model providers fail."""

from provenance.errors import Conflict


class AgentExists(Conflict):
    """There is already an agent of this slug."""

    code = "agent_exists"


class ProviderExists(Conflict):
    """There is already a model provider of this name."""

    code = "provider_exists"


class AgentNotActive(Conflict):
    """The agent is suspended or retired."""

    code = "agent_not_active"


class NothingChanged(Conflict):
    """The version in force says exactly this already."""

    code = "nothing_changed"
