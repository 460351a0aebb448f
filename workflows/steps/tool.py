"""A tool step makes one call. Where an approval step authorizes it, what was approved is what is sent."""

from typing import Any
from uuid import UUID

from gateway.contract import CallResponse, CallState
from workflows.definition import ToolStep
from workflows.journal import Plan
from workflows.outcomes import Done, Failed, StepStopped
from workflows.states import FailureCode
from workflows.steps import Work

SEQ = 1

# Rules under which the gateway refuses because of what a person said, or did not say in time.
_PERSON_SAID_NO = {
    "approval.rejected": FailureCode.APPROVAL_REJECTED,
    "approval.withdrawn": FailureCode.APPROVAL_REJECTED,
    "approval.expired": FailureCode.SLA_BREACHED,
}


def run(work: Work, step: ToolStep) -> Done:
    """Call the tool once. The output is its structured content, or its text where it has none."""
    approval = work.facts.definition.authorization_of(step.name)
    if approval is None:
        arguments, approval_id = work.render(step.arguments), None
    else:
        # Never evaluated again: the person decided about these values and about no others (T05).
        decided = work.facts.outputs[approval.name]
        arguments, approval_id = decided["payload"], UUID(decided["approval_id"])
    response = work.journal.tool(
        Plan(
            seq=SEQ,
            agent=work.facts.agent(step.agent),
            tool=step.tool,
            arguments=arguments,
            approval_id=approval_id,
        )
    )
    return Done(output=_output(step, response))


def _output(step: ToolStep, response: CallResponse) -> Any:
    if response.state is CallState.BLOCKED:
        raise StepStopped(
            Failed(
                code=_PERSON_SAID_NO.get(response.rule, FailureCode.POLICY_BLOCKED),
                error=response.rule or "blocked",
                message=f"{step.tool} was refused: {response.reason}",
            )
        )
    result = response.result
    if response.state is CallState.FAILED or result is None or result.is_error:
        said = result.text[:500] if result else response.reason
        raise StepStopped(
            Failed(code=FailureCode.STEP_FAILED, error="tool_error", message=f"{step.tool} failed: {said}")
        )
    return result.structured_content if result.structured_content is not None else {"text": result.text}
