"""What is committed and not sealed yet: the events that one pass of the sealer takes, read from the table of events.

By the snapshot-difference rule, PgQ's: exactly what was committed since the snapshot that the pass before left. Where that
snapshot cannot be believed, by the leaves instead: whatever has none is not sealed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit.clocks import CLOCK_TOLERANCE
from audit.glance import Row
from audit.sealing import sql
from audit.sealing.passes import Found, Kept, Snapshot, State
from provenance.ids import uuid7_floor

LOOK_BACK_SECONDS = 60
LOOKED_AT_ONCE = 4_000
"""Events that one pass looks at for those that were passed over: a quarter of an hour may hold millions, and holds up nobody."""
SCANNED_AT_ONCE = 100_000
"""Events that one pass looks at when it believes nothing but leaves: the lease is shorter than a look at all of a large log."""
ROWS_AT_ONCE = 256
OVERLOOKED = timedelta(minutes=15)
OVERLOOKED_AT_START = timedelta(days=1)
"""How far back it looks for events that were passed over: nobody but a superuser can make the sealer do so."""

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

Connection = psycopg.Connection[Any]


@dataclass(slots=True)
class _Anew:
    """A look through the whole log: the snapshot with which it began, and how far it came."""

    begun: Snapshot
    after: UUID = _FIRST


@dataclass(slots=True)
class Backlog:
    """Reads at most `most_events` of it at a time, though never a part of a transaction."""

    most_events: int
    _left: Kept | None = None
    _anew: "_Anew | None" = None
    _look_back_at: float = 0.0
    _looked_to: UUID | None = None

    def found(self, connection: Connection, state: State) -> Found:
        """What this pass has to seal."""
        # In another cluster or timeline transaction ids say nothing about those that the snapshot names.
        is_elsewhere = state.known != state.here
        problem = "" if self._anew or is_elsewhere else self._moved(state)
        if problem or is_elsewhere:
            self._anew = self._anew or _Anew(state.now)
        if self._anew:
            return self._never_sealed(connection, self._anew, problem)
        found = self._committed_since(connection, state.kept.sealed, state.now)
        overlooked = self._overlooked(connection, state.kept.sealed)
        if not overlooked:
            return found
        return Found(
            [*found.events, *(Row._make(row[1:]) for row in overlooked[: self.most_events])],
            found.sealed_to,
            is_more=found.is_more,
            problem=f"{len(overlooked)} events were passed over, the first {overlooked[0][1]}",
        )

    def events(self, connection: Connection, ids: Sequence[UUID]) -> list[Row]:
        """These, whether they are sealed or not."""
        with connection.cursor(binary=True) as cursor:
            return [Row._make(row) for row in cursor.execute(sql.OF_IDS, {"ids": ids}).fetchall()]

    def leave(self, kept: Kept) -> None:
        """Remember what was stored, so that nobody puts something else in its place."""
        self._left, self._anew = kept, None

    def forget(self) -> None:
        """Another sealer may store something else now, and go on with what this one began."""
        self._left = self._anew = None

    def edges(self, connection: Connection) -> dict[str, UUID]:
        """Between which ids an event of a changed cluster may be sealed or not.

        No transaction is older than the server's start; and whatever lies in its tables was there before it.
        """
        ((started, now, newest),) = connection.execute(sql.EDGES).fetchall()
        return {
            "sealed_before": uuid7_floor(started - 2 * CLOCK_TOLERANCE),
            "sealed_maybe": max(uuid7_floor(now + 2 * CLOCK_TOLERANCE), newest or UUID(int=0)),
        }

    def _moved(self, state: State) -> str:
        """Whether somebody put something else where this sealer left its own, so that events would be passed over."""
        kept = state.kept
        is_possible = kept.sealed.xmax <= state.now.xmax and kept.sealed_before <= uuid7_floor(datetime.now(UTC))
        if is_possible and self._left in {None, kept}:
            self._left = kept
            return ""
        self._left = None
        return f"up to where all is sealed was set to {kept.sealed.text} and {kept.sealed_before}"

    def _committed_since(self, connection: Connection, sealed: Snapshot, now: Snapshot) -> Found:
        rows = self._rows(connection, sql.COMMITTED, sealed=sealed.xmax, now=now.xmax, running=list(sealed.running))
        if len(rows) <= self.most_events:
            return Found([Row._make(row[1:]) for row in rows], now)
        # Whole transactions only: a snapshot can say "all below this one", and not "half of it".
        cut = sorted(row[0] for row in rows)[self.most_events]
        kept = [row for row in rows if row[0] < cut]
        if not kept:
            kept, cut = self._rows(connection, sql.OF_TRANSACTION, xid=cut), cut + 1
        return Found([Row._make(row[1:]) for row in kept], sealed.advanced(now, cut), is_more=True)

    def _overlooked(self, connection: Connection, sealed: Snapshot) -> list[tuple[Any, ...]]:
        """Rows that should be sealed by what the snapshot says and are not: looked for once a minute, a part in each pass."""
        if time.monotonic() < self._look_back_at:
            return []
        window = OVERLOOKED if self._look_back_at else OVERLOOKED_AT_START
        after = self._looked_to or uuid7_floor(datetime.now(UTC) - window)
        self._looked_to = self._ahead(connection, after, LOOKED_AT_ONCE)
        if self._looked_to is None:
            self._look_back_at = time.monotonic() + LOOK_BACK_SECONDS
        bounds = {"after": after, "end": self._looked_to or _LAST}
        return self._rows(connection, sql.OVERLOOKED, **bounds, sealed=sealed.xmax, running=list(sealed.running))

    def _never_sealed(self, connection: Connection, anew: "_Anew", problem: str) -> Found:
        """What has no leaf, however old: a part of the log in each pass. What comes meanwhile is found by the snapshot of the first."""
        end = self._ahead(connection, anew.after, SCANNED_AT_ONCE)
        rows = self._rows(connection, sql.NOT_SEALED, after=anew.after, end=end or _LAST)
        events = [Row._make(row[1:]) for row in rows[: self.most_events]]
        if len(rows) > self.most_events:
            anew.after = UUID(events[-1].id)
        elif end is not None:
            anew.after = end
        else:
            return Found(events, anew.begun, is_anew=True, problem=problem)
        return Found(events, None, is_more=True, is_anew=True, problem=problem)

    def _ahead(self, connection: Connection, after: UUID, count: int) -> UUID | None:
        """The event that so many others lie before; None when there are not so many."""
        row = connection.execute(sql.LOOKED_TO, {"after": after, "count": count}).fetchone()
        return row[0] if row else None

    def _rows(self, connection: Connection, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        wanted = {**parameters, "most": self.most_events + 1}
        with connection.cursor(binary=True) as cursor:
            # Row after row, so that Postgres sends the next ones while these are taken in.
            return list(cursor.stream(statement, wanted, size=ROWS_AT_ONCE))
