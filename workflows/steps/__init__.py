"""Kinds of steps: one file each, one function `run` that says what the step came to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from workflows import expressions
from workflows.expressions import ExpressionError
from workflows.facts import RunFacts
from workflows.gateway_client import GatewayRefused, GatewayUnreachable
from workflows.journal import Journal
from workflows.leases import Lease
from workflows.models import Step as StepRow
from workflows.outcomes import Done, Failed, Parked, StepStopped
from workflows.states import FailureCode, WaitingOn

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A step at work: whose it is, what it may read, and the journal through which it calls."""

    lease: Lease
    facts: RunFacts
    row: StepRow
    journal: Journal

    def ask_gateway(self, question: Callable[[], T], *, refused: FailureCode, complaint: str) -> T:
        """The answer to a question that changes nothing. Raises `StepStopped`: parked while nobody answers, else failed."""
        try:
            return self.lease.wait_for(question)
        except GatewayUnreachable as error:
            raise StepStopped(
                Parked(waiting_on=WaitingOn.TIMER, reason=f"The gateway does not answer ({error}).", wake_in_seconds=5)
            ) from error
        except GatewayRefused as refusal:
            raise StepStopped(
                Failed(code=refused, error=refusal.code or "gateway_refused", message=f"{complaint}: {refusal}")
            ) from refusal

    def render(self, template: Any) -> Any:
        """The template over this run's data. Raises `StepStopped` when an expression cannot be evaluated."""
        try:
            return expressions.render(template, self.facts.variables)
        except ExpressionError as error:
            raise StepStopped(definition_error(str(error))) from error


def definition_error(message: str) -> Failed:
    """The definition asks for something that this run's data does not have."""
    return Failed(code=FailureCode.DEFINITION_ERROR, error="definition_error", message=f"{message[:1_000]}.")


Runner = Callable[[Work, Any], Done]
"""Runs a step to its end and returns `Done`, or raises `StepStopped` with another outcome."""
