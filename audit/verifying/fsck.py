"""The stored tree of each log, held against itself: leaves, tiles, edges, checkpoints, and that nothing lacks its other half.

Knows no key and judges no event; that is `audit.verifying.verification`. It finds what a broken disk, a bug or a half-done restore
leaves behind, and names the place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from audit.judging import CHECKPOINT_PREFIX, mismatch
from audit.merkle import Frontier
from audit.notes import BadNote, Checkpoint
from audit.sealing.growth import Log, Tile
from audit.verifying.expired_months import expired_leaves
from audit.verifying.strays import of_no_log, outside

MOST_TOLD = 20
TILES_AT_ONCE = 256
LEAVES_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is not as it must be, at an index of a log where it has one."""

    origin: str
    index: int | None
    problem: str


@dataclass(slots=True)
class Fsck:
    """One look at every tree of the database, over a connection with the sealer's rights."""

    connection: psycopg.Connection[Any]
    progress: Callable[[int, int], None] = lambda _done, _all: None
    _done: int = 0
    _all: int = 0

    def run(self, older_than_seconds: float) -> list[Defect]:
        """What is wrong, the first of each kind. Events younger than that need not be sealed yet."""
        # One snapshot, so that what the sealer appends meanwhile is either there whole or not at all.
        self.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with self.connection.transaction():
            logs = self.connection.execute(_LOGS).fetchall()
            self._all = sum(count for *_log, count in logs)
            found: list[Defect] = []
            for log_id, workspace_id, origin, count in logs:
                found += self._read(Log(log_id, origin, workspace_id), count)
            return [
                *found,
                *self._unsealed(older_than_seconds),
                *self._of_no_log(),
                *self._orphans(),
                *self._nameless(),
            ]

    def _read(self, log: Log, count: int) -> list[Defect]:
        """What is wrong with one log. That it cannot be read, as where a column has another type now, hides no other."""
        try:
            return self._of_log(log, count)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as problem:
            return [Defect(log.origin, log.size, f"something is stored that cannot be read: {problem}")]

    def _of_log(self, log: Log, count: int) -> list[Defect]:
        checkpoints = self.connection.execute(_CHECKPOINTS, [log.id]).fetchall()
        found: list[Defect] = []
        tiles: list[Tile] = []
        pending = iter(checkpoints)
        ahead = next(pending, None)
        for hashes in self._runs(log, [size for size, *_rest in checkpoints]):
            tiles += log.append(hashes)
            if ahead is not None and log.size == ahead[0]:
                found += _compared(log, ahead)
                ahead = next(pending, None)
            if len(tiles) >= TILES_AT_ONCE:
                found += self._tiles(log, tiles)
                tiles.clear()
        found += self._tiles(log, tiles)
        if log.size != count:
            found.append(Defect(log.origin, log.size, f"the leaf is missing, and {count - log.size} follow"))
        found.sort(key=lambda defect: defect.index or 0)
        del found[MOST_TOLD:]
        if ahead is not None:
            found.append(Defect(log.origin, log.size, f"a checkpoint says {ahead[0]} leaves, and there are {log.size}"))
        elif log.size and (not checkpoints or checkpoints[-1][0] != log.size):
            found.append(Defect(log.origin, log.size - 1, "the last leaves are in no checkpoint"))
        return found + self._surplus(log)

    def _runs(self, log: Log, sizes: Sequence[int]) -> Iterator[list[bytes]]:
        """The leaves in order up to the first gap, cut at each checkpoint."""
        start, cuts = 0, [*sizes]
        while window := self._window(log, start):
            while window:
                while cuts and cuts[0] <= start:
                    cuts.pop(0)
                piece = window[: cuts[0] - start] if cuts else window
                yield piece
                window = window[len(piece) :]
                start += len(piece)
                self._done += len(piece)
                self.progress(self._done, self._all)

    def _window(self, log: Log, start: int) -> list[bytes]:
        """The next leaves. Read to the end before anything else is asked: a COPY cannot be left."""
        statement = sql.SQL(_LEAVES).format(log=log.id, start=start, end=start + LEAVES_AT_ONCE)
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "bytea"])
            rows = list(copy.rows())
        return [value for place, (index, value) in enumerate(rows, start=start) if index == place]

    def _tiles(self, log: Log, made: Sequence[Tile]) -> list[Defect]:
        stored = {}
        for level in {tile.level for tile in made}:
            numbers = [tile.n for tile in made if tile.level == level]
            for number, data in self.connection.execute(_TILES, [log.id, level, numbers]).fetchall():
                stored[level, number] = bytes(data)
        found = []
        for tile in made:
            data = stored.get((tile.level, tile.n))
            if data != tile.data:
                what = "is missing" if data is None else "is not that of its leaves"
                index = tile.n << 8 * (tile.level + 1)
                found.append(Defect(log.origin, index, f"the tile {tile.level}/{tile.n} {what}"))
        return found

    def _surplus(self, log: Log) -> list[Defect]:
        """Tiles that no leaves make."""
        rows = self.connection.execute("SELECT level, count(*) FROM audit.tile WHERE log_id = %s GROUP BY 1", [log.id])
        return [
            Defect(
                log.origin, None, f"level {level} has {count} tiles, and the leaves make {log.size >> 8 * (level + 1)}"
            )
            for level, count in rows.fetchall()
            if count > log.size >> 8 * (level + 1)
        ]

    def _unsealed(self, older_than_seconds: float) -> list[Defect]:
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        return [
            Defect(_name(workspace_id), None, f"the event {event_id} has no leaf in this log")
            for event_id, workspace_id in outside(self.connection, before, MOST_TOLD)
        ]

    def _of_no_log(self) -> list[Defect]:
        return [
            Defect(f"log {log_id}", None, f"{rows} are of a log that does not exist")
            for log_id, rows in of_no_log(self.connection)
        ]

    def _orphans(self) -> list[Defect]:
        """Leaves without their event whose month did not properly leave the log."""
        gone = expired_leaves(self.connection, mismatch)
        found: list[Defect] = []
        with self.connection.cursor(name="orphans") as rows:
            for origin, index, event_id in rows.execute(_ORPHANS):
                if gone.hold(origin, index, event_id):
                    continue
                found.append(Defect(origin, index, f"the event {event_id} of the leaf is missing"))
                if len(found) == MOST_TOLD:
                    break
        return found

    def _nameless(self) -> list[Defect]:
        """Leaves that name no event, and are not the checkpoint of a workspace's log that says it stands there."""
        rows = self.connection.execute(_NAMELESS, {"prefix": b"\0" + CHECKPOINT_PREFIX, "most": MOST_TOLD}).fetchall()
        return [Defect(origin, index, "the leaf is neither an event nor a stored checkpoint") for origin, index in rows]


def _compared(log: Log, stored: tuple[int, str, bytes]) -> list[Defect]:
    size, note, frontier = stored
    found = []
    try:
        if Checkpoint.parse(note) != log.checkpoint():
            found.append(Defect(log.origin, size - 1, f"the checkpoint at {size} is not that of the leaves"))
        if Frontier.of(size, bytes(frontier)).hashes != log.frontier.hashes:
            found.append(Defect(log.origin, size - 1, f"the stored edge at {size} is not that of the leaves"))
    except (BadNote, ValueError) as problem:
        found.append(Defect(log.origin, size - 1, f"the checkpoint at {size} cannot be read: {problem}"))
    return found


def _name(workspace_id: UUID | None) -> str:
    return f"workspace {workspace_id}" if workspace_id else "the instance"


_LOGS = """
SELECT id, workspace_id, COALESCE(origin, ''), (SELECT count(*) FROM audit.leaf WHERE log_id = log.id) FROM audit.log
ORDER BY workspace_id NULLS FIRST, epoch
"""
_LEAVES = """
COPY (SELECT idx, COALESCE(hash, '') FROM audit.leaf WHERE log_id = {log} AND idx >= {start} AND idx < {end} ORDER BY idx)
TO STDOUT (FORMAT binary)
"""
_CHECKPOINTS = (
    "SELECT size, COALESCE(note, ''), COALESCE(frontier, '') FROM audit.checkpoint WHERE log_id = %s ORDER BY size"
)
_TILES = "SELECT n, COALESCE(data, '') FROM audit.tile WHERE log_id = %s AND level = %s AND n = ANY (%s)"
_ORPHANS = """
SELECT origin, idx, event_id FROM audit.leaf JOIN audit.log ON log.id = log_id
WHERE NOT EXISTS (SELECT FROM audit.event WHERE event.id = leaf.event_id) AND event_id IS NOT NULL ORDER BY log_id, idx
"""
_NAMELESS = """
SELECT origin, idx FROM audit.leaf JOIN audit.log ON log.id = log_id
WHERE event_id IS NULL AND NOT (log.workspace_id IS NULL AND EXISTS (
  SELECT FROM audit.checkpoint WHERE instance_idx = leaf.idx
  AND sha256(%(prefix)s::bytea || convert_to(note, 'UTF8')) = leaf.hash))
ORDER BY log_id, idx LIMIT %(most)s
"""
