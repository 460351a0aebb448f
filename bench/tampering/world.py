"""A sealed log that is changed, looked at and put back, on a database of its own."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from audit.anchors.directory import DirectoryAnchor
from audit.envelope import ObjectFacts, build, storing
from audit.judging import checkpoint_entry, event_entry
from audit.merkle import leaf_hash
from audit.notes import LogSigner
from audit.sealer import Sealer
from audit.sealing.growth import Log
from audit.sealing.log_keys import LogKeys
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.verifying import verification
from audit.verifying.fsck import Fsck
from audit.verifying.verification import Verification, Wanted
from bench.events import make_workspace
from bench.guards import past_the_guards
from provenance.actor import Actor
from provenance.ids import uuid7

PASSES = (3, 120, 1, 150, 30)
"""Events of each pass: full and unfinished tiles, checkpoints close together and far apart."""
TABLES = ("event", "detail", "leaf", "tile", "checkpoint")

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be found: an index of a log, or only that the database is not what was published.

    `or_else`: where nothing but the signed roots tells, the place is known only up to the checkpoint before. `by_fsck`: no
    signature is about it (an edge kept for speed, leaves after the last checkpoint).
    """

    origin: str = ""
    index: int | None = None
    or_else: int | None = None
    by_fsck: bool = False


Mutate = Callable[["World", random.Random], Expected]


@dataclass(slots=True)
class World:
    """A sealed log that is changed, looked at and put back, on a database of its own."""

    owner: psycopg.Connection[Any]
    sealer: Connect
    worker: Connect
    keys: Callable[[str], KeyRing]
    signer: LogSigner
    installation: str
    kept: Path
    workspace_id: UUID = field(init=False)
    other_id: UUID = field(init=False)
    ids: list[UUID] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    instance_size: int = 0
    _reader: psycopg.Connection[Any] | None = None

    def __post_init__(self) -> None:
        """Two workspaces."""
        self.workspace_id, self.other_id = make_workspace(self.owner), make_workspace(self.owner)

    @property
    def origin(self) -> str:
        """The log that most changes are about."""
        return f"{self.installation}/{self.workspace_id}"

    @property
    def instance(self) -> str:
        """The log of logs."""
        return f"{self.installation}/instance"

    @property
    def anchor(self) -> DirectoryAnchor:
        """What is kept outside of the database."""
        return DirectoryAnchor(self.kept)

    def fill(self) -> None:
        """Tell and seal, pass by pass, and remember what is there."""
        for count in PASSES:
            self._tell(self.workspace_id, count)
            self._tell(self.other_id, 2)
            self._seal()
        rows = self.rows(
            "SELECT event_id FROM audit.leaf JOIN audit.log ON log.id = log_id WHERE origin = %s ORDER BY idx",
            self.origin,
        )
        self.ids = [event_id for (event_id,) in rows]
        self.sizes = [size for (size,) in self.rows(SIZES, self.origin)]
        self.instance_size = self.rows(SIZES, self.instance)[-1][0]

    @contextmanager
    def laid_open(self) -> Iterator[None]:
        """Guards off and a copy to put back from, until the end."""
        for table in TABLES:
            self.owner.execute(f"CREATE TABLE public.kept_{table} AS TABLE audit.{table}")
        # Nobody writes here, so what is looked at twice need not be waited for.
        patience, verification.LOOK_AGAIN_SECONDS = verification.LOOK_AGAIN_SECONDS, 0.0
        try:
            with past_the_guards(self.owner, *(f"audit.{table}" for table in TABLES)):
                yield
        finally:
            verification.LOOK_AGAIN_SECONDS = patience
            if self._reader is not None:
                self._reader.close()
            for table in TABLES:
                self.owner.execute(f"DROP TABLE public.kept_{table}")

    def put_back(self) -> None:
        """Everything as it was sealed."""
        with self.owner.transaction():
            for table in TABLES:
                self.owner.execute(f"DELETE FROM audit.{table}")  # noqa: S608  ours
                self.owner.execute(f"INSERT INTO audit.{table} SELECT * FROM public.kept_{table}")  # noqa: S608  ours

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What is stored."""
        return self.owner.execute(statement, parameters).fetchall()

    def change(self, statement: str, *parameters: Any) -> None:
        """One statement of an administrator; it must have touched something."""
        done = self.owner.execute(statement, parameters)
        if done.rowcount < 1:
            raise AssertionError(f"nothing was changed by {statement}")

    def flip(self, chance: random.Random, column: str, place: str, *parameters: Any) -> int:
        """Change one bit of what is stored there, as `event WHERE id = %s`; which byte it was in."""
        table, where = place.split(" WHERE ")
        ((value,),) = self.rows(f"SELECT {column} FROM audit.{place}", *parameters)  # noqa: S608  ours
        changed = flipped(bytes(value), chance)
        self.change(f"UPDATE audit.{table} SET {column} = %s WHERE {where}", changed, *parameters)  # noqa: S608  ours
        return next(
            number for number, (one, other) in enumerate(zip(bytes(value), changed, strict=True)) if one != other
        )

    def log_id(self, origin: str) -> int:
        """The number of a log."""
        return int(self.rows("SELECT id FROM audit.log WHERE origin = %s", origin)[0][0])

    def step_before(self, index: int) -> int:
        """The size of the last checkpoint that does not contain this leaf."""
        return max((size for size in self.sizes if size <= index), default=0)

    def look(self, expected: Expected) -> str:
        """What verification says that it should not; empty when it found what was expected."""
        if self._reader is None:
            self._reader = self.sealer()
        report = Verification(
            # One connection for all cases: to begin one, and to plan everything anew, is most of a small verification.
            connect=lambda: nullcontext(self._reader),
            keys=self.keys("sealer"),
            signer=self.signer,
            installation=self.installation,
            anchors=[self.anchor],
        ).run(Wanted())
        if expected.by_fsck:
            defects = Fsck(self._reader).run(0)
            wanted = [defect for defect in defects if defect.origin == expected.origin]
            return "" if wanted and wanted[0].index == expected.index else f"fsck says {defects[:3]}"
        if report.is_good:
            return "it verifies"
        if expected.index is None:
            return "" if report.problems else "nothing is said about what was published"
        found = [flaw.index for log in report.logs if log.origin == expected.origin for flaw in log.flaws]
        first = min(found, default=None)
        return (
            ""
            if first in {expected.index, expected.or_else}
            else f"the first index is said to be {first}, not {expected.index}: {report.logs}"
        )

    def rebuild(self, origin: str) -> None:
        """What somebody with the key of the log can do: leaves as the events are, tiles and signed roots over them."""
        log = Log(self.log_id(origin), origin, None)
        leaves = []
        for index, stored, body, mac in self.rows(_LEAVES, log.id):
            value = leaf_hash(event_entry(body.encode(), bytes(mac))) if body is not None else bytes(stored)
            leaves.append(value)
            if value != bytes(stored):
                self.change("UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s", value, log.id, index)
        self._sign_anew(log, leaves)

    def _sign_anew(self, log: Log, leaves: Sequence[bytes]) -> None:
        is_instance = log.origin == self.instance
        for size, noted_at in self.rows(
            "SELECT size, instance_idx FROM audit.checkpoint WHERE log_id = %s ORDER BY size", log.id
        ):
            for tile in log.append(leaves[log.size : size]):
                self.change(
                    "UPDATE audit.tile SET data = %s WHERE log_id = %s AND level = %s AND n = %s",
                    *(tile.data, log.id, tile.level, tile.n),
                )
            checkpoint = log.checkpoint()
            self.change(
                "UPDATE audit.checkpoint SET note = %s, signatures = %s, frontier = %s WHERE log_id = %s AND size = %s",
                *(checkpoint.text, self.signer.sign(checkpoint, is_instance=is_instance)),
                *(log.frontier.to_bytes(), log.id, size),
            )
            if not is_instance:
                self.change(
                    "UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s",
                    *(leaf_hash(checkpoint_entry(checkpoint.text)), self.log_id(self.instance), noted_at),
                )
        if not is_instance:
            self.rebuild(self.instance)

    def _tell(self, workspace_id: UUID, count: int) -> None:
        actor = Actor.system("tests", workspace_id)
        events = [
            build(
                keys=self.keys("worker"),
                actor=actor,
                event=Event.RUN_STARTED,
                target=ObjectFacts(type="run", id=str(uuid7())),
                workspace_id=workspace_id,
            )
            for _ in range(count)
        ]
        with self.worker() as worker, worker.transaction():
            worker.execute(f"SET LOCAL app.workspace_id = '{workspace_id}'")
            worker.execute(*storing(events))

    def _seal(self) -> None:
        one = Sealer(
            connect=self.sealer,
            keys=self.keys("sealer"),
            log_keys=LogKeys(self.signer),
            origin=self.installation,
            places=[self.anchor],
        )
        try:
            while one.work():
                pass
            for courier in one.couriers:
                courier.deliver()
        finally:
            one.close()


def to_one(*statements: str) -> Mutate:
    """One of these statements about one event of the log, or about its detail."""

    def mutate(world: World, chance: random.Random) -> Expected:
        index = chance.randrange(len(world.ids))
        world.change(chance.choice(statements), world.ids[index])
        return Expected(world.origin, index)

    return mutate


def bit_of(column: str, place: str) -> Mutate:
    """One bit of this column of one event, or of its detail."""

    def mutate(world: World, chance: random.Random) -> Expected:
        index = chance.randrange(len(world.ids))
        world.flip(chance, column, place, world.ids[index])
        return Expected(world.origin, index)

    return mutate


def flipped(value: bytes, chance: random.Random) -> bytes:
    """With one bit changed."""
    place = chance.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]


SIZES = "SELECT size FROM audit.checkpoint JOIN audit.log ON log.id = log_id WHERE origin = %s ORDER BY size"
_LEAVES = """
SELECT idx, hash, body, mac FROM audit.leaf LEFT JOIN audit.event ON event.id = event_id
WHERE log_id = %s ORDER BY idx
"""
