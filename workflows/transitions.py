"""Every change of a run's or a step's status: rule, write, event. Always inside the transaction that moves the token."""

from typing import Any
from uuid import UUID

from approvals.models import OPEN, ApprovalRequest, Status
from approvals.services import withdraw
from audit.envelope import Outcome
from audit.services import EventContext, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now
from workflows import states
from workflows.facts import RunFacts
from workflows.models import Call, Run, Step
from workflows.outcomes import Failed
from workflows.states import TERMINAL_CALL, CallStatus, FailureCode, RunStatus, StepStatus

LONGEST_REASON = 2_000

_RUN_EVENTS = {
    RunStatus.WAITING: Event.RUN_WAITING,
    RunStatus.PAUSED: Event.RUN_PAUSED,
    RunStatus.CANCELING: Event.RUN_CANCELING,
    RunStatus.SUCCEEDED: Event.RUN_SUCCEEDED,
    RunStatus.FAILED: Event.RUN_FAILED,
    RunStatus.CANCELED: Event.RUN_CANCELED,
}
_STEP_EVENTS = {
    StepStatus.WAITING: Event.RUN_STEP_WAITING,
    StepStatus.RUNNING: Event.RUN_STEP_RESUMED,
    StepStatus.SUCCEEDED: Event.RUN_STEP_COMPLETED,
    StepStatus.FAILED: Event.RUN_STEP_FAILED,
    StepStatus.SKIPPED: Event.RUN_STEP_SKIPPED,
    StepStatus.CANCELED: Event.RUN_STEP_CANCELED,
    StepStatus.INDETERMINATE: Event.RUN_STEP_UNKNOWN,
}
_OUTCOMES: dict[RunStatus | StepStatus, Outcome] = {
    RunStatus.FAILED: "failure",
    StepStatus.FAILED: "failure",
    StepStatus.INDETERMINATE: "unknown",
    RunStatus.WAITING: "pending",
    StepStatus.WAITING: "pending",
}


def locked_run(workspace_id: UUID, run_id: UUID) -> Run:
    """The run, held until the end of the transaction. Lock tokens first (runs.md 3.3)."""
    run: Run = Run.objects.for_workspace(workspace_id).select_for_update().get(pk=run_id)
    return run


def context_of(run: Run, step: str = "") -> EventContext:
    """Where an event of this run happened, for callers without loaded facts."""
    return EventContext(run_id=run.pk, step=step, workflow_version=str(run.version_id), environment=run.environment)


def move_run(
    run: Run,
    status: RunStatus,
    *,
    actor: Actor,
    reason: str = "",
    waiting_on: str = "",
    failure: Failed | None = None,
    output_ref: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Change a run's status. Raises `ImpossibleTransition`, and then nothing was changed."""
    previous = RunStatus(run.status)
    states.demand_run(previous, status)
    # Each role may write only the columns of what it does, so exactly those are written.
    written: dict[str, Any] = {"status": status.value, "waiting_on": [waiting_on] if waiting_on else []}
    if status is RunStatus.RUNNING and run.started_at is None:
        written["started_at"] = database_now()
    if status in states.TERMINAL_RUN:
        written["finished_at"] = database_now()
    if output_ref:
        written["output_ref"] = output_ref
    if failure is not None:
        written |= {"failure_code": failure.code.value, "failure_reason": failure.message[:LONGEST_REASON]}
    _write(run, written)
    record(
        actor=actor,
        event=_run_event(previous, status),
        target=run,
        reason=reason or (failure.message if failure else ""),
        outcome=_OUTCOMES.get(status, "success"),
        context=context_of(run),
        detail=detail,
    )


def _run_event(previous: RunStatus, status: RunStatus) -> Event:
    if status is RunStatus.RUNNING:
        return Event.RUN_STARTED if previous is RunStatus.QUEUED else Event.RUN_RESUMED
    return _RUN_EVENTS[status]


def begin_step(facts: RunFacts, *, node_key: str, item_index: int, kind: str, title: str, fence: int) -> Step:
    """A new step, running."""
    step = Step(
        workspace_id=facts.workspace_id,
        run_id=facts.run_id,
        node_key=node_key,
        item_index=item_index,
        kind=kind,
        fence=fence,
        status=StepStatus.RUNNING.value,
        started_at=database_now(),
    )
    step.save()
    record(
        actor=facts.engine_actor(),
        event=Event.RUN_STEP_STARTED,
        target=step,
        context=facts.context(node_key),
        detail={"title": title, "kind": kind},
    )
    return step


def move_step(
    step: Step,
    status: StepStatus,
    *,
    actor: Actor,
    context: EventContext,
    reason: str = "",
    output_ref: str = "",
    failure: Failed | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Change a step's status. Raises `ImpossibleTransition`, and then nothing was changed."""
    states.demand_step(step.status, status)
    written: dict[str, Any] = {"status": status.value}
    if not states.STEP[status]:
        written["finished_at"] = database_now()
    if output_ref:
        written["output_ref"] = output_ref
    if failure is not None:
        written |= {"error_code": failure.error[:40], "error_message": failure.message[:LONGEST_REASON]}
    _write(step, written)
    record(
        actor=actor,
        event=_STEP_EVENTS[status],
        target=step,
        reason=reason or (failure.message if failure else ""),
        outcome=_OUTCOMES.get(status, "success"),
        context=context,
        detail=detail,
    )


def _write(row: Run | Step, written: dict[str, Any]) -> None:
    for name, value in written.items():
        setattr(row, name, value)
    row.save(update_fields=list(written))


def move_call(call: Call, status: CallStatus) -> None:
    """Let the call's status become this one, through those in between. Raises `ImpossibleTransition`."""
    for following in states.call_way(call.status, status):
        call.status = following.value
        call.save(update_fields=["status"])


def close_calls(run: Run) -> None:
    """End every call that is still open, because its run ends. What may have taken effect is said to be unknown."""
    settled = {*TERMINAL_CALL, CallStatus.INDETERMINATE}
    calls = Call.objects.for_workspace(run.workspace_id).filter(run_id=run.pk).exclude(status__in=sorted(settled))
    for call in calls.select_for_update().order_by("id"):
        status = _closing(call)
        call.reason = call.reason or _CLOSED[status]
        call.finished_at = database_now() if status in TERMINAL_CALL else None
        call.save(update_fields=["reason", "finished_at"])
        move_call(call, status)


_CLOSED = {
    CallStatus.CANCELED: "The run ended before this call was made.",
    CallStatus.WITHDRAWN: "The run ended before anybody decided about this call.",
    CallStatus.FAILED: "The run ended while the model was asked.",
    CallStatus.INDETERMINATE: "The run ended while this call was on its way, so its effect is unknown.",
}


def _closing(call: Call) -> CallStatus:
    """How a call ends with its run."""
    has_started = call.status == CallStatus.STARTED or (call.is_asked and _may_start(call))
    if has_started:
        return CallStatus.INDETERMINATE if call.kind == Call.Kind.TOOL else CallStatus.FAILED
    return CallStatus.WITHDRAWN if call.status == CallStatus.AWAITING_APPROVAL else CallStatus.CANCELED


def _may_start(call: Call) -> bool:
    """Whether nobody's decision is missing for what is on its way."""
    if call.status != CallStatus.AWAITING_APPROVAL:
        return True
    requests = ApprovalRequest.objects.for_workspace(call.workspace_id).filter(pk=call.approval_id)
    return requests.filter(status=Status.APPROVED).exists()


def close_steps(run: Run, status: StepStatus, *, actor: Actor, reason: str) -> None:
    """End every step that is still open, and its calls, because the run ends."""
    close_calls(run)
    open_statuses = [value.value for value, following in states.STEP.items() if following]
    steps = Step.objects.for_workspace(run.workspace_id).filter(run_id=run.pk, status__in=open_statuses)
    for step in steps.select_for_update().order_by("id"):
        move_step(step, status, actor=actor, context=context_of(run, step.node_key), reason=reason)


def withdraw_approvals(actor: Actor, run: Run, reason: str) -> None:
    """Close the requests of a run that ends: nobody decides about it any more."""
    requests = ApprovalRequest.objects.for_workspace(run.workspace_id).filter(run_id=run.pk, status__in=OPEN)
    for request_id in requests.values_list("pk", flat=True):
        withdraw(actor=actor, request_id=request_id, reason=reason)


def poisoned(crashes: int) -> Failed:
    """Why a run fails whose worker died on it again and again."""
    return Failed(
        code=FailureCode.POISON,
        error="poison",
        message=f"Workers stopped {crashes} times while they ran this step, so it is not tried again.",
    )
