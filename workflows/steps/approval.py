"""An approval step asks a person about exactly one later call, and hands on what was decided."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from approvals.digest import ActionFacts
from approvals.errors import PayloadRefused
from approvals.selectors import DecisionFacts, decision_for
from approvals.services import request_approval
from gateway.contract import CallResponse, CallState, FactsRequest, FactsResponse
from provenance.errors import Invalid
from provenance.ids import public_id
from provenance.risk import Risk
from workflows import faults, values
from workflows.definition import ApprovalStep, ToolStep
from workflows.evidence import Answer, judged
from workflows.facts import AgentPin
from workflows.faults import Point
from workflows.gateway_client import GatewayClient
from workflows.models import Call
from workflows.outcomes import Done, Failed, Parked, StepStopped
from workflows.states import CallStatus, FailureCode, WaitingOn
from workflows.steps import Work, definition_error
from workflows.steps import tool as tool_step

ORIGIN = "run_step"
# A decision wakes the token at once; this is for the wake-up that was lost and that no sweep found.
LOOKED_AT_AGAIN_SECONDS = 900

_REFUSALS = {
    "rejected": (FailureCode.APPROVAL_REJECTED, "A person rejected the request."),
    "withdrawn": (FailureCode.APPROVAL_REJECTED, "The request was withdrawn."),
    "superseded": (FailureCode.APPROVAL_REJECTED, "Another request took the place of this one."),
    "expired": (FailureCode.SLA_BREACHED, "Nobody decided in time, so the request was rejected."),
}


def run(work: Work, step: ApprovalStep) -> Done:
    """Ask, wait, and yield `{approval_id, payload, edited, decided_by}`: the payload as the person approved it."""
    decision = _decision(work)
    if decision is None:
        _ask(work, step)
        decision = _decision(work)
    if decision is None or decision.status in {"pending", "escalated"}:
        raise StepStopped(
            Parked(
                waiting_on=WaitingOn.APPROVAL,
                reason="A person decides.",
                wake_in_seconds=LOOKED_AT_AGAIN_SECONDS,
                approval_id=decision.request_id if decision else None,
            )
        )
    if decision.status != "approved":
        code, message = _REFUSALS[decision.status]
        raise StepStopped(Failed(code=code, error=f"approval_{decision.status}", message=message))
    return Done(
        output={
            "approval_id": str(decision.request_id),
            "payload": decision.payload,
            "edited": decision.is_edited,
            "decided_by": str(decision.decided_by) if decision.decided_by else None,
        }
    )


def _decision(work: Work) -> DecisionFacts | None:
    with work.lease.held():
        return decision_for(work.lease.workspace_id, ORIGIN, work.row.pk)


def _ask(work: Work, step: ApprovalStep) -> None:
    target = work.facts.definition.step(step.authorizes)
    if not isinstance(target, ToolStep):  # the definition was checked: this is for the type checker
        raise StepStopped(definition_error(f"{step.authorizes} is not a tool step"))
    agent = work.facts.agent(target.agent)
    arguments = work.render(target.arguments)
    wanted = _facts(work, target, agent, arguments)
    if wanted.verdict == "deny":
        raise StepStopped(
            Failed(
                code=FailureCode.POLICY_BLOCKED,
                error=wanted.rule or "denied",
                message=f"{target.tool} may not be called, so nobody is asked: {wanted.reason}",
            )
        )
    # A step may ask for more care than the gateway demands, never for less.
    risk = max(step.risk, Risk(wanted.risk)) if wanted.risk else step.risk
    title, rationale = _line(work.render(step.title)), str(work.render(step.rationale))
    evidence, current = work.render(step.evidence), work.render(step.current)
    try:
        with work.lease.held():
            request_approval(
                actor=work.facts.agent_actor(agent),
                origin=ORIGIN,
                origin_id=work.row.pk,
                run_id=work.facts.run_id,
                title=title,
                rationale=rationale,
                risk=risk.value,
                sla_minutes=step.sla_minutes,
                payload=arguments,
                payload_schema=fixed_except(wanted.input_schema, arguments, step.editable),
                current=current,
                evidence=judged(evidence, _answers(work), claimed_by=f"the agent {agent.title}"),
                facts=ActionFacts.from_json(wanted.facts),
                agent_label=agent.title,
                tool_label=target.tool,
                conflicted_user_ids=work.facts.conflicted_user_ids,
            )
    except PayloadRefused as error:
        raise StepStopped(
            Failed(
                code=FailureCode.STEP_FAILED,
                error="payload_refused",
                message=f"What {target.name} would send does not fit {target.tool}, so nobody is asked: {error.message}",
            )
        ) from error
    except Invalid as error:
        raise StepStopped(definition_error(error.message.rstrip("."))) from error
    faults.reach(Point.APPROVAL_REQUESTED)


def _facts(work: Work, target: ToolStep, agent: AgentPin, arguments: dict[str, Any]) -> FactsResponse:
    client = GatewayClient(work.lease, work.facts, agent, step_id=work.row.pk, step=work.row.node_key)
    request = FactsRequest(
        tool=target.tool,
        arguments=arguments,
        # The key under which the tool step will make its call: the approval is for that call and no other.
        call_key=work.facts.call_key(target.name, work.row.item_index, tool_step.SEQ),
    )
    return work.ask_gateway(
        lambda: client.facts(request),
        refused=FailureCode.STEP_FAILED,
        complaint="The gateway did not say what this call needs",
    )


def fixed_except(schema: Mapping[str, Any], arguments: Mapping[str, Any], editable: tuple[str, ...]) -> dict[str, Any]:
    """The tool's schema with every argument that is not editable held to its value."""
    properties = dict(schema.get("properties", {}))
    for name, value in arguments.items():
        if name not in editable:
            properties[name] = {**properties.get(name, {}), "const": value}
    # What was not proposed cannot be added by an edit either, except where the definition says so.
    kept = {name: member for name, member in properties.items() if name in arguments or name in editable}
    return {**schema, "properties": kept, "additionalProperties": False}


def _answers(work: Work) -> list[Answer]:
    """What tools answered in this run, newest first: the platform's own memory, not the agent's."""
    calls = Call.objects.for_workspace(work.lease.workspace_id).filter(
        run_id=work.facts.run_id, kind=Call.Kind.TOOL, status=CallStatus.SUCCEEDED.value
    )
    answers = []
    for call in calls.order_by("-id"):
        response = CallResponse.parse(values.get(work.lease.workspace_id, call.result_ref))
        if response.state is CallState.SUCCEEDED and response.result:
            answers.append(
                Answer(public_id("call", UUID(str(call.pk))), call.target, response.result.structured_content)
            )
    return answers


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:200]
