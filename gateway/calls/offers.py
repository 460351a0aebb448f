"""What would be said of a call before anybody makes it. Performs and stores nothing."""

from datetime import UTC, datetime

from approvals.digest import action_digest
from gateway.calls import judging
from gateway.calls.answers import shown
from gateway.contract import FactsRequest, FactsResponse, OfferedTool, model_name
from gateway.decision import UNAVAILABLE, AskApproval, Decision, Deny, decide
from gateway.events import Caller
from gateway.policy import Snapshot, ToolSnapshot
from provenance.canonical import NotCanonical

ALTERED = (
    "These arguments would not be sent as they are: they hold characters that nobody sees, or fields that a policy"
    " withholds. Leave those out."
)


def offered(snapshot: Snapshot, caller: Caller) -> list[OfferedTool]:
    """The tools that the agent may be shown: granted, requested, approved and not denied by its trust level."""
    return [offer for name in sorted(snapshot.tools) if (offer := one(snapshot, caller, name))]


def one(snapshot: Snapshot, caller: Caller, full_name: str) -> OfferedTool | None:
    """One of those tools; None when the agent may not be shown it."""
    agent, version = judging.who(snapshot, caller)
    tool = snapshot.tools.get(full_name)
    verdict = decide(judging.facts_of(snapshot, caller, agent, version, tool, now=_now(), arguments=None))
    return None if tool is None or isinstance(verdict, Deny) else _offer(snapshot, tool, verdict)


def facts(snapshot: Snapshot, caller: Caller, request: FactsRequest) -> FactsResponse:
    """What an approval step needs to ask for exactly this call."""
    agent, version = judging.who(snapshot, caller)
    tool = snapshot.tools.get(request.tool)
    verdict = decide(
        judging.facts_of(
            snapshot, caller, agent, version, tool, now=_now(), arguments=request.arguments, call_key=request.call_key
        )
    )
    sent, taken_out = judging.would_send(snapshot, tool, request.arguments)
    if not isinstance(verdict, Deny) and (taken_out.withheld or sent != request.arguments):
        # A person is asked about what will be sent: these arguments would change on the way.
        verdict = Deny("arguments.altered", ALTERED)
    if isinstance(verdict, Deny) or agent is None or tool is None:
        denied = shown(verdict if isinstance(verdict, Deny) else Deny("tool.unknown", UNAVAILABLE))
        return FactsResponse(verdict="deny", rule=denied.rule, reason=denied.reason)
    action = judging.action_facts(snapshot, caller, agent, tool, request.call_key)
    try:
        digest = action_digest(action, request.arguments)
    except NotCanonical as error:
        return FactsResponse(
            verdict="deny", rule="arguments.schema", reason=f"The arguments have no exact form: {error}."
        )
    asks = isinstance(verdict, AskApproval)
    return FactsResponse(
        verdict="ask" if asks else "allow",
        risk=verdict.risk.value if isinstance(verdict, AskApproval) else "low",
        reason=verdict.reason if isinstance(verdict, AskApproval) else "",
        facts=action.as_json(),
        digest=digest,
        input_schema=tool.offered_schema,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _offer(snapshot: Snapshot, tool: ToolSnapshot, verdict: Decision) -> OfferedTool:
    return OfferedTool(
        name=tool.full_name,
        model_name=model_name(tool.full_name),
        title=tool.title,
        description=tool.description,
        input_schema=tool.offered_schema,
        # A redacted result no longer fits the schema of the whole one.
        output_schema=None if snapshot.field_policies(tool, "output") else tool.output_schema,
        verdict="gate" if isinstance(verdict, AskApproval) else "allow",
        facts=tool.facts,
    )
