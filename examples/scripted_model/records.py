"""JSON inside text: tool results arrive wrapped in envelopes of whoever asked, and the script looks through them."""

import json
from collections.abc import Iterator
from typing import Any

_DECODER = json.JSONDecoder()


def find_record(text: str, keys: frozenset[str]) -> dict[str, Any] | None:
    """The first JSON object in `text`, however deep, that has all of `keys`; None when there is none."""
    for value in walk(text):
        if isinstance(value, dict) and keys <= value.keys():
            return value
    return None


def strings(text: str) -> Iterator[str]:
    """Every string value of the JSON in `text`, unescaped; the text itself where it holds no JSON.

    A string that is JSON again gives the strings inside it, not itself: its text is still escaped.
    """
    found = [value for value in walk(text) if isinstance(value, str) and not _is_json(value)]
    yield from found or [text]


def walk(text: str) -> Iterator[Any]:
    """Every value inside the JSON objects that stand in a text, outer before inner."""
    for outer in _objects(text):
        yield from _inside(outer)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    position = text.find("{")
    while position >= 0:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield value
        position = text.find("{", end)


def _inside(value: Any) -> Iterator[Any]:
    # A stack, not recursion: how deep a stranger's JSON goes must not decide how deep our calls go.
    waiting = [value]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current, dict):
            waiting.extend(reversed(current.values()))
        elif isinstance(current, list):
            waiting.extend(reversed(current))
        elif isinstance(current, str) and _is_json(current):
            # An MCP text block holds its JSON as a string.
            yield from walk(current)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{") and any(True for _ in _objects(text))
