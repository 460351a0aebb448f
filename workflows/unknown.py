"""A call of unknown outcome, as a person settles it: what may be said of it, and from when it may be sent again.

The gateway's own record stays as it is: what a person says is the person's word, and stands beside it (runs.md 3.4).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway import selectors as gateway
from gateway.contract import CallResponse, CallState, Redaction, ToolResult
from gateway.models import DlpPolicy, ToolCall
from provenance import strict_json
from provenance.dlp.engine import Redactor
from provenance.errors import Invalid
from provenance.schemas import violations
from secrets_vault import references
from workflows import values
from workflows.models import Call

LONGEST_RESULT = 256 * 1024


class Settlement(StrEnum):
    """What a person says became of a call, or what is to be done about it."""

    HAPPENED = "happened"
    DID_NOT_HAPPEN = "did_not_happen"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Pasted:
    """A tool's answer as a person found it, after the policies that hold for the tool's own answers."""

    result: ToolResult
    redactions: list[Redaction]


def retry_from(call: Call) -> datetime:
    """When nobody can still be performing the call: not even a worker or gateway that was stopped and wakes up."""
    return gateway.nobody_performs_from(call.workspace_id, call.pk, call.not_after)


def pasted(call: Call, text: str) -> Pasted:
    """The result that the text spells. Raises `Invalid` unless it is what the tool would have answered."""
    value, schema = _parsed(text), gateway.output_schema(call.workspace_id, call.target)
    if schema is not None and (wrong := violations(schema, value)):
        errors = [{"path": f"result.{path}".rstrip("."), "message": message} for path, message in wrong]
        raise Invalid(f"This is not what {call.target} answers: {errors[0]['path']}: {wrong[0].message}", errors=errors)
    references.refuse_in(value)
    redactor = Redactor(gateway.output_policies(call.workspace_id, call.target, DlpPolicy.Action.REDACT))
    shown = redactor.structured(value)
    held_back = Redactor(gateway.output_policies(call.workspace_id, call.target, DlpPolicy.Action.BLOCK))
    held_back.value(shown)
    if not held_back.findings().is_clean:
        raise _wrong(f"A policy holds back what {call.target} answers, so it cannot be pasted either.")
    is_structured = schema is not None or isinstance(value, dict)
    content = shown if isinstance(shown, str) else strict_json.dump(shown).decode()
    withheld = redactor.findings().fields
    return Pasted(
        ToolResult(content=[{"type": "text", "text": content}], structured_content=shown if is_structured else None),
        [Redaction(policy=policy, field=name, count=hits[name]) for policy, hits in withheld.items() for name in hits],
    )


def late_answer(call: Call) -> ToolResult | None:
    """What the tool answered after the call had been given up; None while it has not. It settles nothing by itself.

    The gateway has it as soon as it came, the run's journal after a worker looked at the call again.
    """
    recorded = ToolCall.objects.for_workspace(call.workspace_id).filter(pk=call.pk)
    ref = call.late_result_ref or recorded.values_list("late_result_ref", flat=True).first()
    return ToolResult.parse(values.get(call.workspace_id, ref)) if ref else None


def happened(call: Call, found: Pasted, reason: str) -> CallResponse:
    """The answer that the engine goes on with, as if the tool had given it."""
    return CallResponse(
        call_id=call.pk,
        state=CallState.SUCCEEDED,
        result=found.result,
        rule="call.happened",
        reason=reason,
        redactions=found.redactions,
    )


def _parsed(text: str) -> Any:
    if not text.strip():
        raise _wrong("Paste what the tool answered, as JSON: the run goes on with it.")
    if len(text) > LONGEST_RESULT:
        raise _wrong(f"A pasted result has at most {LONGEST_RESULT // 1024} KiB.")
    try:
        return strict_json.parse(text, nul=False)
    except strict_json.Malformed as error:
        raise _wrong(f"This is not JSON: {error}.") from None


def _wrong(message: str) -> Invalid:
    return Invalid(message, errors=[{"path": "result", "message": message}])
