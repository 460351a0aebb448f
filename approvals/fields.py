"""A payload as people see it: one field for each value, the control that edits it, and what changes. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from approvals.errors import PayloadRefused
from approvals.payload import JSON, Path, dotted, is_fixed, resolve
from provenance import strict_json

PREFIX = "payload."
"""Of the names under which the fields stand in a form: `payload.effective_from`."""

_MAX_NESTING = 4
_LONG = 80
_ABSENT = object()
_STARTS_WITH_A_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value of a payload. `text` is what the control shows, `proposed` what the agent proposed, both as text."""

    path: Path
    control: str
    text: str
    proposed: str
    present: bool
    required: bool
    nullable: bool
    hint: str
    options: tuple[tuple[str, Any], ...] = ()
    value: Any = None
    error: str = ""

    @property
    def name(self) -> str:
        """`terms.discount`, as the tool's author called it."""
        return dotted(self.path)

    @property
    def input_name(self) -> str:
        """The field's name in a form."""
        return PREFIX + self.name

    @property
    def is_edited(self) -> bool:
        """Whether the text is no longer what the agent proposed."""
        return _one_line_ending(self.text) != _one_line_ending(self.proposed)

    @property
    def choices(self) -> list[tuple[str, bool]]:
        """Text and whether it is chosen. A value that is no option stands among them, so that nothing is lost."""
        texts = [text for text, _ in self.options]
        if self.text not in texts:
            texts.insert(0, self.text)
        return [(text, text == self.text) for text in texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of "what will change". `agent` is what the agent proposed where the reader edited it, else empty.

    `is_sent`: the call carries the field, if only as an empty text or null. `is_fixed`: nobody may change it.
    """

    name: str
    now: str
    proposed: str
    is_change: bool
    is_edited: bool
    is_sent: bool
    is_fixed: bool
    agent: str


def fields(schema: JSON, payload: JSON) -> list[Field]:
    """The fields of a payload: the needed ones in the schema's order, optional ones, then what the schema does not name."""
    return list(_fields(schema, schema, payload, ()))


def fill(schema: JSON, payload: JSON, posted: Mapping[str, str]) -> list[Field]:
    """The same fields with what a person typed; a field that was not sent keeps the proposed value."""
    return [replace(field, text=posted.get(field.input_name, field.text)) for field in fields(schema, payload)]


def with_errors(filled: list[Field], errors: list[dict[str, str]]) -> list[Field]:
    """The fields with each error beside the field it is about."""
    messages = {error["path"]: error["message"] for error in errors}
    return [replace(field, error=_message_for(field, messages)) for field in filled]


def read(schema: JSON, payload: JSON, posted: Mapping[str, str]) -> JSON:
    """The payload that a form describes: each value keeps its type, and is the proposed one where nothing was typed.

    Raises `PayloadRefused` for a name that is not a field and for a text that is no JSON where JSON is asked for.
    Whether the result may be approved is `approvals.payload.check_edit`'s matter.
    """
    filled = fill(schema, payload, posted)
    known = {field.input_name for field in filled}
    if unknown := [name for name in posted if name.startswith(PREFIX) and name not in known]:
        raise PayloadRefused([{"path": unknown[0][len(PREFIX) :], "message": "Not a field of this call."}])
    edited: JSON = {}
    for field in filled:
        value = _typed(field)
        if value is not _ABSENT:
            _put(edited, field.path, value)
    return edited


def changes(schema: JSON, current: JSON, proposed: JSON, edited: JSON | None = None) -> list[Change]:
    """What each field is now and what it will be, with the reader's edit told apart from the agent's proposal.

    Every field that will be sent has a line, also one that nobody may change: who approves answers for all of them (T05).
    """
    final = proposed if edited is None else edited
    now = {field.path: field for field in fields(schema, current) if field.present}
    agent = {field.path: field for field in fields(schema, proposed)}
    lines = [
        _change(field, now.get(field.path), agent.get(field.path))
        for field in fields(schema, final)
        if field.path in now or field.present or _present(agent.get(field.path))
    ]
    return sorted(lines, key=lambda line: not line.is_change)


def past_dates(lines: Iterable[Change], today: date) -> list[Change]:
    """The lines that set a date before today: often a slip of the keyboard, so people are told before they send it."""
    return [line for line in lines if line.is_change and (set_to := _day(line.proposed)) and set_to < today]


def _day(text: str) -> date | None:
    """The day of an ISO date or moment; None for any other text."""
    try:
        return datetime.fromisoformat(text).date() if _STARTS_WITH_A_DAY.match(text) else None
    except ValueError:
        return None


def _change(field: Field, now: Field | None, agent: Field | None) -> Change:
    before = now.text if now else ""
    proposed = agent.text if agent else ""
    return Change(
        name=field.name,
        now=before,
        proposed=field.text,
        is_change=field.present != _present(now) or before != field.text,
        is_edited=field.present != _present(agent) or proposed != field.text,
        is_sent=field.present,
        is_fixed=field.control == "fixed",
        agent=proposed,
    )


def _present(field: Field | None) -> bool:
    return field is not None and field.present


def _fields(schema: JSON, root: JSON, value: JSON, path: Path) -> Iterator[Field]:
    declared: JSON = {
        name: resolve(member, root) if isinstance(member, dict) else {}
        for name, member in schema.get("properties", {}).items()
    }
    required = schema.get("required", [])
    # jsonb keeps no order of names; the list of needed ones is the author's own order.
    ordered = [*(name for name in required if name in declared), *(name for name in declared if name not in required)]
    for name in [*ordered, *(name for name in value if name not in declared)]:
        member, here = declared.get(name, {}), value.get(name, _ABSENT)
        if _opens(member, here, path):
            yield from _fields(member, root, here, (*path, name))
        else:
            yield _field(member, here, (*path, name), required=name in required)


def _opens(schema: JSON, value: Any, path: Path) -> bool:
    """Whether an object is shown field by field: declared, not fixed, not empty, and with names that a form can carry."""
    return (
        isinstance(value, dict)
        and bool(value)
        and isinstance(schema.get("properties"), dict)
        and not is_fixed(schema)
        and len(path) < _MAX_NESTING
        and not any("." in name for name in [*value, *schema["properties"]])
    )


def _field(schema: JSON, value: Any, path: Path, *, required: bool) -> Field:
    text = as_text(value)
    return Field(
        path=path,
        control=_control(schema, value),
        text=text,
        proposed=text,
        present=value is not _ABSENT,
        required=required,
        nullable="null" in _types(schema),
        hint=str(schema.get("description", "")),
        options=_options(schema),
        value=value,
    )


def _options(schema: JSON) -> tuple[tuple[str, Any], ...]:
    if isinstance(schema.get("enum"), list):
        return tuple((as_text(option), option) for option in schema["enum"])
    if _types(schema) == {"boolean"}:
        return (("true", True), ("false", False))
    return ()


def _control(schema: JSON, value: Any) -> str:
    """fixed, select, number, date, lines, text or json: what edits the value without losing any of it."""
    if is_fixed(schema):
        return "fixed"
    if _options(schema):
        return "select"
    kinds = _types(schema) - {"null"}
    if kinds and kinds <= {"number", "integer"} and (value is _ABSENT or _is_number(value)):
        return "number"
    if isinstance(value, str) or (value in (_ABSENT, None) and kinds == {"string"}):
        return _text_control(schema, "" if value in (_ABSENT, None) else value)
    return "json"


def _text_control(schema: JSON, value: str) -> str:
    if "\n" in value or "\r" in value or len(value) > _LONG:
        return "lines"  # a one-line input drops line breaks
    if schema.get("format") == "date" and (not value or _is_date(value)):
        return "date"  # a date input shows nothing for what is no date
    return "text"


def _types(schema: JSON) -> set[str]:
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def as_text(value: Any) -> str:
    """A value as people read and type it; an absent one is empty."""
    if value is _ABSENT or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _typed(field: Field) -> Any:
    """The value that the field's text stands for."""
    if not field.is_edited:
        return field.value
    if field.text in dict(field.options):
        return dict(field.options)[field.text]
    if not field.text and not (field.required and field.control != "number"):
        return None if field.nullable else _ABSENT
    if field.control == "number":
        return _number(field.text)
    if field.control == "json" or (field.control == "fixed" and not isinstance(field.value, str)):
        return _json(field)
    return _one_line_ending(field.text)


def _number(text: str) -> Any:
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _json(field: Field) -> Any:
    try:
        return strict_json.parse(field.text, nul=False)
    except strict_json.Malformed as error:
        raise PayloadRefused([{"path": field.name, "message": f"This is not JSON: {error}."}]) from error


def _put(target: Any, path: Path, value: Any) -> None:
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value


def _one_line_ending(text: str) -> str:
    """Browsers send CRLF for every line break they show."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _message_for(field: Field, messages: Mapping[str, str]) -> str:
    return next(
        (text for path, text in messages.items() if path == field.name or path.startswith(f"{field.name}.")), ""
    )
