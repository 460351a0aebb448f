"""A run is stopped by somebody's word."""

from uuid import UUID

from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now, service
from provenance.errors import NotFound
from provenance.permissions import Permission
from workflows import sql, transitions
from workflows.errors import RunIsOver
from workflows.models import Run, Token
from workflows.states import RunStatus, StepStatus, TokenState

LONGEST_REASON = 500


@service
def cancel_run(*, actor: Actor, run_id: UUID, reason: str) -> Run:
    """Stop a run. What was already sent to a tool is not undone; a worker that holds the run lets go within seconds.

    Canceling twice changes nothing. Raises `RunIsOver` for one that has ended.
    """
    actor.require(Permission.RUNS_WRITE)
    # Tokens before the run, as the engine locks them.
    tokens = Token.objects.for_actor(actor).filter(run_id=run_id).select_for_update().order_by("id")
    states_of_tokens = {token.state for token in tokens}
    run = Run.locked(actor, pk=run_id)
    if run is None:
        raise NotFound("There is no such run here.")
    if run.is_terminal:
        raise RunIsOver(f"The run has {run.status} and cannot be canceled.")
    if run.status == RunStatus.CANCELING:
        return run
    canceler = Actor.system("workflows.cancel", run.workspace_id, {Permission.APPROVALS_WRITE})
    # A decision that races with this locks the same row, and whoever comes second finds it closed.
    transitions.withdraw_approvals(canceler, run, "The run was canceled.")
    _request_cancel(actor, run, reason.strip()[:LONGEST_REASON])
    sql.run(sql.CANCEL_TOKENS, run_id=run.pk)
    if TokenState.LEASED.value not in states_of_tokens:
        _end_canceled(actor, run)
    return run


def _request_cancel(actor: Actor, run: Run, reason: str) -> None:
    run.status = RunStatus.CANCELING.value
    run.waiting_on = []
    run.cancel_requested_at = database_now()
    run.cancel_requested_by, run.cancel_reason = actor.id, reason
    run.save(update_fields=["status", "waiting_on", "cancel_requested_at", "cancel_requested_by", "cancel_reason"])
    record(
        actor=actor,
        event=Event.RUN_CANCELING,
        target=run,
        reason=reason,
        outcome="pending",
        context=transitions.context_of(run),
    )


def _end_canceled(actor: Actor, run: Run) -> None:
    transitions.close_steps(run, StepStatus.CANCELED, actor=actor, reason=run.cancel_reason)
    transitions.move_run(run, RunStatus.CANCELED, actor=actor, reason=run.cancel_reason)
