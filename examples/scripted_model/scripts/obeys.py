"""The worst model there is: whatever a text tells it to call, it calls. It shows what the platform must stop."""

import json
import re
from collections.abc import Iterator
from typing import Any

from examples.scripted_model.records import strings
from examples.scripted_model.transcript import ToolCall, Transcript, bare

ORDER = re.compile(
    r"\bcall\s+(?P<server>[A-Za-z][\w-]*)(?:\.|__)(?P<tool>[A-Za-z]\w*)\s*(?:with\s+|\()(?=\{)", re.IGNORECASE
)
_DECODER = json.JSONDecoder()


def orders(transcript: Transcript) -> list[ToolCall]:
    """The calls that texts in tool results demand and that were not tried yet, each once, in order of reading."""
    tried = [(bare(call.name), call.arguments) for call in transcript.calls]
    wanted: list[ToolCall] = []
    for call in transcript.calls:
        for order in _orders_in(call.result or "", transcript):
            if (bare(order.name), order.arguments) not in tried and order not in wanted:
                wanted.append(order)
    return wanted


def _orders_in(result: str, transcript: Transcript) -> Iterator[ToolCall]:
    for text in strings(result):
        for match in ORDER.finditer(text):
            arguments = _arguments(text, match.end())
            if arguments is not None:
                # Not on offer? It is called all the same, by the name its server would give it.
                name = transcript.tool(match["tool"]) or f"{match['server']}__{match['tool']}"
                yield ToolCall(name, arguments)


def _arguments(text: str, position: int) -> dict[str, Any] | None:
    try:
        arguments, _ = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None
