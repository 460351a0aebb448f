"""What publishing checks beyond the text: do agents and tools exist, may they, and does a person decide where one must.

Pure: the catalog is collected by the service. What it finds is a list of errors in the shape of `definition.parse`.
The gateway checks all of it again at each call, because rights may be taken back after publishing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agents.trust import Verdict, capability
from workflows.definition import AgentStep, Definition, ToolStep


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """An agent as it is now: whether new runs may use it, its trust, and the tools its version requests."""

    is_active: bool
    trust_level: str
    requested_tools: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """A tool as it was reviewed. `granted_to`: slugs of the agents that hold a grant."""

    is_usable: bool
    effect: str
    data_tier: int
    input_schema: Mapping[str, Any]
    idempotency_argument: str
    granted_to: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Agents by slug and tools by full name."""

    agents: Mapping[str, AgentFacts]
    tools: Mapping[str, ToolFacts]


def problems(definition: Definition, catalog: Catalog) -> list[dict[str, str]]:
    """Everything that would keep the definition from running as it says. Empty when it is ready."""
    return [error for step in definition.steps for error in _step_problems(definition, step, catalog)]


def _step_problems(definition: Definition, step: Any, catalog: Catalog) -> Iterator[dict[str, str]]:
    if not isinstance(step, AgentStep | ToolStep):
        return
    agent = catalog.agents.get(step.agent)
    if agent is None:
        yield _error(step.name, "agent", f"Step {step.name!r} uses agent {step.agent!r}, which does not exist here.")
    elif not agent.is_active:
        yield _error(step.name, "agent", f"Step {step.name!r} uses agent {step.agent!r}, which cannot start runs now.")
    if isinstance(step, ToolStep):
        yield from _tool_problems(definition, step, agent, catalog.tools.get(step.tool))


def _tool_problems(
    definition: Definition, step: ToolStep, agent: AgentFacts | None, tool: ToolFacts | None
) -> Iterator[dict[str, str]]:
    if tool is None:
        yield _error(
            step.name, "tool", f"Step {step.name!r} calls {step.tool!r}, which is not a tool of this workspace."
        )
        return
    if not tool.is_usable:
        yield _error(step.name, "tool", f"{step.tool} was not reviewed and approved. Review its server and the tool.")
    yield from _argument_problems(step, tool)
    if agent is None:
        return
    if step.tool not in agent.requested_tools:
        yield _error(
            step.name, "tool", f"The version of {step.agent} does not request {step.tool}. Publish one that does."
        )
    elif step.agent not in tool.granted_to:
        yield _error(
            step.name, "tool", f"{step.agent} was not granted {step.tool}. Grant it, with a reason and an end."
        )
    yield from _approval_problems(definition, step, agent, tool)


def _argument_problems(step: ToolStep, tool: ToolFacts) -> Iterator[dict[str, str]]:
    known = set(tool.input_schema.get("properties", {})) - {tool.idempotency_argument}
    needed = set(tool.input_schema.get("required", [])) - {tool.idempotency_argument}
    for name in sorted(needed - set(step.arguments)):
        yield _error(step.name, "arguments", f"Step {step.name!r} leaves out {name!r}, which {step.tool} needs.")
    for name in sorted(set(step.arguments) - known if tool.input_schema.get("additionalProperties") is False else ()):
        by_engine = " The engine sets that one itself." if name == tool.idempotency_argument else ""
        yield _error(
            step.name,
            f"arguments.{name}",
            f"Step {step.name!r} gives {name!r}, which {step.tool} does not take.{by_engine}",
        )


def _approval_problems(
    definition: Definition, step: ToolStep, agent: AgentFacts, tool: ToolFacts
) -> Iterator[dict[str, str]]:
    """Without its approval step the gateway would stop the run at this call and ask; the definition must say so itself."""
    allowed = capability(agent.trust_level, tool.effect, definition.environment, tier=tool.data_tier)
    asked = definition.authorization_of(step.name)
    if allowed.verdict is Verdict.DENY:
        yield _error(step.name, "tool", f"{step.agent} may not call {step.tool}. {allowed.reason}")
    elif allowed.verdict is Verdict.GATE and asked is None:
        yield _error(
            step.name,
            "tool",
            f"{step.tool} asks a person first. Put an approval step before {step.name!r} that authorizes it. "
            f"{allowed.reason}",
        )
    elif allowed.risk and asked and asked.risk < allowed.risk:
        yield _error(
            asked.name,
            "risk",
            f"Step {asked.name!r} says {asked.risk.value}, but this call of {step.tool} is of {allowed.risk.value} risk.",
        )


def _error(step: str, part: str, message: str) -> dict[str, str]:
    return {"path": f"steps.{step}.{part}", "message": message}
