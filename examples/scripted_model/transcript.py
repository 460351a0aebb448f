"""What a conversation has brought so far: the task, the tools on offer, and each call with what came back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.scripted_model.records import find_record

MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class ToolCall:
    """A call a script wants made."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A script's last word: `facts` fill a structured answer, `text` is the answer when no structure is asked for."""

    facts: dict[str, Any]
    text: str


Turn = Sequence[ToolCall] | Answer


@dataclass(frozen=True)
class PastCall:
    """A call that was made. `arguments` is None when they were not a JSON object, `result` when none came back."""

    name: str
    arguments: dict[str, Any] | None
    result: str | None


@dataclass(frozen=True)
class Transcript:
    """The request, read once."""

    instructions: str
    task: str
    offered: tuple[str, ...]
    calls: tuple[PastCall, ...]

    def tool(self, suffix: str) -> str | None:
        """The offered name of a tool, whatever server it is offered from: `erp__getVendor` for `getVendor`."""
        return next((name for name in self.offered if bare(name) == suffix), None)

    def record(self, suffix: str, arguments: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any] | None:
        """The record with `keys` that a call brought, or None when it was not made, refused or answered otherwise."""
        results = [call.result for call in self.calls if bare(call.name) == suffix and call.arguments == arguments]
        found = (find_record(result, keys) for result in results if result is not None)
        return next((record for record in found if record is not None), None)

    def pending(self, suffix: str, arguments: dict[str, Any], keys: frozenset[str]) -> Iterator[ToolCall]:
        """The call, when it can be made and has neither brought its record nor failed twice."""
        name = self.tool(suffix)
        attempts = sum(bare(call.name) == suffix and call.arguments == arguments for call in self.calls)
        if name and attempts < MAX_ATTEMPTS and self.record(suffix, arguments, keys) is None:
            yield ToolCall(name, arguments)

    def last_result(self, suffix: str) -> str | None:
        """What the last call of a tool brought, a refusal included."""
        return next((call.result for call in reversed(self.calls) if bare(call.name) == suffix), None)

    def was_called(self, suffix: str) -> bool:
        return any(bare(call.name) == suffix for call in self.calls)


def bare(name: str) -> str:
    """A tool's own name without its server: `getVendor` of `erp__getVendor` or `erp.getVendor`."""
    return name.replace("__", ".").rpartition(".")[2]


def dotted(name: str) -> str:
    """A tool's name as people write it: `erp.getVendor`."""
    return name.replace("__", ".", 1)


def read_transcript(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Transcript:
    """Sort the messages by who speaks. Messages of unknown roles count for nothing."""
    return Transcript(
        instructions="\n".join(
            text_of(message) for message in messages if message.get("role") in {"system", "developer"}
        ),
        task="\n".join(text_of(message) for message in messages if message.get("role") == "user"),
        offered=tuple(_offered_names(tools)),
        calls=tuple(_past_calls(messages)),
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whether it came as a string or in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _offered_names(tools: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def _past_calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[PastCall]:
    results = {message.get("tool_call_id"): text_of(message) for message in messages if message.get("role") == "tool"}
    for message in messages:
        if message.get("role") != "assistant":
            continue
        for call in message.get("tool_calls") or []:
            function = call.get("function", {})
            yield PastCall(
                str(function.get("name", "")), _arguments(function.get("arguments")), results.get(call.get("id"))
            )


def _arguments(text: object) -> dict[str, Any] | None:
    try:
        arguments = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None
