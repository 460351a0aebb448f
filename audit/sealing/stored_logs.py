"""The Merkle logs as they are stored: opened, read back to where they stand, grown by what a pass of the sealer found.

Who seals and whether anything is committed is the sealer's to know; whoever catches a failure forgets what is here, because
what was grown in memory may not have been stored.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from audit.epochs import origin_of
from audit.glance import Row, leaf_of
from audit.judging import checkpoint_entry
from audit.merkle import leaf_hash
from audit.notes import Checkpoint
from audit.sealing import sql
from audit.sealing.growth import TILE_WIDTH, Log, Tile, unfinished_tiles
from audit.sealing.passes import in_order
from audit.sealing.standing import Place, StoredLog, Verifiers, all_waiting, standing

Connection = psycopg.Connection[Any]
Judge = Callable[[Row], str]
"""What is wrong with an event of a log; empty when it is genuine."""
JudgeOf = Callable[[UUID | None], Judge]
"""The judge of the log of that workspace."""


class Flawed(NamedTuple):
    """An event that does not verify, and where in its log it stands now."""

    at: int
    event: Row
    problem: str


@dataclass(slots=True)
class _Growth:
    """What was added to one log, and is to be stored beside its leaves."""

    log: Log
    checkpoint: Checkpoint
    tiles: list[Tile]
    flawed: list[Flawed]


@dataclass(slots=True)
class StoredLogs:
    """The logs of one installation, each as far as it was needed."""

    installation: str
    verifiers: Verifiers
    # Checkpoints that were made here, or that continue what was signed, and have no signature yet.
    waiting: dict[Place, str] = field(default_factory=dict)
    _logs: dict[UUID | None, Log] = field(default_factory=dict)

    def log(self, connection: Connection, workspace_id: UUID | None) -> Log:
        """The newest epoch of that log as it is stored, opened when it is not there yet. Raises `NotContinued`."""
        if workspace_id in self._logs:
            return self._logs[workspace_id]
        names = {"workspace_id": workspace_id, "origin": origin_of(self.installation, workspace_id), "epoch": 1}
        rows = (
            connection.execute(sql.NEWEST_EPOCH, names).fetchall() or connection.execute(sql.OPEN_LOG, names).fetchall()
        )
        stored = StoredLog(*rows[0])
        log = Log(stored.id, stored.own_name(self.installation), workspace_id)
        log.frontier, _waiting = standing(connection, log.id, log.origin, self.verifiers)
        log.unfinished = _unfinished(connection, log) if log.size else []
        self._logs[workspace_id] = log
        return log

    def begin_epoch(self, connection: Connection, workspace_id: UUID | None, epoch: int) -> Log:
        """An empty log under a new name, which continues that of the epoch before."""
        origin = origin_of(self.installation, workspace_id, epoch)
        names = {"workspace_id": workspace_id, "origin": origin, "epoch": epoch}
        ((log_id, *_names),) = connection.execute(sql.OPEN_LOG, names).fetchall()
        self._logs[workspace_id] = Log(log_id, origin, workspace_id)
        return self._logs[workspace_id]

    def forget(self) -> None:
        """Read everything anew when it is needed again."""
        self._logs.clear()
        self.waiting.clear()

    def take_up(self, connection: Connection, still: Callable[[], None]) -> None:
        """Begin with what is stored; `still` is called before each log. Raises `NotContinued` when that is not what the keys of the logs signed."""
        self.waiting |= all_waiting(connection, self.installation, self.verifiers, still)

    def append(
        self, connection: Connection, events: Sequence[Row], judge_of: JudgeOf
    ) -> list[tuple[Log, list[Flawed]]]:
        """Append events, at least one, to their logs, and the new checkpoints of workspaces to the log of the instance.

        The logs in which something does not verify, each with what that is: it is in the log all the same.
        """
        by_log: dict[str | None, list[Row]] = defaultdict(list)
        for event in in_order(events):
            by_log[event.workspace_id].append(event)
        own: list[Row] = by_log.pop(None, [])
        logs = {name: self.log(connection, UUID(name)) for name in by_log if name}
        instance = self.log(connection, None)
        first = instance.size + len(own)
        # Judging while the rows are sent, so that Postgres stores leaves meanwhile.
        with connection.cursor() as cursor, cursor.copy(sql.COPY_LEAVES) as leaves:
            # A uuid goes as the bytes that it is in the binary protocol.
            leaves.set_types(["int8", "int8", "bytea", "bytea"])
            grown = [_grow(leaves, log, by_log[name], judge_of(log.workspace_id)) for name, log in logs.items()]
            root = _grow(leaves, instance, own, judge_of(None), [one.checkpoint.text for one in grown])
        noted = [(root, None), *((one, number) for number, one in enumerate(grown, start=first))]
        with connection.cursor() as cursor:
            cursor.executemany(sql.STORE_TILE, [_tile_row(one.log, tile) for one, _idx in noted for tile in one.tiles])
            cursor.executemany(sql.STORE_CHECKPOINT, [_checkpoint_row(one, idx) for one, idx in noted])
        self.waiting |= {(one.log.id, one.checkpoint.size): one.checkpoint.text for one, _idx in noted}
        return [(one.log, one.flawed) for one, _idx in noted if one.flawed]


def _grow(leaves: psycopg.Copy, log: Log, events: Sequence[Row], judge: Judge, texts: Sequence[str] = ()) -> _Growth:
    """Add leaves to one log: its events, and then checkpoints of others."""
    hashes: list[bytes] = []
    flawed: list[Flawed] = []
    for index, event in enumerate(events, start=log.size):
        if problem := judge(event):
            flawed.append(Flawed(index, event, problem))
        value = leaf_of(event.body, event.mac)
        hashes.append(value)
        leaves.write_row((log.id, index, value, bytes.fromhex(event.id.replace("-", ""))))
    for index, text in enumerate(texts, start=log.size + len(events)):
        value = leaf_hash(checkpoint_entry(text))
        hashes.append(value)
        leaves.write_row((log.id, index, value, None))
    tiles = log.append(hashes)
    return _Growth(log, log.checkpoint(), tiles, flawed)


def _unfinished(connection: Connection, log: Log) -> list[list[bytes]]:
    def tile(level: int, n: int) -> bytes:
        row = connection.execute(sql.TILE, {"log_id": log.id, "level": level, "n": n}).fetchone()
        if row is None:
            raise RuntimeError(f"tile {level}/{n} of {log.origin} is missing: run `./manage.py fsck`")
        return bytes(row[0])

    first = log.size // TILE_WIDTH * TILE_WIDTH
    leaves = connection.execute(sql.LAST_LEAVES, {"log_id": log.id, "first": first, "size": log.size}).fetchall()
    return unfinished_tiles(log.size, [bytes(leaf) for (leaf,) in leaves], tile)


def _tile_row(log: Log, tile: Tile) -> dict[str, Any]:
    return {"log_id": log.id, "level": tile.level, "n": tile.n, "data": tile.data}


def _checkpoint_row(grown: _Growth, instance_idx: int | None) -> dict[str, Any]:
    return {
        "log_id": grown.log.id,
        "workspace_id": grown.log.workspace_id,
        "size": grown.checkpoint.size,
        "note": grown.checkpoint.text,
        "frontier": grown.log.frontier.to_bytes(),
        "instance_idx": instance_idx,
    }
