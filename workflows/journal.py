"""The call journal: every call is written down before it leaves, and found again by whoever goes on (runs.md 3.4).

A step names its calls by `seq`, the same number each time it runs. So a step that is run again after a crash meets the
calls it already made: ended ones give their stored answer, and one that was started is asked about at the gateway
before anything is repeated (T04). The gateway alone decides whether a repeat may be performed.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from gateway.contract import NOT_NOW, OF_THE_DATABASE, CallRequest, CallResponse, CallState, RetryClass, ToolResult
from provenance.db import database_now
from provenance.ids import uuid7
from workflows import faults, halts, sql, transitions, values
from workflows.facts import AgentPin, RunFacts
from workflows.faults import Point
from workflows.gateway_client import GatewayClient, GatewayRefused, GatewayUnreachable
from workflows.leases import Lease
from workflows.models import Call, Step
from workflows.outcomes import Failed, Halted, Parked, StepStopped, Unknown
from workflows.states import TERMINAL_CALL, CallStatus, FailureCode, WaitingOn

MOST_ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 60
ASKED_AGAIN_SECONDS = 300

# Ends with an answer that the step goes on with. The other ends come with the end of the run.
_ENDED = frozenset(
    {
        *(CallStatus.SUCCEEDED, CallStatus.FAILED, CallStatus.BLOCKED, CallStatus.RESOLVED_SUCCEEDED),
        *(CallStatus.REJECTED, CallStatus.WITHDRAWN, CallStatus.CANCELED),
    }
)
_ANSWER = (
    *("rule", "reason", "approval_id", "redactions", "result_ref", "retry_class", "effect", "finished_at"),
    *("late_result_ref", "late_result_at", "attempts", "not_after"),
)
_STATUS = {
    CallState.SUCCEEDED: CallStatus.SUCCEEDED,
    CallState.FAILED: CallStatus.FAILED,
    CallState.BLOCKED: CallStatus.BLOCKED,
    CallState.AWAITING_APPROVAL: CallStatus.AWAITING_APPROVAL,
    CallState.INDETERMINATE: CallStatus.INDETERMINATE,
    CallState.ADMITTED: CallStatus.STARTED,
    CallState.STARTED: CallStatus.STARTED,
}
# How the gateway refuses a call about which a person was asked. Another rule means that the platform no longer lets it
# happen, whatever the person said.
_SAID_NO = {
    "approval.rejected": CallStatus.REJECTED,
    "approval.expired": CallStatus.REJECTED,
    "approval.superseded": CallStatus.WITHDRAWN,
    "approval.withdrawn": CallStatus.WITHDRAWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A tool call as a step wants it. `approval_id`: the request that authorizes exactly this call."""

    seq: int
    agent: AgentPin
    tool: str
    arguments: dict[str, Any]
    approval_id: UUID | None = None


class Journal:
    """The calls of one running step."""

    def __init__(self, lease: Lease, facts: RunFacts, step: Step) -> None:
        self._lease = lease
        self._facts = facts
        self._step = step

    def tool(self, plan: Plan) -> CallResponse:
        """The gateway's final answer: succeeded, failed or blocked.

        Raises `StepStopped` when the step must wait (for a person, for the gateway) or nobody knows what happened.
        """
        client = GatewayClient(self._lease, self._facts, plan.agent, step_id=self._step.pk, step=self._step.node_key)
        call = self.opened(
            plan.seq,
            kind=Call.Kind.TOOL,
            target=plan.tool,
            arguments=plan.arguments,
            approval_id=plan.approval_id,
        )
        if call.status in _ENDED:
            return self._stored(call)
        if call.status == CallStatus.RESOLVED_FAILED:
            raise StepStopped(_did_not_happen(call))
        if call.status == CallStatus.INDETERMINATE:
            raise self._still_unknown(client, call)
        request = CallRequest(
            call_id=call.pk,
            call_key=call.call_key,
            tool=plan.tool,
            arguments=plan.arguments,
            approval_id=call.approval_id,
            seq=plan.seq,
        )
        response = self._answered(client, call, request, plan.agent)
        self.recorded(call, response)
        return self._demand_ended(call, response)

    def opened(
        self, seq: int, *, kind: Call.Kind, target: str, arguments: Any, approval_id: UUID | None = None
    ) -> Call:
        """The call with this number: the one that an earlier turn left, or a new one."""
        data = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        with self._lease.held():
            calls = Call.objects.for_workspace(self._lease.workspace_id)
            calls = calls.filter(run_id=self._lease.run_id, step_id=self._step.pk, seq=seq)
            known: Call | None = calls.exclude(status=CallStatus.RETRIED.value).first()
            if known is not None:
                return known
            # A call that a person had sent again used its approval up; whether it may happen is asked anew (T05).
            is_retry = calls.exists()
            call: Call = Call(
                id=uuid7(),
                workspace_id=self._lease.workspace_id,
                step_id=self._step.pk,
                run_id=self._lease.run_id,
                seq=seq,
                kind=kind,
                target=target[:260],
                call_key=self._facts.call_key(self._step.node_key, self._step.item_index, seq),
                args_ref=values.put(self._lease.workspace_id, arguments),
                args_hash=hashlib.sha256(data).hexdigest(),
                approval_id=None if is_retry else approval_id,
            )
            call.save(force_insert=True)
            return call

    def started(self, call: Call, agent: AgentPin) -> None:
        """Write down, durably, that a model call has started. Raises when it may not leave any more."""
        self._leaving(call, agent, CallStatus.STARTED)

    def _leaving(self, call: Call, agent: AgentPin, status: CallStatus) -> None:
        """Write down, durably, that the call is about to leave under this fence."""
        with self._lease.held():
            self._demand_no_halt(call, agent)
            call.attempts, call.not_after = sql.demand(
                sql.one(
                    sql.MARK_LEAVING,
                    run_id=call.run_id,
                    call_id=call.pk,
                    status=status.value,
                    fence=self._lease.fence,
                    agent=agent.slug,
                )
            )
        if call.attempts > MOST_ATTEMPTS:
            raise StepStopped(
                Failed(
                    code=FailureCode.STEP_FAILED,
                    error="no_answer",
                    message=f"{call.target} did not answer {MOST_ATTEMPTS} times in a row.",
                )
            )
        call.status = status.value
        faults.reach(Point.CALL_STARTED)
        self._lease.demand_contact()

    def _demand_no_halt(self, call: Call, agent: AgentPin) -> None:
        tool, provider = (call.target, "") if call.kind == Call.Kind.TOOL else ("", agent.provider)
        if halt := halts.stopping(self._facts, agent=agent, tool=tool, provider=provider):
            raise StepStopped(Halted(reason=halt.reason, terminate=halt.mode == "terminate"))

    def not_now(self, call: Call, agent: AgentPin, rule: str, reason: str) -> StepStopped:
        """What to do after the gateway found the moment wrong: pause or end with the halt it saw, else ask again.

        Soon, or once a minute where somebody must put the database right first.
        """
        # An answer, however often it is asked for: only silence is counted.
        call.attempts = 0
        self._nothing_on_its_way(call)
        try:
            with self._lease.held():
                self._demand_no_halt(call, agent)
        except StepStopped as halted:
            return halted
        return StepStopped(_later(0, reason, LONGEST_WAIT_SECONDS if rule in OF_THE_DATABASE else 1))

    def _nothing_on_its_way(self, call: Call) -> None:
        with self._lease.held():
            call.not_after = None
            call.save(update_fields=["not_after", "attempts"])

    def _answered(self, client: GatewayClient, call: Call, request: CallRequest, agent: AgentPin) -> CallResponse:
        try:
            if call.status == CallStatus.STARTED or call.is_asked:
                known = self._lease.wait_for(lambda: client.outcome(call.pk))
                if known is not None and _is_asked_about(known):
                    # Not another start: the gateway asks the verify tool what became of the first one.
                    return self._lease.wait_for(lambda: _sent(client, request))
                if known is not None and not _may_be_asked_again(known):
                    return known
            self._leaving(call, agent, CallStatus(call.status))
            response = self._lease.wait_for(lambda: _sent(client, request))
        except GatewayUnreachable as error:
            raise StepStopped(_later(call.attempts, f"The gateway does not answer ({error}).")) from error
        except GatewayRefused as refusal:
            self._nothing_on_its_way(call)
            raise StepStopped(_refused(refusal)) from refusal
        if response.rule in NOT_NOW:
            raise self.not_now(call, agent, response.rule, response.reason)
        return response

    def recorded(self, call: Call, response: CallResponse) -> None:
        """Write down the gateway's answer."""
        faults.reach(Point.CALL_ANSWERED)
        with self._lease.held():
            call.rule, call.reason = response.rule[:60], response.reason
            call.approval_id = response.approval_id or call.approval_id
            call.redactions = response.to_json()["redactions"]
            call.result_ref = values.put(self._lease.workspace_id, response.to_json())
            self._keep_late(call, response.late_result)
            if response.tool:
                call.retry_class, call.effect = response.tool.retry_class, response.tool.effect
            status = _status_after(call, response)
            if response.state is CallState.AWAITING_APPROVAL:
                # An answer, however often it is asked for: only silence is counted.
                call.attempts, call.not_after = 0, None
            call.finished_at = database_now() if status in TERMINAL_CALL else None
            call.save(update_fields=_ANSWER)
            transitions.move_call(call, status)
        faults.reach(Point.CALL_RECORDED)

    def _still_unknown(self, client: GatewayClient, call: Call) -> StepStopped:
        """The call waits for a person's word. What the tool may have said meanwhile is kept for the person to see."""
        still = StepStopped(Unknown(call_id=call.pk, message=call.reason or _nobody_knows(call)))
        try:
            known = self._lease.wait_for(lambda: client.outcome(call.pk))
        except (GatewayUnreachable, GatewayRefused):
            return still
        if known is not None:
            with self._lease.held():
                self._keep_late(call, known.late_result or known.result)
                call.save(update_fields=["late_result_ref", "late_result_at"])
        return still

    def _keep_late(self, call: Call, said: ToolResult | None) -> None:
        if said is not None and not call.late_result_ref:
            call.late_result_ref = values.put(self._lease.workspace_id, said.to_json())
            call.late_result_at = database_now()

    def _stored(self, call: Call) -> CallResponse:
        with self._lease.held():
            return CallResponse.parse(values.get(self._lease.workspace_id, call.result_ref))

    def _demand_ended(self, call: Call, response: CallResponse) -> CallResponse:
        if call.status == CallStatus.INDETERMINATE:
            raise StepStopped(Unknown(call_id=call.pk, message=response.reason or _nobody_knows(call)))
        match response.state:
            case CallState.SUCCEEDED | CallState.FAILED | CallState.BLOCKED:
                return response
            case CallState.AWAITING_APPROVAL:
                raise StepStopped(
                    Parked(
                        waiting_on=WaitingOn.APPROVAL,
                        reason=response.reason or "A person decides about this call.",
                        wake_in_seconds=ASKED_AGAIN_SECONDS,
                        approval_id=response.approval_id,
                    )
                )
            case CallState.INDETERMINATE if response.retry_after_seconds:
                reason = f"{call.target} may still be on its way; then its verify tool says whether it happened."
                raise StepStopped(_later(call.attempts, reason, response.retry_after_seconds))
            case _:
                wait = response.retry_after_seconds or 1
                raise StepStopped(_later(call.attempts, f"{call.target} is still in flight.", wait))


def _status_after(call: Call, response: CallResponse) -> CallStatus:
    """What the gateway's answer makes of the call."""
    status = _STATUS[response.state]
    if call.status == CallStatus.STARTED and status in {CallStatus.BLOCKED, CallStatus.AWAITING_APPROVAL}:
        # It was sent before, and only sending it again is refused or has to be asked for.
        return CallStatus.INDETERMINATE if status is CallStatus.BLOCKED else CallStatus.STARTED
    if call.status == CallStatus.AWAITING_APPROVAL and status is CallStatus.BLOCKED:
        return _SAID_NO.get(response.rule, CallStatus.CANCELED)
    is_asked_again = call.attempts < MOST_ATTEMPTS and _may_be_asked_again(response)
    if status is CallStatus.INDETERMINATE and (is_asked_again or response.retry_after_seconds):
        return CallStatus.STARTED
    return status


def _nobody_knows(call: Call) -> str:
    return f"{call.target} was sent, and nobody knows whether it took effect."


def _sent(client: GatewayClient, request: CallRequest) -> CallResponse:
    return client.call(request, on_sent=lambda: faults.reach(Point.CALL_SENT))


def _may_be_asked_again(known: CallResponse) -> bool:
    """Whether posting the same call again can bring more than its known state: the gateway never performs it twice.

    What waits for a person is asked again, because the person may have decided; what is unknown only where a repeat
    under the same key is harmless.
    """
    if known.state in {CallState.AWAITING_APPROVAL, CallState.ADMITTED}:
        return True
    repeatable = known.tool is not None and known.tool.retry_class != RetryClass.ONCE.value
    return known.state is CallState.INDETERMINATE and repeatable


def _is_asked_about(known: CallResponse) -> bool:
    """Whether a tool can say what became of the call, so that a person need not find out."""
    return known.state is CallState.INDETERMINATE and known.tool is not None and known.tool.is_verifiable


def _did_not_happen(call: Call) -> Failed:
    return Failed(
        code=FailureCode.STEP_FAILED,
        error="call_did_not_happen",
        message=f"{call.target} did not happen, as a person found out: {call.reason}",
    )


def _later(attempts: int, reason: str, at_least: int = 1) -> Parked:
    wait = min(LONGEST_WAIT_SECONDS, max(at_least, 2 ** min(attempts, 6)))
    return Parked(waiting_on=WaitingOn.TIMER, reason=reason, wake_in_seconds=wait)


def _refused(refusal: GatewayRefused) -> Failed:
    return Failed(
        code=FailureCode.POLICY_BLOCKED if refusal.status in {401, 403} else FailureCode.STEP_FAILED,
        error=refusal.code or "gateway_refused",
        message=f"The gateway did not take the call: {refusal}",
    )
