"""The register of keys (`audit.key`), held against what signed events tell of it and against the keys themselves.

The table decides who may sign, and nobody signed the table: whoever owns the database can let a key that ended sign again.
So each row must be one of the first keys or be told under the key before it, may end no later than was told, and must be a
key that whoever verifies holds.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from audit.clocks import CLOCK_TOLERANCE, TO_THE_SECOND
from audit.judging import StoredEvent, flaw
from audit.notes import BadNote, LogKey
from audit.schema.keys import ALGORITHM, SIGNERS
from audit.signing import KeyRing
from audit.succession import Succession
from audit.taxonomy import Event
from audit.verifying.telling import told
from provenance.held_keys import process_of
from provenance.ids import uuid7_floor

LATEST = timedelta(days=1)
"""So much later than its end may what a key signed be sealed: transactions commit late, but not that late."""
_KEY_TYPE = "audit_key"
OF_THE_LOG = "checkpoint"
"""What a key of the log is for, as the register says."""
_SEALER = "sealer"
_NUMBERED = re.compile("[a-z]+-[1-9][0-9]{0,5}")


class Row(NamedTuple):
    """A row of `audit.key`."""

    kid: str
    purpose: str
    alg: str
    db_role: str | None
    vkey: str
    rotation: str
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class End:
    """Where in one log the events of an ended key stop: after an id, and before a place."""

    last_id: bytes
    place: int | None

    def is_before(self, identity: bytes, place: int) -> bool:
        """Whether an event of this id at this place was signed too late. An id can be dated back, a place cannot."""
        return identity > self.last_id or (self.place is not None and place >= self.place)


@dataclass(slots=True)
class Register:
    """What was told of keys, and what is wrong with the table by it."""

    ends: dict[str, datetime] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def held_against(connection: psycopg.Connection[Any], keys: KeyRing, log_keys: Sequence[LogKey]) -> Register:
    """Hold the table against the signed events and these keys. In one snapshot, so that who rotates meanwhile is no alarm."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        rows = [Row(*row) for row in connection.execute(_ROWS).fetchall()]
        tellings = list(told(connection, Event.AUDIT_KEY_ROTATED, lambda event: flaw(event, keys)))
        has_checkpoints = connection.execute(
            "SELECT FROM audit.checkpoint WHERE signatures IS NOT NULL LIMIT 1"
        ).fetchone()
    of_events = [replaced for event, facts in tellings if (replaced := _Replaced.parse(event, facts))]
    rotations = {
        facts.get("new"): facts["rotation"]
        for event, facts in tellings
        if process_of(event.kid) == _SEALER and "rotation" in facts
    }
    found = Register(ends=_ends(of_events))
    found.problems += _of_events([row for row in rows if row.purpose == "event"], keys, of_events, found.ends)
    log_rows = [row for row in rows if row.purpose != "event"]
    found.problems += _of_the_log(log_rows, log_keys, rotations, is_begun=has_checkpoints is not None)
    return found


def ends_in(connection: psycopg.Connection[Any], log_id: int, ends: Mapping[str, datetime]) -> dict[str, End]:
    """Where in this log the events of each ended key stop."""
    found = {}
    for kid, at in ends.items():
        row = connection.execute(_YOUNGER, [log_id, uuid7_floor(at + LATEST)]).fetchone()
        found[kid] = End(uuid7_floor(at + CLOCK_TOLERANCE).bytes, row[0] if row else None)
    return found


# --- Keys of events --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Replaced:
    """One key of events that followed another."""

    new: str
    old_ends_at: datetime

    @classmethod
    def parse(cls, event: StoredEvent, facts: Mapping[str, Any]) -> "_Replaced | None":
        """A key is told under itself or under the one before it, about the other of the two; no other has a say.

        Nor have words that the host would not use.
        """
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            old, new, end = facts["old"], facts["new"], datetime.fromisoformat(facts["old_ends_at"])
            is_of_them = event.object_type == _KEY_TYPE and {event.kid, event.object_id} == {old, new}
            if is_of_them and process_of(old) == process_of(new) and _NUMBERED.fullmatch(new) and end.tzinfo:
                return cls(new, end)
        return None


def _ends(tellings: Sequence[_Replaced]) -> dict[str, datetime]:
    """When each key ends: a rotation ends all the keys before the new one, and no later one puts an end off."""
    ends: dict[str, datetime] = {}
    for each in tellings:
        process, _, number = each.new.rpartition("-")
        for kid in (f"{process}-{earlier}" for earlier in range(1, int(number))):
            ends[kid] = min(ends.get(kid, each.old_ends_at), each.old_ends_at)
    return ends


def _of_events(
    rows: Sequence[Row], keys: KeyRing, tellings: Sequence[_Replaced], ends: Mapping[str, datetime]
) -> list[str]:
    known = {f"{process}-1" for process in SIGNERS} | {each.new for each in tellings}
    missing = known - {row.kid for row in rows}
    problems = [f"The key {kid} is not registered though it was" for kid in sorted(missing)]
    for row in rows:
        if row.kid not in known or process_of(row.kid) not in SIGNERS:
            problems.append(f"The key {row.kid} is registered, and no signed event tells of it")
            continue
        problems += _differences(row, alg=ALGORITHM, db_role=SIGNERS[process_of(row.kid)], vkey="", rotation="")
        end = ends.get(row.kid)
        if end and (row.not_after is None or row.not_after > end):
            until = f"until {row.not_after:{TO_THE_SECOND}}" if row.not_after else "without an end"
            problems.append(f"The key {row.kid} was told to end at {end:{TO_THE_SECOND}}, and is registered {until}")
        if keys.key(row.kid, None) is None:
            problems.append(f"The key {row.kid} is registered, and is not among the keys of this host")
    return problems


# --- Keys of the log -------------------------------------------------------------------------------------------------


def _of_the_log(
    rows: Sequence[Row], log_keys: Sequence[LogKey], rotations: Mapping[str | None, str], *, is_begun: bool
) -> list[str]:
    known = {key.kid: key for key in log_keys}
    stored = {row.kid for row in rows}
    problems = []
    if is_begun:
        # One that replaces another is registered when the sealer takes it up.
        firsts = {min(numbers) for numbers in _by_kind(log_keys).values()}
        problems = [
            f"The key {kid} of the log is not registered though it signs"
            for _number, kid in sorted(firsts)
            if kid not in stored
        ]
    for row in rows:
        key = known.get(row.kid)
        if key is None:
            problems.append(f"The key {row.kid} is registered, and is not among the keys of the log")
            continue
        problems += _differences(row, purpose=OF_THE_LOG, alg=key.algorithm, db_role=None, vkey=key.material)
        told_of = rotations.get(row.kid, "")
        if row.rotation != told_of or (told_of and not _leads_to(told_of, key)):
            problems.append(f"The rotation of the key {row.kid} is not the one that was told")
    return problems


def _by_kind(log_keys: Sequence[LogKey]) -> dict[int, list[tuple[int, str]]]:
    kinds: dict[int, list[tuple[int, str]]] = {}
    for key in log_keys:
        kinds.setdefault(key.kind, []).append((key.number, key.kid))
    return kinds


def _leads_to(text: str, key: LogKey) -> bool:
    try:
        rotation = Succession.parse(text)
    except BadNote:
        return False
    return rotation.new == bytes([key.kind]) + key.public and rotation.holds()


def _differences(row: Row, **wanted: str | None) -> list[str]:
    return [
        f"The {name} of the key {row.kid} was changed" for name, value in wanted.items() if getattr(row, name) != value
    ]


# No later than Python can say: infinity is an end, too.
_ROWS = """
SELECT kid, purpose, alg, db_role::text, vkey, rotation,
       CASE WHEN not_after IS NOT NULL THEN GREATEST(LEAST(not_after, '9000-01-01'), '2000-01-01') END
FROM audit.key ORDER BY kid
"""
# The first by id and not by place, because by id there is an index: any that is younger shows that what follows is late.
_YOUNGER = "SELECT idx FROM audit.leaf WHERE log_id = %s AND event_id >= %s ORDER BY event_id LIMIT 1"
