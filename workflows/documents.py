"""Reading a definition's text: JSON, or the subset of YAML that means one thing only (T30). Pure.

YAML here has no anchors or aliases (an alias bomb is a kilobyte that unfolds to gigabytes), no tags, no duplicate keys
and only the core types of YAML 1.2: `no` is the word "no", `12:30` is text, `2027-01-01` is text. Values are built
straight from parser events, so no constructor that could make something else is ever involved.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from provenance import strict_json
from provenance.errors import Invalid

MAX_BYTES = 128 * 1024
MAX_DEPTH = 24
MAX_NODES = 5_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {**dict.fromkeys(("true", "True", "TRUE"), True), **dict.fromkeys(("false", "False", "FALSE"), False)}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 40
# A quoted text can spell them; no database stores the first, and the others are no characters.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class UnreadableDocument(Invalid):
    """The definition's text cannot be read."""

    code = "unreadable_definition"
    title = "Definition cannot be read"


def read(text: str) -> Any:
    """The value that the text holds. Raises `UnreadableDocument` with the line, the column and what to change."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _unreadable(
            "", f"The definition is larger than {MAX_BYTES // 1024} KiB. Split it into smaller workflows."
        )
    return _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)


def check_size(value: Any) -> None:
    """Hold a definition that arrived as JSON in a request to the limits of one that arrived as text."""
    if not _is_shallow(value, MAX_DEPTH):
        raise _unreadable("", f"The definition nests deeper than {MAX_DEPTH} levels.")
    if sum(1 for _ in _walk(value)) > MAX_NODES or len(json.dumps(value)) > MAX_BYTES:
        raise _unreadable("", f"The definition holds more than {MAX_NODES} values or {MAX_BYTES // 1024} KiB.")


def _unreadable(path: str, message: str) -> UnreadableDocument:
    return UnreadableDocument(message, errors=[{"path": path, "message": message}])


def _is_shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
    return True


def _walk(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _walk(child)


def _read_json(text: str) -> Any:
    try:
        value = strict_json.parse(text, deepest=MAX_DEPTH, nul=False)
    except strict_json.Malformed as error:
        where = error.key or (f"line {error.line}" if error.line else "")
        raise _unreadable(where, f"The definition is not valid JSON: {error}.") from None
    check_size(value)
    return value


def _read_yaml(text: str) -> Any:
    try:
        return _Builder(yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"Line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _unreadable(
            f"line {mark.line + 1}" if mark else "", f"{where}{error.problem or 'this is not YAML'}."
        ) from error
    except yaml.YAMLError as error:
        raise _unreadable("", f"This is not readable YAML: {error}") from error


class _Builder:
    """Builds plain values from parser events; pulls them one by one, so that a limit stops the parser at once."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._nodes = 0

    def document(self) -> Any:
        self._expect(yaml.StreamStartEvent)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise _unreadable("", "The definition is empty.")
        value = self._node(next(self._events), depth=0)
        self._expect(yaml.DocumentEndEvent)
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise _unreadable("", "The text holds several documents. One definition is one document: remove `---`.")
        return value

    def _expect(self, kind: type[yaml.Event]) -> None:
        event = next(self._events)
        if not isinstance(event, kind):
            raise _at(event, "this is not expected here")

    def _node(self, event: yaml.Event, *, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _at(event, f"the definition holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise _at(event, f"the definition nests deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise _at(event, f"aliases (*{event.anchor}) are not allowed; write the value out")
        if getattr(event, "anchor", None):
            raise _at(event, f"anchors (&{event.anchor}) are not allowed; remove it")  # type: ignore[attr-defined]  # every node has it
        if getattr(event, "tag", None):
            raise _at(event, f"tags ({event.tag}) are not allowed; remove it")  # type: ignore[attr-defined]  # every node has it
        if isinstance(event, yaml.ScalarEvent):
            if _UNSTORABLE.search(event.value):
                raise _at(event, "the text holds U+0000 or half of a surrogate pair")
            return _plain(event) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._mapping(depth)

    def _sequence(self, depth: int) -> list[Any]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth=depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise _at(event, "a key must be plain text")
            name = key if isinstance(key, str) else event.value
            if name in members:
                raise _at(event, f"the key {name!r} stands twice in one mapping; remove one of the two")
            members[name] = self._node(next(self._events), depth=depth + 1)
        return members


def _at(event: yaml.Event, problem: str) -> UnreadableDocument:
    mark = event.start_mark
    if mark is None:  # the parser marks every event; its types do not say so
        return _unreadable("", f"{problem}.")
    return _unreadable(f"line {mark.line + 1}", f"Line {mark.line + 1}, column {mark.column + 1}: {problem}.")


def _plain(event: yaml.ScalarEvent) -> Any:
    """What a scalar without quotes means in YAML 1.2's core schema."""
    text = event.value
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
