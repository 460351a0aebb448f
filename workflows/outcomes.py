"""What running a step can come to. Plain values: a step says what happened, the engine writes it down."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from workflows.states import FailureCode, WaitingOn


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The step succeeded. `next` names what follows when the step itself chose it (a condition)."""

    output: Any
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """The step waits for something outside. It runs again from its journal when it is woken.

    `wake_in_seconds` is when it is looked at if nobody wakes it; `approval_id` the request it waits for.
    """

    waiting_on: WaitingOn
    reason: str
    wake_in_seconds: int
    approval_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step failed and with it the run. `code` is the run's failure code, `error` the step's own short code."""

    code: FailureCode
    error: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A call left the process and nobody knows what became of it: a person must look."""

    call_id: UUID
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """Somebody halted this work. `terminate` ends the run; otherwise it goes on when the halt is released."""

    reason: str
    terminate: bool


Outcome = Done | Parked | Failed | Unknown | Halted


class StepStopped(Exception):
    """Ends a step early with an outcome other than `Done`."""

    def __init__(self, outcome: Parked | Failed | Unknown | Halted) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome
