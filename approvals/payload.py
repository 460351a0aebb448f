"""What a person may change before approving: the edit held against the tool's schema, and said field by field. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from approvals.errors import PayloadRefused
from provenance import schemas
from provenance.errors import Invalid

JSON = dict[str, Any]
Path = tuple[str | int, ...]

_MAX_DEPTH = 16
_MAX_PROBLEMS = 20
_COMBINERS = ("allOf", "anyOf", "oneOf")
_ABSENT = object()


def check_schema(schema: JSON) -> None:
    """Raise `Invalid` unless the schema is one that can be enforced: valid, and complete without fetching anything."""
    try:
        schemas.compiled(schema)
    except schemas.SchemaError as error:
        raise Invalid(f"The payload schema cannot be enforced: {error}") from error


def check_payload(schema: JSON, payload: JSON) -> None:
    """Raise `PayloadRefused` with one error for each place where the payload breaks the schema."""
    if violations := schemas.violations(schema, payload):
        raise PayloadRefused([violation._asdict() for violation in violations])


def check_edit(schema: JSON, original: JSON, edited: Any) -> None:
    """Raise `PayloadRefused` unless the edit keeps what is fixed and fits the schema.

    Fixed is every field that the schema marks `const` or `readOnly`: an approver corrects a change, and does not turn
    it into another one (another vendor, another account).
    """
    if not isinstance(edited, dict):
        raise PayloadRefused([{"path": "", "message": "The payload is an object with named fields."}])
    if problems := list(_touched_fixed_fields(schema, original, edited)):
        raise PayloadRefused(problems[:_MAX_PROBLEMS])
    check_payload(schema, edited)


def changed_fields(original: Any, edited: Any) -> list[str]:
    """The paths whose values differ, `terms.discount`, in the order of the edit; those left out come last."""
    return [dotted(path) for path, was, now in _differences((), original, edited) if not _same(was, now)]


def dotted(path: Path) -> str:
    """A path as people and error lists write it: `items.2.amount`."""
    return ".".join(str(part) for part in path)


def resolve(schema: JSON, root: JSON) -> JSON:
    """The schema with a reference into its own document followed; anything else as it is."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        schema = _at_pointer(root, reference[1:])
    return {}


def is_fixed(schema: JSON) -> bool:
    """Whether the schema lets nobody change this value."""
    return "const" in schema or schema.get("readOnly") is True


def _touched_fixed_fields(schema: JSON, original: JSON, edited: JSON) -> Iterator[dict[str, str]]:
    fixed = dict.fromkeys(_fixed_paths(schema, original, is_fixed))
    # An edit may add an item of a list, but not with a value in it that only the system sets.
    fixed |= dict.fromkeys(_fixed_paths(schema, edited, _is_read_only))
    for path in fixed:
        was, now = _value_at(original, path), _value_at(edited, path)
        if not _same(was, now):
            stays = "left out" if was is _ABSENT else repr(was)
            yield {"path": dotted(path), "message": f"This field may not be changed; it stays {stays}."}


def _is_read_only(schema: JSON) -> bool:
    return schema.get("readOnly") is True


def _fixed_paths(schema: JSON, value: JSON, fixed: Callable[[JSON], bool]) -> Iterator[Path]:
    """Every place in `value`, present or not, that the schema fixes; where any branch of a choice does, it does."""
    seen: set[tuple[int, Path]] = set()  # a schema may refer to itself
    waiting: list[tuple[Any, Any, Path]] = [(schema, value, ())]
    while waiting:
        part, here, path = waiting.pop()
        part = resolve(part, schema) if isinstance(part, dict) else None
        if part is None or (id(part), path) in seen:
            continue
        seen.add((id(part), path))
        if path and fixed(part):
            yield path
            continue
        waiting += [(branch, here, path) for name in _COMBINERS for branch in part.get(name, ())]
        waiting += [(member, below, (*path, name)) for member, below, name in _members(part, here)]


def _members(schema: JSON, value: Any) -> Iterator[tuple[Any, Any, str | int]]:
    """The schema, value and name of everything directly inside `value`, and of declared fields that are absent."""
    if isinstance(value, dict):
        declared = schema.get("properties", {})
        yield from ((member, value.get(name, _ABSENT), name) for name, member in declared.items())
        others = schema.get("additionalProperties")
        yield from ((others, item, name) for name, item in value.items() if name not in declared)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            yield (first[index] if index < len(first) else schema.get("items")), item, index


def _differences(path: Path, was: Any, now: Any) -> Iterator[tuple[Path, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in [*now, *(name for name in was if name not in now)]:
            yield from _differences((*path, name), was.get(name, _ABSENT), now.get(name, _ABSENT))
    else:
        yield path, was, now


def _value_at(value: Any, path: Path) -> Any:
    for part in path:
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if part < len(value):
                value = value[part]
            case _:
                return _ABSENT
    return value


def _same(was: Any, now: Any) -> bool:
    """Equal as JSON: true is not 1, though Python says so."""
    match was, now:
        case dict(), dict():
            return was.keys() == now.keys() and all(_same(was[name], now[name]) for name in was)
        case list(), list():
            return len(was) == len(now) and all(_same(a, b) for a, b in zip(was, now, strict=True))
        case _:
            return isinstance(was, bool) == isinstance(now, bool) and bool(was == now)


def _at_pointer(root: JSON, pointer: str) -> JSON:
    found: Any = root
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, dict) else {}
