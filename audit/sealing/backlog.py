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
from audit.sealing.passes import Found, Snapshot, State
from provenance.ids import uuid7_floor

LOOK_BACK_SECONDS = 60
LOOKED_AT_ONCE = 4_000
"""Events that one pass looks at for those that were passed over: a quarter of an hour may hold millions, and holds up nobody."""
ROWS_AT_ONCE = 256
OVERLOOKED = timedelta(minutes=15)
OVERLOOKED_AT_START = timedelta(days=1)
"""How far back it looks for events that were passed over: nobody but a superuser can make the sealer do so."""

_LAST = UUID(int=2**128 - 1)

Connection = psycopg.Connection[Any]


@dataclass(slots=True)
class Backlog:
    """Reads at most `most_events` of it at a time, though never a part of a transaction."""

    most_events: int
    _left: Snapshot | None = None
    _look_back_at: float = 0.0
    _looked_to: UUID | None = None

    def found(self, connection: Connection, state: State) -> Found:
        """What this pass has to seal."""
        if state.known != state.here:
            # Another cluster or timeline: its transaction ids say nothing about those that the snapshot names.
            return self._never_sealed(connection, state.now)
        if problem := self._moved(state):
            return self._never_sealed(connection, state.now, problem)
        found = self._committed_since(connection, state.sealed, state.now)
        overlooked = self._overlooked(connection, state.sealed)
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

    def leave(self, snapshot: Snapshot | None) -> None:
        """Remember the snapshot that was stored; None: somebody else may store another one now."""
        self._left = snapshot

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
        """Whether somebody put another snapshot where this sealer left its own, so that events would be passed over."""
        left, self._left = self._left, None
        if state.sealed.xmax <= state.now.xmax and left in {None, state.sealed}:
            self._left = left
            return ""
        return f"the snapshot up to which all is sealed was set to {state.sealed.text}"

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
        row = connection.execute(sql.LOOKED_TO, {"after": after, "count": LOOKED_AT_ONCE}).fetchone()
        self._looked_to = row[0] if row else None
        if row is None:
            self._look_back_at = time.monotonic() + LOOK_BACK_SECONDS
        bounds = {"after": after, "end": self._looked_to or _LAST}
        return self._rows(connection, sql.OVERLOOKED, **bounds, sealed=sealed.xmax, running=list(sealed.running))

    def _never_sealed(self, connection: Connection, now: Snapshot, problem: str = "") -> Found:
        rows = self._rows(connection, sql.NOT_SEALED)
        is_more = len(rows) > self.most_events
        events = [Row._make(row[1:]) for row in rows[: self.most_events]]
        return Found(events, None if is_more else now, is_more=is_more, is_anew=True, problem=problem)

    def _rows(self, connection: Connection, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        wanted = {**parameters, "most": self.most_events + 1}
        with connection.cursor(binary=True) as cursor:
            # Row after row, so that Postgres sends the next ones while these are taken in.
            return list(cursor.stream(statement, wanted, size=ROWS_AT_ONCE))
