"""A transform makes a value out of what is known."""

from workflows.definition import TransformStep
from workflows.outcomes import Done
from workflows.steps import Work


def run(work: Work, step: TransformStep) -> Done:
    """Render the template."""
    return Done(output=work.render(step.output))
