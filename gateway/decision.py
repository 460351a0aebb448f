"""May this call happen? A pure function of facts; deny is what happens when nothing says otherwise.

The checks run in a fixed order and the first that fails answers. An approval satisfies an `AskApproval` and nothing
else: no person can approve what policy denies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.trust import LIMITS, Capability, Trust, Verdict, capability, secret_use
from gateway.contract import HALTED
from provenance.risk import Risk

UNAVAILABLE = "This tool is not available to this agent."
# To a caller an unknown tool and a forbidden one look the same; the event names the rule (gateway.md 4, check 5).
HIDDEN_RULES = frozenset(
    {"tool.unknown", "grant.missing", "grant.expired", "tool.not_requested", "tool.not_approved", "agent.inactive"}
)


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may happen now."""


@dataclass(frozen=True, slots=True)
class Deny:
    """The call must not happen. `rule` is stable and for programs, `reason` is a sentence for people."""

    rule: str
    reason: str

    @property
    def is_hidden(self) -> bool:
        """Whether the caller may only learn that the tool is not available."""
        return self.rule in HIDDEN_RULES


@dataclass(frozen=True, slots=True)
class AskApproval:
    """The call may happen after a person approved exactly it."""

    risk: Risk
    reason: str


Decision = Allow | Deny | AskApproval


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """Who calls. `requested` are the full tool names that the running version asks for, `forbidden` those it rules out."""

    status: str
    trust_level: str
    requested: frozenset[str]
    forbidden: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """What is called, as reviewed. `observed_pin` is what the server offers now; None: it no longer offers the tool."""

    full_name: str
    server_status: str
    status: str
    pin: str
    observed_pin: str | None
    effect: str
    data_tier: int
    # Why the server's tools could not be looked at; "" when they could.
    unverified: str = ""
    # What the server's credential can do at its owner's (read, write, admin); "" when it needs none.
    secret_access: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantFacts:
    """The live grant that joins agent and tool."""

    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a decision depends on.

    `broken_constraints` and `schema_errors` are sentences, empty when the arguments pass. `secret_references` are
    paths at which a `secret://` stands in the arguments, `blocked_fields` those that a policy holds back. `halts` are
    sentences about every engaged halt that covers the call.
    """

    agent: AgentFacts | None
    tool: ToolPolicy | None
    grant: GrantFacts | None
    now: datetime
    environment: str
    calls_made: int = 0
    tainted: bool = False
    halts: Sequence[str] = ()
    broken_constraints: Sequence[str] = ()
    schema_errors: Sequence[str] = ()
    secret_references: Sequence[str] = ()
    blocked_fields: Sequence[str] = ()


def decide(facts: Facts) -> Decision:
    """Allow, deny or ask, with the reason that a person will read."""
    if facts.agent is None or facts.tool is None:
        return Deny("tool.unknown", "There is no such tool in this workspace.")
    agent, tool = facts.agent, facts.tool
    denial = (
        _standing(agent, tool, facts)
        or _review(tool)
        or _definition(tool)
        or _forbidden(agent, tool)
        or _trust(agent, tool, facts)
        or _circumstances(agent, facts)
        or _arguments(tool, facts)
    )
    if denial:
        return denial
    verdict = _capability(agent, tool, facts)
    if verdict.verdict is Verdict.GATE:
        return AskApproval(verdict.risk or Risk.CRITICAL, verdict.reason)
    return Allow()


def may_verify(facts: Facts) -> Allow | Deny:
    """Whether the gateway may ask this tool, on its own account, what became of a call whose reviewer named it for this.

    That takes no grant and no trust level, because no agent asks; it takes a reviewed read, and no halt.
    """
    tool = facts.tool
    if tool is None:
        return Deny("tool.unknown", "There is no such tool in this workspace.")
    if tool.effect != "read":
        return Deny("verify.not_a_read", f"{tool.full_name} is asked what became of a call, and does more than read.")
    halted = Deny(HALTED, facts.halts[0]) if facts.halts else None
    return _review(tool) or _definition(tool) or halted or _arguments(tool, facts) or Allow()


def call_limit(trust_level: str) -> int:
    """Calls that one run may make at this trust level; an unknown level gets none."""
    return LIMITS[Trust(trust_level)].calls_per_run if trust_level in set(Trust) else 0


def _standing(agent: AgentFacts, tool: ToolPolicy, facts: Facts) -> Deny | None:
    if agent.status != "active":
        return Deny("agent.inactive", f"The agent is {agent.status}.")
    if facts.grant is None:
        return Deny("grant.missing", f"The agent has no grant for {tool.full_name}.")
    if tool.full_name not in agent.requested:
        return Deny("tool.not_requested", f"The running agent version does not request {tool.full_name}.")
    if facts.grant.expires_at <= facts.now:
        return Deny(
            "grant.expired", f"The grant for {tool.full_name} expired on {facts.grant.expires_at:%Y-%m-%d %H:%M} UTC."
        )
    if facts.broken_constraints:
        return Deny("grant.constraint", f"The grant does not cover these arguments: {facts.broken_constraints[0]}")
    return None


def _review(tool: ToolPolicy) -> Deny | None:
    if tool.status == "pending":
        return Deny("tool.not_approved", f"Nobody has reviewed {tool.full_name} yet.")
    if tool.server_status != "approved":
        return Deny(f"server.{tool.server_status}", f"The server of {tool.full_name} is {_words(tool.server_status)}.")
    if tool.status != "approved":
        return Deny("tool.quarantined", f"{tool.full_name} is quarantined until a person has looked at its definition.")
    return None


def _definition(tool: ToolPolicy) -> Deny | None:
    if tool.unverified:
        return Deny("pin.unverified", f"The definition of {tool.full_name} could not be checked: {tool.unverified}")
    if tool.observed_pin is None:
        return Deny("pin.missing", f"The server no longer offers {tool.full_name}.")
    if tool.observed_pin != tool.pin:
        return Deny("pin.changed", f"The definition of {tool.full_name} is not the one that was approved.")
    return None


def _forbidden(agent: AgentFacts, tool: ToolPolicy) -> Deny | None:
    if tool.full_name in agent.forbidden:
        return Deny("agent.forbidden", f"The agent is forbidden to use {tool.full_name}.")
    return None


def _trust(agent: AgentFacts, tool: ToolPolicy, facts: Facts) -> Deny | None:
    verdict = _capability(agent, tool, facts)
    if verdict.verdict is Verdict.DENY:
        return Deny("trust.capability", verdict.reason)
    if tool.secret_access:
        use = secret_use(agent.trust_level, tool.secret_access)
        if use.verdict is not Verdict.ALLOW:
            return Deny("trust.secret", use.reason)
    return None


def _circumstances(agent: AgentFacts, facts: Facts) -> Deny | None:
    if facts.halts:
        return Deny(HALTED, facts.halts[0])
    limit = call_limit(agent.trust_level)
    if facts.calls_made >= limit:
        return Deny("limit.calls", f"The run has made {facts.calls_made} tool calls, and its limit is {limit}.")
    return None


def _arguments(tool: ToolPolicy, facts: Facts) -> Deny | None:
    if facts.schema_errors:
        return Deny("arguments.schema", f"The arguments do not fit {tool.full_name}: {facts.schema_errors[0]}")
    if facts.secret_references:
        where = facts.secret_references[0]
        return Deny("arguments.secret_reference", f"A secret may not be named in arguments (at {where}).")
    if facts.blocked_fields:
        return Deny("dlp.blocked", f"A policy holds back the field {facts.blocked_fields[0]}.")
    return None


def _capability(agent: AgentFacts, tool: ToolPolicy, facts: Facts) -> Capability:
    return capability(
        agent.trust_level, tool.effect, facts.environment, tier=tool.data_tier, tainted=facts.tainted, listed=True
    )


def _words(status: str) -> str:
    return status.replace("_", " ")
