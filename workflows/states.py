"""Which state may follow which (runs.md 3.2). Pure; the same pairs stand in a trigger in the database."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any

from provenance.errors import Conflict


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class WaitingOn(StrEnum):
    """What a waiting run waits for. `decision`: a person must say what became of a call."""

    APPROVAL = "approval"
    TIMER = "timer"
    EVENT = "event"
    CHILD = "child"
    BUDGET = "budget"
    RATE_LIMIT = "rate_limit"
    DECISION = "decision"


class FailureCode(StrEnum):
    """Why a run failed."""

    STEP_FAILED = "step_failed"
    APPROVAL_REJECTED = "approval_rejected"
    SLA_BREACHED = "sla_breached"
    BUDGET_EXCEEDED = "budget_exceeded"
    DEADLINE = "deadline"
    POLICY_BLOCKED = "policy_blocked"
    POISON = "poison"
    DEFINITION_ERROR = "definition_error"


class TokenState(StrEnum):
    """Where one path of a run stands: free to be claimed, held by a worker, parked, or over."""

    READY = "ready"
    LEASED = "leased"
    WAITING = "waiting"
    DONE = "done"
    CANCELED = "canceled"
    QUARANTINED = "quarantined"


class StepStatus(StrEnum):
    """Where one step of a run stands. `indeterminate`: a call was sent and nobody knows what became of it."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELED = "canceled"
    INDETERMINATE = "indeterminate"


class CallStatus(StrEnum):
    """Where one call stands in the engine's journal.

    The gateway decides about a tool call and performs it in one exchange, so the engine learns only from the answer
    that a call was blocked, waits for a person or started; while it waits for that answer the call is `planned` (or
    `awaiting_approval`) and asked (`Call.is_asked`). A model call is started before it leaves.
    """

    PLANNED = "planned"
    BLOCKED = "blocked"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"
    RESOLVED_SUCCEEDED = "resolved_succeeded"
    RESOLVED_FAILED = "resolved_failed"
    RETRIED = "retried"
    CANCELED = "canceled"


_LIVE_RUN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED)
_OVER = (RunStatus.SUCCEEDED, RunStatus.FAILED)

RUN: Mapping[RunStatus, frozenset[RunStatus]] = {
    # A queued run can fail too: at its deadline, or because its first step could never begin.
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELING, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset({RunStatus.WAITING, RunStatus.PAUSED, RunStatus.CANCELING, *_OVER}),
    RunStatus.WAITING: frozenset({RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.CANCELING, *_OVER}),
    RunStatus.PAUSED: frozenset({*_LIVE_RUN, RunStatus.CANCELING, RunStatus.FAILED} - {RunStatus.PAUSED}),
    RunStatus.CANCELING: frozenset({RunStatus.CANCELED}),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELED: frozenset(),
}

TOKEN: Mapping[TokenState, frozenset[TokenState]] = {
    TokenState.READY: frozenset({TokenState.LEASED, TokenState.CANCELED}),
    TokenState.LEASED: frozenset(TokenState),
    TokenState.WAITING: frozenset({TokenState.READY, TokenState.CANCELED}),
    TokenState.DONE: frozenset(),
    TokenState.CANCELED: frozenset(),
    TokenState.QUARANTINED: frozenset(),
}

STEP: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.PENDING: frozenset({StepStatus.RUNNING, StepStatus.SKIPPED, StepStatus.CANCELED}),
    StepStatus.RUNNING: frozenset(
        {StepStatus.WAITING, StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELED, StepStatus.INDETERMINATE}
    ),
    StepStatus.WAITING: frozenset(
        {StepStatus.RUNNING, StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELED}
    ),
    StepStatus.INDETERMINATE: frozenset(
        {StepStatus.RUNNING, StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELED}
    ),
    StepStatus.SUCCEEDED: frozenset(),
    # A failed step is tried again as a new row with the next attempt number.
    StepStatus.FAILED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
    StepStatus.CANCELED: frozenset(),
}

_CALL_FINAL: frozenset[CallStatus] = frozenset()
CALL: Mapping[CallStatus, frozenset[CallStatus]] = {
    CallStatus.PLANNED: frozenset(
        {CallStatus.BLOCKED, CallStatus.AWAITING_APPROVAL, CallStatus.STARTED, CallStatus.CANCELED}
    ),
    CallStatus.AWAITING_APPROVAL: frozenset(
        {CallStatus.APPROVED, CallStatus.REJECTED, CallStatus.WITHDRAWN, CallStatus.CANCELED}
    ),
    CallStatus.APPROVED: frozenset({CallStatus.STARTED}),
    CallStatus.STARTED: frozenset({CallStatus.SUCCEEDED, CallStatus.FAILED, CallStatus.INDETERMINATE}),
    # Only a person's word ends it: an answer that comes now is kept as late and decides nothing.
    CallStatus.INDETERMINATE: frozenset(
        {CallStatus.RESOLVED_SUCCEEDED, CallStatus.RESOLVED_FAILED, CallStatus.RETRIED}
    ),
    CallStatus.BLOCKED: _CALL_FINAL,
    CallStatus.REJECTED: _CALL_FINAL,
    CallStatus.WITHDRAWN: _CALL_FINAL,
    CallStatus.SUCCEEDED: _CALL_FINAL,
    CallStatus.FAILED: _CALL_FINAL,
    CallStatus.RESOLVED_SUCCEEDED: _CALL_FINAL,
    CallStatus.RESOLVED_FAILED: _CALL_FINAL,
    # Sent again, by order of a person, as a call of its own: what became of this one stays unknown.
    CallStatus.RETRIED: _CALL_FINAL,
    CallStatus.CANCELED: _CALL_FINAL,
}

MACHINES: Mapping[str, Mapping[Any, frozenset[Any]]] = {"run": RUN, "token": TOKEN, "step": STEP, "call": CALL}
"""Every machine by the name of its table, for the trigger and the tests."""

TERMINAL_RUN = frozenset(status for status, following in RUN.items() if not following)
TERMINAL_CALL = frozenset(status for status, following in CALL.items() if not following)

RESOLVED_CALL = sorted(
    status.value for status in (CallStatus.RESOLVED_SUCCEEDED, CallStatus.RESOLVED_FAILED, CallStatus.RETRIED)
)
"""Ends of a call of unknown outcome that only a person can give it."""


class ImpossibleTransition(Conflict):
    """The object is not in a state that this can follow."""

    code = "impossible_transition"


# Nothing but its start stands between a call and what became of it.
_BEFORE_START = {
    CallStatus.PLANNED: (CallStatus.STARTED,),
    CallStatus.AWAITING_APPROVAL: (CallStatus.APPROVED, CallStatus.STARTED),
    CallStatus.APPROVED: (CallStatus.STARTED,),
}


def call_way(current: str, wanted: CallStatus) -> list[CallStatus]:
    """The statuses that a call in `current` takes, one after the other, to end in `wanted`; none when it is there.

    Raises `ImpossibleTransition` when `wanted` does not follow.
    """
    now = CallStatus(current)
    if now is wanted:
        return []
    if wanted in CALL[now]:
        return [wanted]
    way = [*_BEFORE_START.get(now, ()), *([wanted] if wanted is not CallStatus.STARTED else [])]
    if any(after not in CALL[before] for before, after in pairwise([now, *way])) or way[-1:] != [wanted]:
        raise ImpossibleTransition(f"A call that is {now.value} cannot become {wanted.value}.")
    return way


def run_may_become(current: str, wanted: RunStatus) -> bool:
    """Whether a run in `current` may become `wanted`."""
    return wanted in RUN[RunStatus(current)]


def demand_step(current: str, wanted: StepStatus) -> None:
    """Raise `ImpossibleTransition` unless a step in `current` may become `wanted`."""
    if wanted not in STEP[StepStatus(current)]:
        raise ImpossibleTransition(f"A step that is {current} cannot become {wanted.value}.")


def demand_run(current: str, wanted: RunStatus) -> None:
    """Raise `ImpossibleTransition` unless a run in `current` may become `wanted`."""
    if not run_may_become(current, wanted):
        raise ImpossibleTransition(f"A run that is {current} cannot become {wanted.value}.")
