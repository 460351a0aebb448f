"""JSON from strangers. What two parsers could read in two ways is refused, not repaired. Pure."""

import json
import re
from typing import Any, NoReturn

import orjson

DEEPEST = 64
LONGEST_NUMBER = 64


class Malformed(ValueError):
    """What was given is not one acceptable JSON value; the text says what is wrong, and where.

    `line` is counted from 1, and 0 where it is not known; `key` is one that stands twice, else "".
    """

    def __init__(self, message: str, *, line: int = 0, key: str = "") -> None:
        """The message is the end of a sentence such as "The body cannot be used: …"."""
        super().__init__(message)
        self.line = line
        self.key = key


def parse(data: bytes | str, *, deepest: int = DEEPEST, nul: bool = True) -> Any:
    """The JSON value of UTF-8 bytes or of text. Raises `Malformed`.

    Refuses duplicate keys, NaN, numbers out of range or longer than 64 digits, lone surrogates, nesting deeper than
    `deepest`, and, without `nul`, U+0000, which Postgres stores in no text.
    """
    try:
        raw, text = (data, data.decode()) if isinstance(data, bytes) else (data.encode(), data)
    except UnicodeError:
        raise Malformed("it is not UTF-8") from None
    _check_depth(raw, deepest)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse, parse_int=_bounded
        )
        orjson.loads(raw)  # refuses surrogates, where the standard library is lenient
    except json.JSONDecodeError as error:
        raise Malformed(f"{error.msg}, line {error.lineno}, column {error.colno}", line=error.lineno) from None
    except RecursionError:
        raise Malformed("it is nested too deep") from None
    if not nul and _NUL.search(raw):
        raise Malformed("a text in it holds U+0000")
    return value


def dump(value: Any) -> bytes:
    """Our own serialization of a value: what leaves is never the bytes that came in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


# A text, or one bracket. Bounded by the next quote, and without overlap between the branches: linear.
_TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
# The escape, and not an escaped backslash before the letters `u0000`.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def _check_depth(data: bytes, deepest: int) -> None:
    """Count brackets outside of texts: before any parser recurses."""
    if data.count(b"[") + data.count(b"{") <= deepest:
        return
    depth = 0
    for match in _TEXT_OR_BRACKET.finditer(data):
        bracket = match.group()
        depth += (bracket in {b"[", b"{"}) - (bracket in {b"]", b"}"})
        if depth > deepest:
            line = data.count(b"\n", 0, match.start()) + 1
            raise Malformed(f"it is nested deeper than {deepest} levels, line {line}", line=line)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise Malformed(f"the key {key[:60]!r} stands twice in one object", key=key[:60])
        result[key] = value
    return result


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise Malformed(f"the number {text[:40]} is out of range")
    return number


def _bounded(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise Malformed(f"the number {text[:20]}… has more than {LONGEST_NUMBER} digits")
    return int(text)


def _refuse(name: str) -> NoReturn:
    raise Malformed(f"{name} is not a JSON number")
