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
from audit.judging import COLUMNS, StoredEvent, flaw, signed_body
from audit.signing import KeyRing, may_sign
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.errors import PermissionDenied
from provenance.held_keys import process_of

NO_STATE = "0" * 64
"""The state of a change that was made although the row was altered: the commitment of no row, so that it stays one."""
TAKES_AWAY = frozenset(
    {
        *(Event.AGENT_SUSPENDED, Event.AGENT_RETIRED, Event.AGENT_TRUST_LEVEL_LOWERED),
        *(Event.AGENT_TOOL_REVOKED, Event.AGENT_GRANT_EXPIRED, Event.MCP_SERVER_DISABLED),
        *(Event.API_KEY_REVOKED, Event.SECRET_REVOKED, Event.SECRET_VERSION_DESTROYED),
        *(Event.MEMBER_REMOVED, Event.MEMBER_ERASED, Event.USER_DELETED),
        *(Event.APPROVAL_WITHDRAWN, Event.APPROVAL_SUPERSEDED, Event.APPROVAL_EXPIRED),
        *(Event.RUN_CANCELING, Event.RUN_CANCELED, Event.RUN_FAILED),
        *(Event.RUN_STEP_FAILED, Event.RUN_STEP_CANCELED, Event.RUN_STEP_SKIPPED, Event.RUN_STEP_UNKNOWN),
        Event.AUDIT_SINK_DISABLED,
    }
)
"""What only takes power away, or ends something: done also to a row that somebody altered past the platform, with an alarm."""
_EVENT_COLUMNS = COLUMNS.split(", ")
EVENT_PREFIX = "event__"
MAC_DIGITS = 64
MOST_TOLD = 20
"""Rows that one event names."""
MOST_NAMED = 3
"""Rows that a refusal names."""


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
        rev = columns.get("audit_rev")
        rev = rev if isinstance(rev, int) else 0
        try:
            state = state_commitment(bytes(columns["audit_salt"]), rev, values)
        except (KeyError, TypeError, ValueError, RecursionError):
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
        named = "; ".join(f"{item.row.type} {item.row.id}: {item.problem}" for item in altered[:MOST_NAMED])
        super().__init__(message=f"{named}. It is not what the log says. Nothing was done; an administrator must look.")
        self.altered = altered


def alteration(row: LoadedRow, newest: StoredEvent | None, keys: KeyRing) -> Altered | None:
    """What is wrong with a row, held against the newest event about a change of it; None when it is as signed."""
    problem = _problem(row, newest, keys)
    return Altered(row, problem) if problem else None


def told_problem(row: LoadedRow, told: str | None, keys: KeyRing) -> str:
    """What is wrong with a row, by what the newest event `told` of it (its signature in hex, and its body); "" if nothing.

    By the signed body alone, which is all there is to fetch. Who goes by a row may hold no key of the process that changed
    it last: a worker cannot verify what the gateway told. An event that was forged to fit the row is told by the sealer.
    """
    if told is None:
        return "no signed event is about it"
    text, mac = told[MAC_DIGITS:].encode(), bytes.fromhex(told[:MAC_DIGITS])
    body = signed_body(told[MAC_DIGITS:])
    try:
        about, kid, workspace = body["object"], body["kid"], body["workspace"]
        is_of_row = (about["type"], about["id"], workspace) == (row.type, row.id, str(row.workspace_id or "") or None)
        may_tell = may_sign(kid, action=body["action"], actor_type=body["actor"]["type"])
        key = keys.key(kid, row.workspace_id)
        is_foreign = key is None and process_of(kid) not in map(process_of, keys.roots)
        signed_state = None if row.state is None else body["state"]
    except (KeyError, TypeError, AttributeError):
        return "its newest event is not genuine: the signed body is not one of an event"
    if not may_tell or not (is_foreign or (key is not None and key.verifies(text, mac))):
        return f"its newest event is not genuine: {kid} did not sign it, or may not tell it"
    if not is_of_row:
        return "its newest event is about another row"
    return differs(row, about["rev"], about["op"], signed_state)


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
    return differs(row, newest.rev, newest.op, signed_state)


def differs(row: LoadedRow, rev: int | None, op: str | None, signed_state: str | None) -> str:
    """How the row differs from the revision, the operation and the state that were signed; "" when it does not."""
    if op == "delete":
        return f"it was deleted with revision {rev}"
    if rev is None or row.rev < rev:
        return f"it is at revision {row.rev} and the log at {rev}: it was put back"
    if row.rev > rev:
        return f"it is at revision {row.rev} and the log at {rev}: a change has no event"
    if signed_state == NO_STATE:
        return f"it was altered before revision {row.rev}, which took power from it, and nobody can say what it was"
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
