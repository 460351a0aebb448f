"""The sweeper: one elected worker that finds what no doorbell rang for (runs.md 3.7).

It looks every half second for leases that ran out, tokens whose time has come, decisions nobody was woken by, due
timers, and calls the registered sweeps. It drives what it finds itself, in a small pool: with Valkey away everything is
slower and nothing stops.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection

from audit.attestation import RowAltered
from audit.services import record_altered
from provenance import sweeper
from provenance.actor import Actor
from provenance.db import database_now, enter
from provenance.permissions import Permission
from workflows import doorbell, engine, sql, transitions
from workflows.leases import OWNER
from workflows.models import Run, Timer, Token
from workflows.outcomes import Failed
from workflows.states import FailureCode, RunStatus, StepStatus, TokenState

PAUSE_SECONDS = 0.5
LEADER_SECONDS = 5
BATCH = 500
AHEAD_LOOK_SECONDS = 60.0
OWN_DRIVES = 8

logger = logging.getLogger(__name__)
_stop = threading.Event()
_pool = ThreadPoolExecutor(max_workers=OWN_DRIVES, thread_name_prefix="swept")
_free = threading.BoundedSemaphore(OWN_DRIVES)


def start() -> threading.Thread:
    """Begin to stand for election and, when elected, to sweep. One thread per worker process."""
    _stop.clear()
    thread = threading.Thread(target=_run, name="sweeper", daemon=True)
    thread.start()
    return thread


def stop() -> None:
    """Stop after the sweep that is under way."""
    _stop.set()


def _run() -> None:
    while not _stop.wait(PAUSE_SECONDS):
        try:
            if lead():
                sweep_once()
        except DatabaseError:
            logger.warning("sweep failed", exc_info=True)
            connection.close()
        except Exception:
            # One bad sweep must not end the thread that everybody's timers hang on.
            logger.exception("sweep failed")
        finally:
            close_old_connections()


def lead() -> bool:
    """Whether this process leads now: elected, or re-elected for another five seconds."""
    row = sql.one(sql.LEAD, name="sweeper", owner=OWNER, seconds=LEADER_SECONDS)
    return bool(row and row[0])


def sweep_once() -> int:
    """Do everything that is due, once; how many tokens and timers there were."""
    found = [*sql.every(sql.DUE, most=BATCH), *sql.every(sql.ANSWERED, most=BATCH), *_ahead()]
    for workspace_id, token_id in dict.fromkeys(found):
        revive(workspace_id, token_id)
    timers = sql.every(sql.TIMERS, most=BATCH)
    for workspace_id, timer_id in timers:
        fire(workspace_id, timer_id)
    _call_registered()
    return len(found) + len(timers)


class _Ahead:
    """Tokens put off to a time that nobody asks for: once a minute, because they are looked for among all that wait."""

    def __init__(self) -> None:
        self._look_at = float("-inf")

    def __call__(self) -> list[tuple[UUID, UUID]]:
        if time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + AHEAD_LOOK_SECONDS
        return sql.every(sql.AHEAD, most=BATCH)


_ahead = _Ahead()


def revive(workspace_id: UUID, token_id: UUID) -> None:
    """Give a due token a new doorbell, and answer it here if there is a free hand."""
    with enter(workspace_id):
        row = sql.one(sql.REVIVE, token_id=token_id) or sql.one(sql.WAKE, token_id=token_id)
    if row is None:
        return
    if not _free.acquire(blocking=False):
        doorbell.ring(workspace_id, token_id, row[0])
        return
    _pool.submit(_drive_here, workspace_id, token_id, row[0])


def _drive_here(workspace_id: UUID, token_id: UUID, dispatch_no: int) -> None:
    try:
        following = engine.drive(workspace_id, token_id, dispatch_no)
        if following is not None:
            doorbell.ring(workspace_id, token_id, following)
    except Exception:
        logger.exception("token %s could not be driven", token_id)
    finally:
        _free.release()
        connection.close()


def fire(workspace_id: UUID, timer_id: UUID) -> None:
    """Let a timer have its effect, exactly once: both are in one commit."""
    with enter(workspace_id):
        timers = Timer.objects.for_workspace(workspace_id).filter(pk=timer_id, fired_at=None)
        timer = timers.first()
        if timer is None:
            return
        end_overdue(workspace_id, timer.run_id)
        timers.update(fired_at=database_now())


def end_overdue(workspace_id: UUID, run_id: UUID) -> None:
    """Fail a run whose deadline has passed. A worker that holds it finds out at its next heartbeat."""
    # Tokens before the run, as everybody locks them.
    held = Token.objects.for_workspace(workspace_id).filter(run_id=run_id).select_for_update().order_by("id")
    tokens = list(held.values_list("pk", flat=True))
    run: Run = transitions.locked_run(workspace_id, run_id)
    if run.is_terminal:
        return
    actor = Actor.system("workflows.deadline", workspace_id, {Permission.RUNS_WRITE, Permission.APPROVALS_WRITE})
    message = f"The run had not ended at its deadline, {run.deadline_at:%Y-%m-%d %H:%M} UTC."
    Token.objects.for_workspace(workspace_id).filter(
        pk__in=tokens, state__in=[TokenState.READY, TokenState.WAITING, TokenState.LEASED]
    ).update(state=TokenState.CANCELED.value, owner="", lease_until=None, wake_at=None)
    transitions.withdraw_approvals(actor, run, "The run reached its deadline.")
    if run.status == RunStatus.CANCELING:
        transitions.close_steps(run, StepStatus.CANCELED, actor=actor, reason=run.cancel_reason)
        transitions.move_run(run, RunStatus.CANCELED, actor=actor, reason=run.cancel_reason)
        return
    transitions.close_steps(run, StepStatus.FAILED, actor=actor, reason=message)
    failure = Failed(code=FailureCode.DEADLINE, error="deadline", message=message)
    transitions.move_run(run, RunStatus.FAILED, actor=actor, failure=failure)


def _call_registered() -> None:
    now = database_now()
    for name, sweep in sweeper.registered().items():
        try:
            sweep(now)
        except RowAltered as error:
            record_altered(error.altered, by=name)
        except Exception:
            # One floor's sweep must not keep the others from theirs.
            logger.exception("sweep %s failed", name)
