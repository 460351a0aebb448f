"""How one log grows: leaves in, full tiles and a checkpoint out. Pure, apart from asking for what was stored before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from audit.merkle import HASH_BYTES, Frontier, tree_root
from audit.notes import Checkpoint

TILE_WIDTH = 256
TILE_HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """256 neighboring hashes of one level of tiles, as c2sp.org/tlog-tiles lays them out."""

    level: int
    n: int
    data: bytes


@dataclass(slots=True)
class Log:
    """One log as the sealer has it in memory: its right edge, and the hashes of each level's unfinished tile."""

    id: int
    origin: str
    workspace_id: UUID | None
    frontier: Frontier = field(default_factory=Frontier)
    unfinished: list[list[bytes]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self.frontier.size

    def append(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add leaf hashes; the tiles that they complete."""
        tiles: list[Tile] = []
        start = self.size
        for (level, index), node in self.frontier.append(leaves):
            if level % TILE_HEIGHT == 0:
                self._add(level // TILE_HEIGHT, index, node, tiles)
        for number, leaf in enumerate(leaves, start=start):
            self._add(0, number, leaf, tiles)
        return tiles

    def checkpoint(self) -> Checkpoint:
        """What it is now."""
        return Checkpoint(self.origin, self.size, self.frontier.root())

    def _add(self, level: int, index: int, value: bytes, tiles: list[Tile]) -> None:
        while len(self.unfinished) <= level:
            self.unfinished.append([])
        hashes = self.unfinished[level]
        hashes.append(value)
        if len(hashes) == TILE_WIDTH:
            tiles.append(Tile(level, index // TILE_WIDTH, b"".join(hashes)))
            hashes.clear()


def unfinished_tiles(size: int, leaves: Sequence[bytes], tile: Callable[[int, int], bytes]) -> list[list[bytes]]:
    """The hashes of each level's unfinished tile of a log of this size.

    `leaves`: those after the last full tile of level 0. `tile(level, n)` is a full tile's data.
    """
    levels = [list(leaves)]
    level = 1
    while whole := size >> TILE_HEIGHT * level:
        first = whole // TILE_WIDTH * TILE_WIDTH
        levels.append([tree_root(hashes_of(tile(level - 1, n))) for n in range(first, whole)])
        level += 1
    return levels


def hashes_of(data: bytes) -> list[bytes]:
    """The hashes that a tile holds."""
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]
