"""A condition chooses the step that follows."""

from workflows.definition import ConditionStep
from workflows.expressions import ExpressionError, compile_expression
from workflows.outcomes import Done, StepStopped
from workflows.steps import Work, definition_error


def run(work: Work, step: ConditionStep) -> Done:
    """Evaluate `when`. A value that is neither true nor false is an error, not a guess."""
    try:
        verdict = compile_expression(step.when).evaluate(work.facts.variables)
    except ExpressionError as error:
        raise StepStopped(definition_error(str(error))) from error
    if not isinstance(verdict, bool):
        raise StepStopped(definition_error(f"`{step.when}` is neither true nor false but a {type(verdict).__name__}"))
    chosen = step.then if verdict else step.otherwise
    return Done(output={"result": verdict, "next": chosen}, next=chosen)
