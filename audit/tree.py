"""Reading a Merkle log as a process may: positions, checkpoints, and the nodes that proofs are made of.

Over any cursor's `execute`, so that pages use Django's connection and commands one of their own. What is found belongs to
the workspace in scope; the log of the instance is for `prov_audit_read` alone.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from audit.errors import DamagedLog
from audit.merkle import HASH_BYTES, inclusion_proof, tree_root
from audit.notes import BadNote, Checkpoint, signature_lines, signed_note
from audit.sealing.growth import TILE_HEIGHT, TILE_WIDTH, hashes_of

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One log: its number, its name, and how often it had to be begun anew."""

    id: int
    workspace_id: UUID | None
    origin: str
    epoch: int


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A published checkpoint, with the signatures of the log and of witnesses."""

    log_id: int
    checkpoint: Checkpoint
    signatures: str
    cosignatures: str
    at: Any
    instance_idx: int | None

    @property
    def stored(self) -> str:
        """The note as it is stored."""
        return signed_note(self.checkpoint, self.signatures + self.cosignatures)

    @property
    def note(self) -> str:
        """The signed note, as it is handed out. Raises `DamagedLog` for one that is none, whoever signed it."""
        try:
            signature_lines(self.signatures + self.cosignatures)
        except BadNote as error:
            raise DamagedLog.by(
                f"The stored signatures of checkpoint {self.checkpoint.size} are none: {error}"
            ) from error
        return self.stored


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event stands, and in which published checkpoint it is; None: not in one yet."""

    log_id: int
    index: int
    sealed_in: SignedCheckpoint | None


@dataclass(slots=True)
class Tree:
    """The logs that one connection may read. A checkpoint that is none raises `DamagedLog`."""

    execute: Execute
    _tiles: dict[tuple[int, int, int], bytes] = field(default_factory=dict)

    def logs(self, workspace_id: UUID | None) -> list[StoredLog]:
        """The log of a workspace (None: of the instance), every epoch, oldest first."""
        rows = self.execute(
            "SELECT id, workspace_id, COALESCE(origin, ''), epoch FROM audit.log WHERE workspace_id IS NOT DISTINCT FROM %s ORDER BY epoch",
            [workspace_id],
        )
        return [StoredLog(*row) for row in rows]

    def newest_checkpoint(self, log_id: int) -> SignedCheckpoint | None:
        """The largest published checkpoint of a log."""
        return self._checkpoint("log_id = %s ORDER BY size DESC", [log_id])

    def checkpoint(self, log_id: int, size: int) -> SignedCheckpoint | None:
        """The published checkpoint of exactly this size."""
        return self._checkpoint("log_id = %s AND size = %s", [log_id, size])

    def first_checkpoint_over(self, log_id: int, index: int) -> SignedCheckpoint | None:
        """The earliest published checkpoint that has the leaf of this index in it."""
        return self._checkpoint("log_id = %s AND size > %s ORDER BY size", [log_id, index])

    def checkpoints_over(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], SignedCheckpoint]:
        """`first_checkpoint_over` of several (log, index) at once; one that cannot be read is left out."""
        rows = self.execute(_CHECKPOINTS_OVER, [[log_id for log_id, _ in places], [index for _, index in places]])
        found = {}
        for log_id, index, *stored in rows:
            with suppress(DamagedLog):
                found[log_id, index] = _read(log_id, *stored)
        return found

    def sealed_at(self, workspace_id: UUID) -> dict[int, datetime]:
        """When each log of a workspace got its newest published checkpoint."""
        return dict(self.execute(_SEALED_AT, [workspace_id]))

    def size_before(self, log_id: int, at: datetime) -> int:
        """How large the log was at that time at least: no event that came later stands before this index."""
        found = self._checkpoint("log_id = %s AND at < %s ORDER BY size DESC", [log_id, at])
        return found.checkpoint.size if found else 0

    def size_after(self, log_id: int, at: datetime) -> int | None:
        """How large the log was at that time at most; None while there is no later checkpoint."""
        found = self._checkpoint("log_id = %s AND at > %s ORDER BY size", [log_id, at])
        return found.checkpoint.size if found else None

    def positions(self, event_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """Event -> its log and its index in it; events that are not sealed are left out, as are those at no index."""
        rows = self.execute("SELECT event_id, log_id, idx FROM audit.positions(%s)", [list(event_ids)])
        return {event_id: (log_id, index) for event_id, log_id, index in rows if 0 <= index < _MOST_LEAVES}

    def position(self, event_id: UUID) -> Position | None:
        """Where one event stands; None when the sealer has not come to it."""
        found = self.positions([event_id]).get(event_id)
        return Position(*found, self.first_checkpoint_over(*found)) if found else None

    def leaves(self, log_id: int, first: int, end: int) -> list[bytes]:
        """The leaf hashes from `first` up to `end`."""
        rows = self.execute(
            "SELECT COALESCE(hash, '') FROM audit.leaves(%s, %s, %s) ORDER BY idx", [log_id, first, end]
        )
        return [bytes(value) for (value,) in rows]

    def tile(self, log_id: int, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of a tile of c2sp.org/tlog-tiles; the log must have as many at that level."""
        first = number * TILE_WIDTH
        if level:
            # Full or not, each hash of it is the root of a full tile below: one query instead of 256.
            self._fetch(log_id, level - 1, range(first, first + width))
        size = (first + width) << TILE_HEIGHT * level
        return b"".join(self._entries(log_id, size, level, first, first + width))

    def entry_ids(self, log_id: int, first: int, end: int) -> list[UUID]:
        """Whose leaves stand from `first` up to `end`, in order. Of a workspace's log every leaf is an event's."""
        rows = self.execute("SELECT event_id FROM audit.leaves(%s, %s, %s) ORDER BY idx", [log_id, first, end])
        return [event_id for (event_id,) in rows]

    def inclusion(self, log_id: int, index: int, size: int) -> list[bytes]:
        """The inclusion proof of a leaf in the tree of this size."""
        return inclusion_proof(self.reader(log_id, size), index, size)

    def reader(self, log_id: int, size: int) -> Callable[[int, int], bytes]:
        """`read(level, index)` of a log's whole nodes below this size, for the proofs of `audit.merkle`."""

        def read(level: int, index: int) -> bytes:
            height, within = divmod(level, TILE_HEIGHT)
            first = index << within
            return tree_root(self._entries(log_id, size, height, first, first + (1 << within)))

        return read

    def _entries(self, log_id: int, size: int, height: int, first: int, end: int) -> list[bytes]:
        """Neighboring hashes of one level of tiles, all of one tile."""
        number = first // TILE_WIDTH
        if (number + 1) << TILE_HEIGHT * (height + 1) <= size:
            data = self._tile(log_id, height, number)
            return hashes_of(data)[first % TILE_WIDTH : (end - 1) % TILE_WIDTH + 1]
        if height == 0:
            found = self.leaves(log_id, first, end)
            if [len(value) for value in found] != [HASH_BYTES] * (end - first):
                raise DamagedLog.by(f"Leaves between {first} and {end} of log {log_id} are missing or damaged")
            return found
        # An unfinished tile is stored nowhere: its hashes are the roots of the full ones below.
        return [tree_root(hashes_of(self._tile(log_id, height - 1, below))) for below in range(first, end)]

    def _tile(self, log_id: int, height: int, number: int) -> bytes:
        key = (log_id, height, number)
        if key not in self._tiles:
            self._fetch(log_id, height, [number])
        if len(self._tiles.get(key, b"")) != TILE_WIDTH * HASH_BYTES:
            raise DamagedLog.by(f"Tile {height}/{number} of log {log_id} is missing or damaged")
        return self._tiles[key]

    def _fetch(self, log_id: int, height: int, numbers: Sequence[int]) -> None:
        rows = self.execute(
            "SELECT n, COALESCE(data, '') FROM audit.tiles(%s, %s, %s)", [log_id, height, list(numbers)]
        )
        self._tiles |= {(log_id, height, number): bytes(data) for number, data in rows}

    def _checkpoint(self, condition: str, parameters: Sequence[Any]) -> SignedCheckpoint | None:
        for stored in self.execute(f"{_CHECKPOINT} {condition} LIMIT 1", parameters):
            return _read(*stored)
        return None


def _read(log_id: int, origin: str, size: int, note: str, *rest: Any) -> SignedCheckpoint:
    """A stored checkpoint. Raises `DamagedLog` for one that is none, or of another log or size than it is found by."""
    try:
        found = Checkpoint.parse(note)
    except BadNote as error:
        raise DamagedLog.by(f"What is stored as checkpoint {size} is none: {error}") from error
    if (found.origin, found.size) != (origin, size) or size < 1:
        raise DamagedLog.by(
            f"What is stored as checkpoint {size} of {origin} is checkpoint {found.size} of {found.origin[:_SHOWN]}"
        )
    return SignedCheckpoint(log_id, found, *rest)


_SHOWN = 200  # characters
_MOST_LEAVES = 1 << 62
# Whoever owns the table can take NOT NULL away.
_STORED = """
COALESCE((SELECT origin FROM audit.log WHERE id = log_id), ''), size, COALESCE(note, ''), signatures, COALESCE(cosignatures, ''), COALESCE(at, '-infinity'), instance_idx
"""
_CHECKPOINT = f"SELECT log_id, {_STORED} FROM audit.checkpoint WHERE signatures IS NOT NULL AND"  # noqa: S608  composed of constants
_CHECKPOINTS_OVER = f"""
SELECT log_id, wanted.idx, {_STORED}
FROM unnest(%s::bigint[], %s::bigint[]) AS wanted (log, idx) CROSS JOIN LATERAL (
  SELECT * FROM audit.checkpoint AS checkpoint
  WHERE checkpoint.log_id = wanted.log AND checkpoint.size > wanted.idx AND checkpoint.signatures IS NOT NULL
  ORDER BY checkpoint.size LIMIT 1
) AS sealed
"""  # noqa: S608  composed of constants
_SEALED_AT = """
SELECT log.id, newest.at FROM audit.log AS log CROSS JOIN LATERAL (
  SELECT at FROM audit.checkpoint AS checkpoint
  WHERE checkpoint.log_id = log.id AND checkpoint.signatures IS NOT NULL ORDER BY checkpoint.size DESC LIMIT 1
) AS newest WHERE log.workspace_id = %s
"""


def django_tree() -> Tree:
    """Over Django's own connection, in whatever scope and role it has."""
    from provenance.db import ask  # noqa: PLC0415  commands use the rest of this module without Django's ORM

    return Tree(ask)
