"""Is a row what the log last said of it? Asked of rows that grant power whenever they are loaded (T06). Pure.

Coverage keeps processes from changing a row without an event, and a database administrator can take coverage down. But
nobody without a process's key can sign an event, and each event commits to the whole row after its change. So a row that
was changed, put back to an older revision or slipped in differs from its newest event. Whoever loads it denies then, and
says so: `altered_event`.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from audit.envelope import ObjectFacts, SignedEvent, build
from audit.governed import GUARD_COLUMNS, state_commitment
from audit.judging import COLUMNS, StoredEvent, flaw
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.errors import PermissionDenied

_EVENT_COLUMNS = COLUMNS.split(", ")
EVENT_PREFIX = "event__"
MOST_TOLD = 20
"""Rows that one event names."""


@dataclass(frozen=True, slots=True)
class LoadedRow:
    """A governed row as it was loaded: which one, at which revision, and the commitment to all its columns."""

    type: str
    id: str
    workspace_id: UUID | None
    rev: int
    state: str | None

    @classmethod
    def of(cls, type_: str, columns: Mapping[str, Any]) -> "LoadedRow":
        """From every column of the table, as psycopg loads them."""
        values = {name: value for name, value in columns.items() if name not in GUARD_COLUMNS}
        rev = columns["audit_rev"] or 0
        try:
            state = state_commitment(bytes(columns["audit_salt"]), rev, values)
        except (TypeError, ValueError, RecursionError):
            # No service could have signed it: it has no salt, or JSON too deep.
            state = ""
        return cls(type_, str(columns["id"]), columns.get("workspace_id"), rev, state)


@dataclass(frozen=True, slots=True)
class Altered:
    """A row that must not be believed, and why."""

    row: LoadedRow
    problem: str

    def described(self) -> dict[str, Any]:
        """For the detail of an event: ids and what differs, no value of the row."""
        return {"type": self.row.type, "id": self.row.id, "revision": self.row.rev, "problem": self.problem}


class RowAltered(PermissionDenied):
    """What the database says of your rights is not what the log says. Nothing was done; an administrator must look."""

    code = "row_altered"

    def __init__(self, *altered: Altered) -> None:
        super().__init__()
        self.altered = altered


def alteration(row: LoadedRow, newest: StoredEvent | None, keys: KeyRing) -> Altered | None:
    """What is wrong with a row, held against the newest event about a change of it; None when it is as signed."""
    problem = _problem(row, newest, keys)
    return Altered(row, problem) if problem else None


def _problem(row: LoadedRow, newest: StoredEvent | None, keys: KeyRing) -> str:
    if newest is None:
        return "no signed event is about it"
    if found := flaw(newest, keys):
        return f"its newest event is not genuine: {found}"
    return difference(row, newest, orjson.loads(newest.body).get("state"))


def difference(row: LoadedRow, newest: StoredEvent, signed_state: str | None) -> str:
    """How the row differs from what a genuine event says; "" when it does not. Without a signed state by revision alone."""
    if newest.workspace_id != row.workspace_id:
        return "its newest event is of another workspace"
    if newest.op == "delete":
        return f"it was deleted with revision {newest.rev}"
    if newest.rev is None or row.rev < newest.rev:
        return f"it is at revision {row.rev} and the log at {newest.rev}: it was put back"
    if row.rev > newest.rev:
        return f"it is at revision {row.rev} and the log at {newest.rev}: a change has no event"
    # A row without a state, of which a column could not be loaded, is not the one that was signed.
    if signed_state is not None and not hmac.compare_digest(signed_state, row.state or ""):
        return f"its columns are not those that were signed with revision {row.rev}"
    return ""


# --- Loading ---------------------------------------------------------------------------------------------------------


def select(table: str, type_: str, where: str, *, newest: str = "newest_changes") -> str:
    """A statement that loads rows of a governed table whole, each with the newest event about it, of one snapshot.

    `where` names the table `row`. `newest` is the function that finds the event: the usual one looks into the log of the
    workspace in scope.
    """
    return (
        f"SELECT row.*, {newest_columns('newest')} FROM {table} AS row "  # noqa: S608  composed of constants
        f"LEFT JOIN LATERAL audit.{newest}(ARRAY['{type_}'], ARRAY[row.id::text]) AS newest ON true WHERE {where}"
    )


def newest_columns(alias: str, prefix: str = EVENT_PREFIX) -> str:
    """The columns of an event that is joined as `alias`, under names that collide with none of a table."""
    return ", ".join(f"{alias}.{name} AS {prefix}{name}" for name in _EVENT_COLUMNS)


def newest_of(row: Mapping[str, Any], prefix: str = EVENT_PREFIX) -> StoredEvent | None:
    """The event beside a row; None when there was none."""
    if row[f"{prefix}id"] is None:
        return None
    return StoredEvent(*(row[f"{prefix}{name}"] for name in _EVENT_COLUMNS))


def split(row: Mapping[str, Any]) -> tuple[dict[str, Any], StoredEvent | None]:
    """A row of `select`: the columns of the table, and the event."""
    return {name: value for name, value in row.items() if not name.startswith(EVENT_PREFIX)}, newest_of(row)


NEWEST_CHANGES = f"SELECT {COLUMNS} FROM audit.newest_changes(%(types)s, %(ids)s)"  # noqa: S608  composed of constants
"""The newest events about changes of many rows, for rows that were read in the same snapshot."""


def altered_among(rows: Sequence[LoadedRow], newest: Iterable[Sequence[Any]], keys: KeyRing) -> list[Altered]:
    """Which of the rows are not what the log says. `newest`: what `NEWEST_CHANGES` gave for them."""
    known = {(event.object_type, event.object_id): event for event in (StoredEvent(*columns) for columns in newest)}
    judged = (alteration(row, known.get((row.type, row.id)), keys) for row in rows)
    return [found for found in judged if found]


def altered_rows(rows: Iterable[tuple[str, Mapping[str, Any]]], keys: KeyRing) -> list[Altered]:
    """Which of the rows of `select`, each with its type, are not what the log says."""
    judged = (
        alteration(LoadedRow.of(type_, columns), newest, keys)
        for type_, (columns, newest) in ((type_, split(row)) for type_, row in rows)
    )
    return [found for found in judged if found]


# --- Telling ---------------------------------------------------------------------------------------------------------


def altered_event(keys: KeyRing, *, by: str, workspace_id: UUID | None, altered: Sequence[Altered]) -> SignedEvent:
    """The critical event that names the rows. `by`: which part of the platform met them."""
    first = altered[0].row
    return build(
        keys=keys,
        actor=Actor.system(by, workspace_id),
        event=Event.AUDIT_ROW_ALTERED,
        target=ObjectFacts(type=first.type, id=first.id),
        workspace_id=workspace_id,
        detail={"count": len(altered), "rows": [item.described() for item in altered[:MOST_TOLD]]},
        outcome="blocked",
        gap=len(altered) - 1,
    )


class AlreadyTold:
    """What this process has told already: a row that is asked for a thousand times is told once for each state it is in."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: set[tuple[str, str, int, str | None, str]] = set()

    def news(self, altered: Iterable[Altered]) -> list[Altered]:
        """Those that were not told yet."""
        return [item for item in altered if self._key(item) not in self._seen]

    def tell(self, altered: Iterable[Altered]) -> None:
        """Remember that the log holds these now."""
        if len(self._seen) > self._most:
            self._seen.clear()
        self._seen.update(self._key(item) for item in altered)

    def _key(self, item: Altered) -> tuple[str, str, int, str | None, str]:
        return (item.row.type, item.row.id, item.row.rev, item.row.state, item.problem)
