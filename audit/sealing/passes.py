"""What one pass of the sealer takes: which transactions count, and in what order their events go into the log. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from audit.glance import Row

HEARTBEAT = timedelta(hours=1)
"""A log that has nothing to tell says so this often, so that silence means trouble."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`pg_snapshot`: which transactions had ended. Everything below `xmax` but `running`."""

    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read `xmin:xmax:xip,…`."""
        _xmin, xmax, running = text.split(":")
        return cls(int(xmax), tuple(int(xid) for xid in running.split(",") if xid))

    def advanced(self, now: "Snapshot", cut: int) -> "Snapshot":
        """What is sealed when, after this, all that `now` shows of transactions below `cut` is sealed too."""
        if cut >= self.xmax:
            return Snapshot(cut, tuple(xid for xid in now.running if xid < cut))
        return Snapshot(self.xmax, tuple(xid for xid in self.running if xid >= cut or xid in now.running))

    @property
    def text(self) -> str:
        """How Postgres writes it."""
        return f"{min(self.running, default=self.xmax)}:{self.xmax}:{','.join(map(str, self.running))}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass has to seal, and up to where everything is sealed after it; None: no further than before."""

    events: list[Row]
    sealed_to: Snapshot | None
    is_more: bool = False
    is_anew: bool = False
    """It was not found by the snapshot of the pass before, which says nothing here."""
    problem: str = ""
    """What somebody did to the state that the sealer keeps."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whose transaction ids a snapshot is about."""

    system_id: int | None
    timeline: str


class Kept(NamedTuple):
    """Up to where everything is sealed: the snapshot, and between which ids an event may be sealed or not."""

    sealed: Snapshot
    sealed_before: UUID
    sealed_maybe: UUID


@dataclass(frozen=True, slots=True)
class State:
    """What a pass begins with: the row that the sealer keeps, and where it is now."""

    owner: str
    fence: int
    kept: Kept
    now: Snapshot
    known: Cluster
    here: Cluster

    @classmethod
    def parse(cls, row: Sequence[Any]) -> "State":
        """Read the columns of `sealer_sql.STATE`."""
        owner, fence, sealed, before, maybe, now, *clusters = row
        kept = Kept(Snapshot.parse(sealed), before, maybe)
        return cls(owner, fence, kept, Snapshot.parse(now), Cluster(*clusters[:2]), Cluster(*clusters[2:]))


def in_order(events: Sequence[Row]) -> list[Row]:
    """By their ids, so by time; but the changes of one object by its revisions, whatever the clocks of hosts say."""
    ordered = sorted(events, key=itemgetter(0))
    slots: dict[tuple[str, str, str | None], list[int]] = defaultdict(list)
    for number, event in enumerate(ordered):
        if event.op != "read" and event.rev is not None:
            slots[event.object_type, event.object_id, event.run_id].append(number)
    for numbers in slots.values():
        # Sorting is stable: several events of one revision stay in the order of their ids.
        changes = sorted((ordered[number] for number in numbers), key=lambda event: event.rev or 0)
        for number, event in zip(numbers, changes, strict=True):
            ordered[number] = event
    return ordered
