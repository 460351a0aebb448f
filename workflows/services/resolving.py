"""A person says what became of a call of unknown outcome, or has it sent again."""

from typing import Any
from uuid import UUID

from audit.services import Target, record
from audit.taxonomy import Event
from gateway.contract import CallResponse
from provenance.actor import Actor, ActorKind
from provenance.db import database_now, service, workspace_of
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from workflows import transitions, unknown, values, wakes
from workflows.errors import CallIsLookedAt, CallIsSettled, RetryTooEarly, RunIsOver
from workflows.models import Call, Run, Token
from workflows.services.canceling import LONGEST_REASON
from workflows.states import CallStatus, RunStatus, TokenState
from workflows.unknown import Settlement

_SETTLED = {
    Settlement.HAPPENED: CallStatus.RESOLVED_SUCCEEDED,
    Settlement.DID_NOT_HAPPEN: CallStatus.RESOLVED_FAILED,
    Settlement.RETRY: CallStatus.RETRIED,
}


@service
def resolve_call(*, actor: Actor, call_id: UUID, outcome: Settlement, result: str | None = None, reason: str) -> Call:
    """Settle a call of unknown outcome by a person's word, and let its run go on.

    `happened` needs the tool's answer as JSON text in `result`; the run goes on with it. `did_not_happen` fails the
    step. `retry` sends the same arguments under the same key as a new call, which is judged anew: an approval that the
    first one used up does not cover it. Raises `CallIsSettled`, `CallIsLookedAt`, `RunIsOver`, `RetryTooEarly`, or
    `Invalid` with one error for each thing that is wrong. The gateway's own record of the call is not touched.
    """
    actor.require(Permission.RUNS_WRITE)
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(Permission.RUNS_WRITE, "Only a person says what became of a call.")
    outcome, reason = Settlement(outcome), reason.strip()[:LONGEST_REASON]
    if not reason:
        raise Invalid("Say how you know.", errors=[{"path": "reason", "message": "Say how you know."}])
    if result and outcome is not Settlement.HAPPENED:
        message = "Only a call that happened has a result."
        raise Invalid(message, errors=[{"path": "result", "message": message}])
    call = _unknown_call(actor, call_id)
    _settle_call(actor, call, outcome, _answer_of(call, outcome, result or "", reason), reason)
    for token_id in Token.objects.for_actor(actor).filter(step_id=call.step_id).values_list("pk", flat=True):
        wakes.wake_token(call.workspace_id, token_id)
    return call


def _unknown_call(actor: Actor, call_id: UUID) -> Call:
    """The call, its run held still: tokens before the run, as the engine locks them."""
    calls = Call.objects.for_actor(actor).select_related("step").filter(pk=call_id)
    run_id = calls.values_list("run_id", flat=True).first()
    if run_id is None:
        raise NotFound("There is no such call here.")
    tokens = list(Token.objects.for_actor(actor).filter(run_id=run_id).select_for_update().order_by("id"))
    run = transitions.locked_run(workspace_of(actor), run_id)
    if run.is_terminal or run.status == RunStatus.CANCELING:
        raise RunIsOver(f"The run is {run.status}; nothing goes on from this call.")
    call: Call = calls.get(run_id=run_id)
    if call.status != CallStatus.INDETERMINATE:
        raise CallIsSettled
    if any(token.step_id == call.step_id and token.state == TokenState.LEASED for token in tokens):
        raise CallIsLookedAt
    return call


def _answer_of(call: Call, outcome: Settlement, text: str, reason: str) -> CallResponse | None:
    if outcome is Settlement.HAPPENED:
        return unknown.happened(call, unknown.pasted(call, text), reason)
    if outcome is Settlement.RETRY and (retry_at := unknown.retry_from(call)) > database_now():
        raise RetryTooEarly(
            f"The call may still be on its way. It can be sent again from {retry_at:%Y-%m-%d %H:%M:%S} UTC.",
            retry_at=retry_at.isoformat(),
        )
    return None


def _settle_call(actor: Actor, call: Call, outcome: Settlement, answer: CallResponse | None, reason: str) -> None:
    now = database_now()
    written: dict[str, Any] = {"status": _SETTLED[outcome].value, "resolved_by": actor.id, "resolved_at": now}
    written |= {"reason": reason, "finished_at": now}
    if answer is not None:
        body = answer.to_json()
        written |= {"result_ref": values.put(call.workspace_id, body), "redactions": body["redactions"]}
    unsettled = Call.objects.for_actor(actor).filter(
        run_id=call.run_id, pk=call.pk, status=CallStatus.INDETERMINATE.value
    )
    if not unsettled.update(**written):
        raise CallIsSettled
    for name, value in written.items():
        setattr(call, name, value)
    run: Run = Run.objects.for_actor(actor).get(pk=call.run_id)
    record(
        actor=actor,
        event=Event.CALL_RESOLVED,
        target=Target("call", str(call.pk), call.target),
        reason=reason,
        context=transitions.context_of(run, call.step.node_key),
        detail={
            "outcome": outcome.value,
            "tool": call.target,
            "call_key": call.call_key,
            "result": answer.result.to_json() if answer and answer.result else None,
        },
    )
