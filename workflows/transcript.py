"""The transcript of an agent step: what was said, in order, each entry stored once (runs.md, G14)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agents.completions import Completion, Message, ToolCall
from workflows import values
from workflows.models import Message as MessageRow
from workflows.models import Step


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as a model reads it, and `reply`: what the model client understood of an answer."""

    message: Message
    reply: dict[str, Any]

    @property
    def role(self) -> str:
        """Who speaks: system, user, assistant or tool."""
        return str(self.message["role"])

    @property
    def value(self) -> Any:
        """The structured answer, where this entry is one."""
        return self.reply.get("value")

    @property
    def problem(self) -> str:
        """Why the answer cannot be used; "" when it can."""
        return str(self.reply.get("problem", ""))

    @property
    def is_repair(self) -> bool:
        """Whether this entry asks for an answer once more."""
        return bool(self.reply.get("repair"))


def read(step: Step) -> list[Entry]:
    """The entries of a step, in order. Call it inside the workspace."""
    rows = MessageRow.objects.for_workspace(step.workspace_id).filter(run_id=step.run_id, step_id=step.pk)
    return [Entry(**values.get(step.workspace_id, row.body_ref)) for row in rows.order_by("ord")]


def append(step: Step, ordinal: int, message: Message, *, reply: dict[str, Any] | None = None) -> Entry:
    """Add the entry with this number. Call it inside the transaction that holds the token: two never get one number."""
    entry = Entry(message, reply or {})
    row = MessageRow(
        workspace_id=step.workspace_id,
        run_id=step.run_id,
        step_id=step.pk,
        ord=ordinal,
        role=entry.role[:10],
        body_ref=values.put(step.workspace_id, {"message": entry.message, "reply": entry.reply}),
    )
    row.save(force_insert=True)
    return entry


def reply_of(completion: Completion) -> dict[str, Any]:
    """What of a completion must be remembered besides its message."""
    return {
        "value": completion.value,
        "problem": completion.problem,
        "calls": [asdict(call) for call in completion.tool_calls],
    }


def calls_of(entry: Entry) -> list[ToolCall]:
    """The tool calls that an answer asks for."""
    return [ToolCall(**call) for call in entry.reply.get("calls", [])]


def unanswered(entries: Sequence[Entry]) -> ToolCall | None:
    """The first call of the newest answer that has no result yet."""
    results = 0
    for entry in reversed(entries):
        if entry.role == "tool":
            results += 1
            continue
        calls = calls_of(entry)
        return calls[results] if results < len(calls) else None
    return None


def is_last_of(entries: Sequence[Entry], wanted: ToolCall) -> bool:
    """Whether the newest answer asks for this call."""
    newest = next((entry for entry in reversed(entries) if entry.role == "assistant"), None)
    return newest is not None and wanted in calls_of(newest)
