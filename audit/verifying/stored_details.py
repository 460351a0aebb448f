"""The stored details of events, held against what was signed: that each is the one its event commits to, and why one is gone.

The sealer reads no detail. Postgres computes what each commits to (`audit.detail_commitments`), and of a detail that was
erased a signed event must tell. Everything else that stands beside a detail (its kind, its class, its workspace) follows
from the event.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from audit.clocks import CLOCK_TOLERANCE
from audit.judging import COLUMNS, flaw
from audit.retention.classes import RetentionClass, class_of
from audit.schema.tree import DETAIL_COMMITMENTS, STRAY_DETAILS, TOLD_FACTS
from audit.signing import SPEAKS_FOR_PEOPLE, KeyRing
from audit.taxonomy import Event
from audit.verifying.telling import EVERYWHERE, facts_of
from provenance.held_keys import process_of
from provenance.ids import uuid7_floor, uuid7_time

AT_ONCE = 256
"""Leaves whose details are asked for together."""
MEDIA_TYPE = "application/json"
TOLD_BEFORE, TOLD_AFTER = timedelta(minutes=15), timedelta(hours=1)
"""So far from the moment that an erased detail names lies the event that tells of it: one transaction, two clocks."""
MOST_TELLING = 64


_FLOORS = {item.value: timedelta(days=item.floor_days) for item in RetentionClass}
_CLASSES = {event.value: class_of(event).value for event in Event}


Bound = tuple[int, str | None, str]
"""A genuine event: where it stands, what it commits to in hex (None: it has no detail), and its type."""


Signed = tuple[int, str | None, str]
"""A `Bound` as the hot loop makes it: a name for each value would cost more than the values."""


class Problem(NamedTuple):
    """What is wrong with the detail of the event at that index."""

    place: int
    event_id: str
    words: str


class Stored(NamedTuple):
    """A row of `audit.detail`, with what its salt and body commit to."""

    event_id: str
    workspace_id: str | None
    commitment: str | None
    media_type: str
    retention_class: str
    erased_at: datetime | None


@dataclass(slots=True)
class Seen:
    """What was found: how many details there are, how many of them were properly erased, and what is wrong."""

    details: int = 0
    erased: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class StoredDetails:
    """The details of one workspace's events, or of the instance's (None)."""

    connection: psycopg.Connection[Any]
    keys: KeyRing
    workspace_id: UUID | None
    _told: dict[UUID, "Erasure | None"] = field(default_factory=dict)

    def check(self, bound: Mapping[str, Signed]) -> Seen:
        """Hold the details of these events, by id, against them.

        What writers, erasures and leaving months do meanwhile is no flaw.
        """
        seen = Seen()
        # Nearly in the order of time, so that each question is about few months.
        ids = sorted(bound)
        for start in range(0, len(ids), AT_ONCE):
            piece = {event_id: bound[event_id] for event_id in ids[start : start + AT_ONCE]}
            seen.problems += self._put_back(piece)
            rows = self._rows(piece)
            if self._are_as_signed(piece, rows):
                seen.details += len(rows)
                continue
            found = self._judged(piece, rows)
            if found.problems:
                found = self._judged_again(piece)
            seen.details += found.details
            seen.erased += found.erased
            seen.problems += found.problems
        return seen

    def _rows(self, ids: Iterable[str]) -> list[tuple[Any, ...]]:
        """The rows of `Stored`. As text and undivided, because making values of them is what costs."""
        with self.connection.cursor(binary=True) as cursor:
            return cursor.execute(_STORED, [f"{{{','.join(ids)}}}"]).fetchall()

    def _are_as_signed(self, bound: Mapping[str, Bound], rows: Sequence[tuple[Any, ...]]) -> bool:
        """Whether there is nothing to look into: each detail that must be there is, once, and nothing else."""
        workspace = str(self.workspace_id) if self.workspace_id else None
        wanted = {
            (event_id, workspace, commitment, MEDIA_TYPE, _CLASSES.get(action), None)
            for event_id, (_place, commitment, action) in bound.items()
            if commitment is not None
        }
        return len(rows) == len(wanted) and wanted.issuperset(rows) and len(set(rows)) == len(rows)

    def _put_back(self, bound: Mapping[str, Bound]) -> list[Problem]:
        """Details that these events erased and that are there: who has an old dump can put back what it still holds."""
        found = []
        for event_id, (place, _commitment, action) in bound.items():
            erasure = self._erasure(UUID(event_id)) if action == Event.AUDIT_DETAIL_ERASED else None
            back = [row[0] for row in self._rows(erasure.events) if row[2] is not None] if erasure else []
            if back:
                found.append(
                    Problem(place, event_id, f"{len(back)} details that it erased are there, the first {min(back)}")
                )
        return found

    def _judged_again(self, bound: Mapping[str, Bound]) -> Seen:
        """In one snapshot with the events: their month may have left since they were read."""
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            kept = self.connection.execute(
                "SELECT id::text FROM audit.event WHERE id = ANY (%s::uuid[])", [list(bound)]
            )
            still = {event_id: bound[event_id] for event_id in {row[0] for row in kept.fetchall()}}
            return self._judged(still, self._rows(still))

    def _judged(self, bound: Mapping[str, Bound], rows: Sequence[tuple[Any, ...]]) -> Seen:
        stored = {detail.event_id: detail for detail in map(Stored._make, rows)}
        told = self._erasures_of([detail for detail in stored.values() if detail.erased_at is not None])
        several = Counter(row[0] for row in rows)
        problems = [
            Problem(signed[0], event_id, words)
            for event_id, signed in bound.items()
            if (words := self._problem(signed, stored.get(event_id), told.get(event_id)))
            or (words := "it has more than one detail" if several[event_id] > 1 else "")
        ]
        return Seen(len(stored), len(told), problems)

    def _problem(self, signed: Bound, detail: Stored | None, erasure: "Erasure | None") -> str:
        _place, commitment, action = signed
        if detail is None:
            return "its detail is missing" if commitment is not None else ""
        if commitment is None:
            return "it has a detail, and was signed without one"
        if beside := self._beside(action, detail):
            return beside
        if detail.commitment is not None:
            is_signed = detail.commitment == commitment and detail.erased_at is None
            return "" if is_signed else "its detail is not the one that was signed"
        return erasure.hindrance(detail) if erasure else "its detail was erased, and no signed event tells of it"

    def _beside(self, action: str, detail: Stored) -> str:
        """What is wrong with what stands beside a detail, and follows from its event."""
        if detail.workspace_id != (str(self.workspace_id) if self.workspace_id else None):
            return "its detail is stored for another workspace"
        if detail.media_type != MEDIA_TYPE:
            return "the media type of its detail was changed"
        # Of a type that this version does not know, nobody can say.
        if detail.retention_class != _CLASSES.get(action, detail.retention_class):
            return "the retention class of its detail was changed"
        return ""

    # --- Erasures ------------------------------------------------------------------------------------------------

    def _erasures_of(self, erased: Sequence[Stored]) -> dict[str, "Erasure"]:
        """Which signed event tells of each erased detail."""
        by_time: dict[datetime, set[str]] = {}
        for detail in erased:
            if detail.erased_at is not None:
                by_time.setdefault(detail.erased_at, set()).add(detail.event_id)
        found: dict[str, Erasure] = {}
        for at, missing in by_time.items():
            for erasure in self._near(at):
                found |= dict.fromkeys(missing & erasure.events, erasure)
                missing.difference_update(erasure.events)
                if not missing:
                    break
        return found

    def _near(self, at: datetime) -> Iterator["Erasure"]:
        """The erasures that were told about that moment, the nearest first."""
        between = {"low": uuid7_floor(at - TOLD_BEFORE), "high": uuid7_floor(at + TOLD_AFTER)}
        log = "workspace_id IS NULL" if self.workspace_id is None else "workspace_id = %(workspace)s"
        names = {**between, "workspace": self.workspace_id, "action": Event.AUDIT_DETAIL_ERASED.value}
        ids = [event_id for (event_id,) in self.connection.execute(_TELLING.format(log=log), names).fetchall()]
        for event_id in sorted(ids, key=lambda each: abs(uuid7_time(each) - at)):
            if erasure := self._erasure(event_id):
                yield erasure

    def _erasure(self, event_id: UUID) -> "Erasure | None":
        if event_id not in self._told:
            if len(self._told) >= MOST_TELLING:
                self._told.pop(next(iter(self._told)))
            rows = self.connection.execute(_ONE, [event_id]).fetchall()
            told = next(facts_of(self.connection, rows, lambda event: flaw(event, self.keys)), None)
            self._told[event_id] = Erasure.parse(told.event.kid, event_id, told.facts) if told else None
        return self._told[event_id]


@dataclass(frozen=True, slots=True)
class Erasure:
    """One event that tells which details were erased: by class when their time was over, or with a person."""

    kid: str
    at: datetime
    events: AbstractSet[str]
    retention_class: str

    @classmethod
    def parse(cls, kid: str, event_id: UUID, facts: Mapping[str, Any]) -> "Erasure | None":
        """Of what the event tells; None for words that no process of ours would use: they excuse nothing."""
        try:
            named = frozenset(str(UUID(name)) for name in facts["events"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        known = facts.get("class", "")
        return cls(kid, uuid7_time(event_id), named, known) if known in {"", *_FLOORS} else None

    def hindrance(self, detail: Stored) -> str:
        """Why this event is no reason for this detail to be gone; empty when it is one."""
        if not self.retention_class:
            # Only where people act is a person erased.
            return (
                "" if process_of(self.kid) in SPEAKS_FOR_PEOPLE else f"{self.kid} may not tell that a person is erased"
            )
        if self.retention_class != detail.retention_class:
            return f"its detail was erased as one of {self.retention_class}, which it is not"
        floor = _FLOORS[self.retention_class]
        if self.at - uuid7_time(UUID(detail.event_id)) < floor - 2 * CLOCK_TOLERANCE:
            return f"its detail was erased before the {floor.days} days of its class were over"
        return ""


def stray_details(connection: psycopg.Connection[Any], most: int) -> list[tuple[UUID, UUID | None]]:
    """The first details that are of no event, with the workspace that they are stored for."""
    return connection.execute("SELECT * FROM audit.stray_details(%s)", [most]).fetchall()


def changed_functions(connection: psycopg.Connection[Any]) -> list[str]:
    """What Postgres says of details counts only while it is computed as the code has it."""
    stored = connection.execute(_SOURCES, [[function.name for function in _ASKED]]).fetchall()
    return [
        f"The function audit.{function.name} was changed: what it says of details proves nothing"
        for function in _ASKED
        if [row[1:] for row in stored if row[0] == function.name] != [(function.source, SEARCH_PATH)]
    ]


_ASKED = (DETAIL_COMMITMENTS, TOLD_FACTS, STRAY_DETAILS)
# The settings too: along another path `sha256` may be somebody else's.
SEARCH_PATH = ["search_path=pg_catalog, pg_temp"]
_SOURCES = """
SELECT proname, prosrc, proconfig FROM pg_catalog.pg_proc
WHERE pronamespace = 'audit'::regnamespace AND proname = ANY (%s)
"""
_STORED = """
SELECT event_id::text, workspace_id::text, encode(commitment, 'hex'), media_type, retention_class, erased_at
FROM audit.detail_commitments(%s::uuid[])
"""
_TELLING = f"""
SELECT id FROM {EVERYWHERE} WHERE {{log}} AND action = %(action)s AND id BETWEEN %(low)s AND %(high)s
"""  # noqa: S608  composed of constants
_ONE = f"SELECT {COLUMNS} FROM {EVERYWHERE} WHERE id = %s"  # noqa: S608  composed of constants
