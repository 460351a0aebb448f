"""What became of a `once` call whose answer was lost, asked of the tool that its reviewer named for this (runs.md 3.4).

The gateway asks on its own account, and the question is a call like any other: decided on, durable before it is sent,
settled after. The verify tool gets the key under which the lost call was sent, and answers
`{"happened": true, "result": …}` or `{"happened": false}`. A no counts once nobody can still be performing the call.
"""

from dataclasses import dataclass, replace
from typing import Any

from gateway.calls.admission import Admission
from gateway.calls.answers import Answers
from gateway.calls.performance import outcome_of, perform
from gateway.calls.settlement import Settlement
from gateway.calls.stages import Asked, Outcome
from gateway.catalog import Catalog
from gateway.contract import CallRequest, CallResponse, CallState
from gateway.policy import ToolSnapshot
from gateway.threads import off_loop
from gateway.upstream import Answer
from provenance.ids import uuid7


@dataclass(frozen=True, slots=True)
class Word:
    """What the verify tool says. `result` is what the lost call answered, None when it cannot tell."""

    happened: bool
    result: Any = None


def word_of(response: CallResponse) -> Word | None:
    """The verify tool's word; None when it did not give one in the agreed form."""
    said = response.result.structured_content if response.result else None
    if (
        response.state is not CallState.SUCCEEDED
        or not isinstance(said, dict)
        or not isinstance(said.get("happened"), bool)
    ):
        return None
    return Word(said["happened"], said.get("result"))


class Verification:
    """Settles calls of unknown outcome by asking."""

    def __init__(self, *, admission: Admission, settlement: Settlement, answers: Answers, catalog: Catalog) -> None:
        self._admission = admission
        self._settlement = settlement
        self._answers = answers
        self._catalog = catalog

    async def settled(self, asked: Asked) -> CallResponse:
        """The call after its verify tool was asked; as unknown as before when that could not say.

        `retry_after_seconds` is set when it said no too early: until then the call may still be on its way.
        """
        row = asked.existing
        assert row is not None  # noqa: S101  whoever asks what became of a call has found it unknown
        known = await self._answers.stored(asked.caller, asked.snapshot, row)
        if known.state is not CallState.INDETERMINATE or asked.tool is None or not asked.tool.facts.is_verifiable:
            return known
        verifier = asked.snapshot.tools.get(asked.tool.facts.verify_tool)
        question = _question(asked, asked.tool, verifier)
        word = await self._ask(question)
        if word is None:
            return replace(known, reason=f"{known.reason} {question.request.tool} could not say whether it happened.")
        if not word.happened and not row["is_abandoned"]:
            return replace(known, retry_after_seconds=row["seconds_left"])
        outcome = await off_loop(_outcome, word, asked, asked.tool, question.request.tool)
        if outcome.state is CallState.INDETERMINATE:
            said = (
                f"{question.request.tool} says that it happened, but not with an answer that the run could go on with."
            )
            return replace(known, reason=f"{known.reason} {said}")
        await self._settlement.verified(asked, asked.tool, outcome, question.request)
        return await self._answers.stored(
            asked.caller, asked.snapshot, await self._answers.row(asked.caller, asked.request.call_id) or row
        )

    async def _ask(self, question: Asked) -> Word | None:
        admitted = await self._admission.admit_verification(question)
        if isinstance(admitted, CallResponse):
            return None
        return word_of(await self._settlement.settle(admitted, await perform(self._catalog, admitted)))


def _question(asked: Asked, tool: ToolSnapshot, verifier: ToolSnapshot | None) -> Asked:
    request = CallRequest(
        call_id=uuid7(),
        call_key=asked.request.call_key,
        tool=tool.facts.verify_tool,
        arguments={tool.facts.idempotency_argument: asked.request.call_key},
    )
    return replace(asked, request=request, tool=verifier, existing=None, verifies=asked.request.call_id)


def _outcome(word: Word, asked: Asked, tool: ToolSnapshot, verifier: str) -> Outcome:
    """The end of the lost call. What it brought goes through the same schema and policies as its own answer would."""
    if not word.happened:
        return Outcome(CallState.FAILED, rule="call.did_not_happen", reason=f"{verifier} says that it did not happen.")
    text = word.result if isinstance(word.result, str) else f"It happened, as {verifier} says."
    structured = None if isinstance(word.result, str) else word.result
    answer = Answer(content=[{"type": "text", "text": text}], structured_content=structured, is_error=False)
    outcome = outcome_of(answer, tool, asked.snapshot)
    if outcome.state is CallState.SUCCEEDED:
        outcome.rule, outcome.reason = "call.verified", f"{verifier} says that it happened."
    return outcome
