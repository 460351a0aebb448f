"""The drive loop: claim a token, run its steps until it parks, ends or has had its turn, write each transition once.

Nothing here is held in memory between turns. Who drives is whoever holds the newest fence; a process that lost it finds
out at its next write and stops without a trace (runs.md 3.3).
"""

import logging
import threading
import time
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from audit.attestation import RowAltered
from audit.services import record_altered
from provenance.db import enter
from provenance.errors import ProvenanceError
from workflows import expressions, facts, faults, halts, sql, states, transitions, values
from workflows.definition import END, AgentStep, ConditionStep, Step, ToolStep
from workflows.expressions import ExpressionError
from workflows.facts import RunFacts
from workflows.faults import Point
from workflows.journal import Journal
from workflows.leases import OWNER, Interrupted, Lease, NoContact, heartbeat, release_connection
from workflows.models import Call, Run
from workflows.models import Step as StepRow
from workflows.outcomes import Done, Failed, Halted, Outcome, Parked, StepStopped, Unknown
from workflows.states import CallStatus, FailureCode, RunStatus, StepStatus, TokenState, WaitingOn
from workflows.steps import Runner, Work, approval, condition, definition_error, tool, transform
from workflows.steps import agent as agent_step
from workspaces.control import Halt

TURN_SECONDS = 60.0
TURN_STEPS = 50
HALT_LOOKED_AT_SECONDS = 5
# A person must look at an unknown outcome; the token is looked at again in case the outcome arrives late.
UNKNOWN_LOOKED_AT_SECONDS = 600
LONGEST_ERROR = 500

RUNNERS: dict[str, Runner] = {
    "agent": agent_step.run,
    "tool": tool.run,
    "condition": condition.run,
    "transform": transform.run,
    "approval": approval.run,
}

stopping = threading.Event()
"""Set when this process is asked to end: every drive gives its token back at the next boundary."""

logger = logging.getLogger(__name__)


def drive(workspace_id: UUID, token_id: UUID, dispatch_no: int) -> int | None:
    """Answer a doorbell. Returns the number of the next one when the token was given back, else None.

    A doorbell that is repeated, stale or forged claims nothing and changes nothing (T17).
    """
    faults.reach(Point.DOORBELL_RECEIVED)
    lease = _claim(workspace_id, token_id, dispatch_no)
    if lease is None:
        return None
    faults.reach(Point.CLAIMED)
    with heartbeat.keeping(lease):
        try:
            return _Drive(lease).run()
        except sql.FencedOut:
            logger.info("token %s is driven by somebody else now", token_id)
        except Interrupted:
            finish_cancel(lease)
        except RowAltered as error:
            _refuse(lease, error)
        except NoContact:
            logger.warning("token %s given up: no contact with the database for too long", token_id)
        except DatabaseError:
            # The lease runs out and somebody claims the token again; nothing of the step was written.
            logger.exception("token %s given up", token_id)
        finally:
            release_connection()
    return None


def _claim(workspace_id: UUID, token_id: UUID, dispatch_no: int) -> Lease | None:
    with enter(workspace_id):
        claim = sql.claim(token_id, dispatch_no, OWNER)
        if claim is None:
            return None
        lease = Lease(workspace_id, token_id, claim.run_id, claim.scope_id, claim.fence)
        if claim.crash_claims >= sql.MOST_CRASHES:
            _end_run(lease, RunStatus.FAILED, TokenState.QUARANTINED, transitions.poisoned(claim.crash_claims))
            return None
    return lease


def finish_cancel(lease: Lease) -> None:
    """End a canceled run from the side of the worker that still held one of its tokens."""
    try:
        with lease.held(even_if_canceling=True):
            run = transitions.locked_run(lease.workspace_id, lease.run_id)
            if run.status == RunStatus.CANCELING:
                _end_run(lease, RunStatus.CANCELED, TokenState.CANCELED, reason=run.cancel_reason)
            else:
                sql.demand(
                    sql.one(sql.END, token_id=lease.token_id, fence=lease.fence, state=TokenState.CANCELED.value)
                )
    except sql.FencedOut:
        logger.info("token %s was taken over while its run was canceled", lease.token_id)


def _refuse(lease: Lease, error: RowAltered) -> None:
    """End a run that goes by what nobody signed, and say so: an alarm, and the reason on its page."""
    record_altered(error.altered, by=facts.ENGINE)
    failure = Failed(code=FailureCode.POLICY_BLOCKED, error=error.code, message=error.message[:LONGEST_ERROR])
    try:
        with lease.held(even_if_canceling=True):
            run = transitions.locked_run(lease.workspace_id, lease.run_id)
            if run.status == RunStatus.CANCELING:
                _end_run(lease, RunStatus.CANCELED, TokenState.CANCELED, reason=run.cancel_reason)
            else:
                _end_run(lease, RunStatus.FAILED, TokenState.QUARANTINED, failure)
    except sql.FencedOut:
        logger.info("token %s was taken over while its run was refused", lease.token_id)


class _Drive:
    """One turn of one token."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._facts: RunFacts | None = None

    @property
    def facts(self) -> RunFacts:
        assert self._facts is not None  # noqa: S101  set by the first thing `run` does
        return self._facts

    def run(self) -> int | None:
        """Run steps until the token parks or ends (None), or its turn is over (the next doorbell's number)."""
        row = self._begin()
        began, steps = time.monotonic(), 0
        while row is not None:
            if stopping.is_set() or steps == TURN_STEPS or time.monotonic() - began > TURN_SECONDS:
                return self._give_back()
            row = self._settle(row, self._outcome(row))
            steps += 1
        return None

    def _begin(self) -> StepRow | None:
        """The step to run: the one the token stood in, or a new one. None when the run must not go on."""
        lease = self._lease
        with lease.held(even_if_canceling=True):
            run = transitions.locked_run(lease.workspace_id, lease.run_id)
            if run.status == RunStatus.CANCELING or run.is_terminal:
                _end_token_of(lease, run)
                return None
            self._facts = facts.load(lease.workspace_id, lease.run_id)
            halt = self._halt_ahead()
            if halt is not None:
                self._halt(run, None, Halted(reason=halt.reason, terminate=halt.mode == "terminate"))
                return None
            if run.status != RunStatus.RUNNING:
                transitions.move_run(run, RunStatus.RUNNING, actor=self.facts.engine_actor())
            row = self._current_step(run)
        faults.reach(Point.STEP_BEGUN)
        return row

    def _halt_ahead(self) -> Halt | None:
        """The halt that stops the step the token stands in, or the call it was about to make: so that a paused run
        stays paused, instead of going on to that call every few seconds.
        """
        node_key, _ = self._place()
        step = self.facts.definition.step(node_key)
        agent = self.facts.agent(step.agent) if isinstance(step, ToolStep | AgentStep) else None
        planned = Call.objects.for_workspace(self._lease.workspace_id).filter(
            run_id=self._lease.run_id, step__node_key=node_key, status=CallStatus.PLANNED.value
        )
        call = planned.order_by("-id").first()
        tool = call.target if call and call.kind == Call.Kind.TOOL else ""
        provider = agent.provider if agent and call and call.kind == Call.Kind.MODEL else ""
        return halts.stopping(self.facts, agent=agent, tool=tool, provider=provider)

    def _place(self) -> tuple[str, int]:
        node_key, item_index = sql.demand(
            sql.one("SELECT node_key, item_index FROM workflows_token WHERE id = %(id)s", id=self._lease.token_id)
        )
        return node_key, item_index

    def _current_step(self, run: Run) -> StepRow:
        node_key, item_index = self._place()
        rows = StepRow.objects.for_workspace(self._lease.workspace_id).filter(
            run_id=self._lease.run_id, node_key=node_key, item_index=item_index
        )
        row: StepRow | None = rows.order_by("-attempt").first()
        if row is None:
            # The step that follows is begun with the end of the one before. Tokens are the engine's own and nobody signs
            # them: one that somebody put behind a step would take the run past whom that asks.
            if self.facts.has_begun or node_key != self.facts.definition.first.name:
                raise facts.altered(run, f"it stands at the step {node_key[:60]}, which it has not come to")
            return self._new_step(node_key, item_index)
        if row.status != StepStatus.RUNNING:
            transitions.move_step(
                row,
                StepStatus.RUNNING,
                actor=self.facts.engine_actor(),
                context=self.facts.context(row.node_key),
            )
        return row

    def _new_step(self, node_key: str, item_index: int) -> StepRow:
        step = self.facts.definition.step(node_key)
        row = transitions.begin_step(
            self.facts,
            node_key=node_key,
            item_index=item_index,
            kind=step.kind,
            title=step.title,
            fence=self._lease.fence,
        )
        sql.demand(
            sql.one(
                sql.ADVANCE, token_id=self._lease.token_id, fence=self._lease.fence, node_key=node_key, step_id=row.pk
            )
        )
        return row

    def _outcome(self, row: StepRow) -> Outcome:
        """Run the step. Whatever goes wrong inside becomes an outcome; only the loss of the token flies on."""
        step = self.facts.definition.step(row.node_key)
        work = Work(lease=self._lease, facts=self.facts, row=row, journal=Journal(self._lease, self.facts, row))
        try:
            return RUNNERS[step.kind](work, step)
        except StepStopped as stopped:
            return stopped.outcome
        except (sql.FencedOut, Interrupted, NoContact, RowAltered, DatabaseError):
            raise
        except values.ValueTooLarge as error:
            return Failed(code=FailureCode.STEP_FAILED, error="too_large", message=str(error))
        except ProvenanceError as error:
            return Failed(code=FailureCode.STEP_FAILED, error=error.code, message=error.message[:LONGEST_ERROR])
        except Exception as error:
            # A fault of ours in one step must end that run with a reason, not park it for ever.
            logger.exception("step %s of run %s failed", row.node_key, self._lease.run_id)
            return Failed(
                code=FailureCode.STEP_FAILED,
                error="internal_error",
                message=f"The engine failed in this step ({type(error).__name__}); the log of the worker has more.",
            )

    # --- Writing the outcome -------------------------------------------------------------------------------------

    def _settle(self, row: StepRow, outcome: Outcome) -> StepRow | None:
        """Write what the step came to, in one commit with what follows. The next step, None when there is none now."""
        try:
            following = self._write(row, outcome)
        except (values.ValueTooLarge, TypeError) as error:
            outcome = Failed(
                code=FailureCode.STEP_FAILED,
                error="output_unusable",
                message=f"The output of {row.node_key} cannot be stored: {error}",
            )
            following = self._write(self._reloaded(row), outcome)
        faults.reach(_POINTS.get(type(outcome), Point.STEP_SETTLED))
        if following is None and isinstance(outcome, Done | Failed):
            faults.reach(Point.RUN_ENDED)
        return following

    def _write(self, row: StepRow, outcome: Outcome) -> StepRow | None:
        with self._lease.held():
            match outcome:
                case Done():
                    return self._succeed(row, outcome)
                case Parked():
                    self._park(row, outcome)
                case Failed():
                    self._fail(row, outcome)
                case Unknown():
                    self._suspend(row, outcome)
                case Halted():
                    run = transitions.locked_run(self._lease.workspace_id, self._lease.run_id)
                    self._halt(run, row, outcome)
        return None

    def _reloaded(self, row: StepRow) -> StepRow:
        with self._lease.held():
            return row.fresh()

    def _succeed(self, row: StepRow, outcome: Done) -> StepRow | None:
        step = self.facts.definition.step(row.node_key)
        output_ref = values.put(self._lease.workspace_id, outcome.output)
        self._move(row, StepStatus.SUCCEEDED, output_ref=output_ref)
        self.facts.outputs[row.node_key] = outcome.output
        name = outcome.next or _next_of(step)
        if name != END:
            return self._new_step(name, row.item_index)
        self._finish(row)
        return None

    def _finish(self, row: StepRow) -> None:
        """The token has reached the end. Whoever takes its scope to zero ends the run."""
        lease = self._lease
        sql.demand(sql.one(sql.END, token_id=lease.token_id, fence=lease.fence, state=TokenState.DONE.value))
        (pending,) = sql.demand(sql.one(sql.LEAVE_SCOPE, scope_id=lease.scope_id))
        if pending:
            return
        run = transitions.locked_run(lease.workspace_id, lease.run_id)
        try:
            output = self._output(row)
        except ExpressionError as error:
            failure = definition_error(f"The run's output cannot be made: {error}")
            transitions.move_run(run, RunStatus.FAILED, actor=self.facts.engine_actor(), failure=failure)
            return
        transitions.move_run(
            run,
            RunStatus.SUCCEEDED,
            actor=self.facts.engine_actor(),
            output_ref=values.put(lease.workspace_id, output),
        )

    def _output(self, row: StepRow) -> Any:
        template = self.facts.definition.output
        if template is None:
            return self.facts.outputs[row.node_key]
        return expressions.render(template, self.facts.variables)

    def _park(self, row: StepRow, outcome: Parked) -> None:
        self._move(row, StepStatus.WAITING, reason=outcome.reason)
        self._wait(outcome.waiting_on, outcome.reason, outcome.wake_in_seconds, outcome.approval_id)

    def _suspend(self, row: StepRow, outcome: Unknown) -> None:
        self._move(row, StepStatus.INDETERMINATE, reason=outcome.message, detail={"call_id": str(outcome.call_id)})
        self._wait(WaitingOn.DECISION, outcome.message, UNKNOWN_LOOKED_AT_SECONDS, None)

    def _wait(self, waiting_on: WaitingOn, reason: str, seconds: int, approval_id: UUID | None) -> None:
        lease = self._lease
        sql.demand(
            sql.one(
                sql.PARK,
                token_id=lease.token_id,
                fence=lease.fence,
                waiting_on=waiting_on.value,
                approval_id=approval_id,
                wake_in=seconds,
            )
        )
        run = transitions.locked_run(lease.workspace_id, lease.run_id)
        transitions.move_run(
            run,
            RunStatus.WAITING,
            actor=self.facts.engine_actor(),
            reason=reason,
            waiting_on=waiting_on.value,
            detail={"waiting_on": waiting_on.value},
        )

    def _fail(self, row: StepRow, outcome: Failed) -> None:
        self._move(row, StepStatus.FAILED, failure=outcome)
        _end_run(self._lease, RunStatus.FAILED, TokenState.DONE, outcome)

    def _halt(self, run: Run, row: StepRow | None, outcome: Halted) -> None:
        """Pause or end the run because somebody engaged a halt; the steps stay as they are while it is paused."""
        reason = f"Halted: {outcome.reason}"
        if outcome.terminate:
            transitions.move_run(run, RunStatus.CANCELING, actor=self.facts.engine_actor(), reason=reason)
            _end_run(self._lease, RunStatus.CANCELED, TokenState.CANCELED, reason=reason)
            return
        if row is not None:
            self._move(row, StepStatus.WAITING, reason=reason)
        sql.demand(
            sql.one(
                sql.PARK,
                token_id=self._lease.token_id,
                fence=self._lease.fence,
                waiting_on="",
                approval_id=None,
                wake_in=HALT_LOOKED_AT_SECONDS,
            )
        )
        if run.status != RunStatus.PAUSED:
            transitions.move_run(run, RunStatus.PAUSED, actor=self.facts.engine_actor(), reason=reason)

    def _give_back(self) -> int:
        """Let others have a turn; the step stays as it is and goes on from its journal."""
        with self._lease.held():
            (number,) = sql.demand(sql.one(sql.YIELD, token_id=self._lease.token_id, fence=self._lease.fence))
        faults.reach(Point.YIELDED)
        return int(number)

    def _move(self, row: StepRow, status: StepStatus, **how: Any) -> None:
        transitions.move_step(
            row, status, actor=self.facts.engine_actor(), context=self.facts.context(row.node_key), **how
        )


_POINTS = {Parked: Point.PARKED, Unknown: Point.PARKED, Halted: Point.PARKED}


def _next_of(step: Step) -> str:
    assert not isinstance(step, ConditionStep)  # noqa: S101  a condition chooses in its outcome
    return step.next


def _end_token_of(lease: Lease, run: Run) -> None:
    if run.status == RunStatus.CANCELING:
        _end_run(lease, RunStatus.CANCELED, TokenState.CANCELED, reason=run.cancel_reason)
    else:
        sql.demand(sql.one(sql.END, token_id=lease.token_id, fence=lease.fence, state=TokenState.CANCELED.value))


def _end_run(
    lease: Lease,
    status: RunStatus,
    token_state: TokenState,
    failure: Failed | None = None,
    *,
    reason: str = "",
) -> None:
    """End this token, the others that are parked, every open step, and the run. Inside the transaction that holds it."""
    sql.demand(sql.one(sql.END, token_id=lease.token_id, fence=lease.fence, state=token_state.value))
    sql.run(sql.CANCEL_TOKENS, run_id=lease.run_id)
    run = transitions.locked_run(lease.workspace_id, lease.run_id)
    actor = facts.engine_actor(lease.workspace_id, run.on_behalf_of)
    closing = StepStatus.CANCELED if status is RunStatus.CANCELED else StepStatus.FAILED
    transitions.close_steps(run, closing, actor=actor, reason=failure.message if failure else reason)
    if status not in states.RUN[RunStatus(run.status)]:
        return
    transitions.move_run(run, status, actor=actor, reason=reason, failure=failure)
