"""Random changes of a sealed log by every power that the design names, and whether each is found, at its first index.

Section 5 of the design: a database administrator without keys, the host of the application with the MAC keys, the host of
the sealer with the log's keys, all of them together, and whoever restores a backup. The tests play a short seeded form,
`./manage.py bench audit-tamper` the long one.
"""

import base64
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg

from audit.anchors import DirectoryAnchor
from audit.envelope import ObjectFacts, build, insert_rows
from audit.fsck import Fsck
from audit.growth import Log
from audit.judging import checkpoint_entry, event_entry
from audit.log_keys import LogKeys
from audit.merkle import leaf_hash
from audit.notes import Checkpoint, LogSigner
from audit.sealer import Sealer
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.verification import Verification, Wanted
from provenance.actor import Actor
from provenance.canonical import canonical_json
from provenance.ids import uuid7

PASSES = (3, 120, 1, 150, 30)
"""Events of each pass: full and unfinished tiles, checkpoints close together and far apart."""
TABLES = ("event", "leaf", "tile", "checkpoint")
VACUUM_EVERY = 100

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
class Outcome:
    """How many changes there were of each kind, and what was not found as it should be."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


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
    workspace_id: UUID = field(default_factory=uuid7)
    other_id: UUID = field(default_factory=uuid7)
    ids: list[UUID] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    instance_size: int = 0

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
        self.sizes = [size for (size,) in self.rows(_SIZES, self.origin)]
        self.instance_size = self.rows(_SIZES, self.instance)[-1][0]

    @contextmanager
    def laid_open(self) -> Iterator[None]:
        """Guards off and a copy to put back from, until the end."""
        for table in TABLES:
            self.owner.execute(f"ALTER TABLE audit.{table} DISABLE TRIGGER USER")
            self.owner.execute(f"CREATE TABLE public.kept_{table} AS TABLE audit.{table}")
        try:
            yield
        finally:
            for table in TABLES:
                self.owner.execute(f"DROP TABLE public.kept_{table}")
                for (trigger,) in self.rows(_TRIGGERS, f"audit.{table}"):
                    self.owner.execute(f"ALTER TABLE audit.{table} ENABLE ALWAYS TRIGGER {trigger}")

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

    def log_id(self, origin: str) -> int:
        """The number of a log."""
        return int(self.rows("SELECT id FROM audit.log WHERE origin = %s", origin)[0][0])

    def step_before(self, index: int) -> int:
        """The size of the last checkpoint that does not contain this leaf."""
        return max((size for size in self.sizes if size <= index), default=0)

    def look(self, expected: Expected) -> str:
        """What verification says that it should not; empty when it found what was expected."""
        report = Verification(
            connect=self.sealer,
            keys=self.keys("sealer"),
            signer=self.signer,
            installation=self.installation,
            anchors=[self.anchor],
        ).run(Wanted())
        if expected.by_fsck:
            with self.sealer() as connection:
                defects = Fsck(connection).run(0)
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
            worker.execute(*insert_rows(events))

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


def play(world: World, *, seed: int, cases: int, told: Callable[[int], None] = lambda _done: None) -> Outcome:
    """That many changes, one after the other; what was missed names seed and case, so that it can be played again."""
    outcome = Outcome()
    kinds = list(MUTATIONS)
    with world.laid_open():
        for case in range(cases):
            # Each case has a seed of its own, and every kind its turn.
            kind = kinds[case % len(kinds)]
            expected = MUTATIONS[kind](world, random.Random(f"{seed}:{case}"))  # noqa: S311  to be played again
            if problem := world.look(expected):
                outcome.missed.append(f"{kind} (seed {seed}, case {case}): {problem}")
            outcome.counts[kind] += 1
            world.put_back()
            if case % VACUUM_EVERY == VACUUM_EVERY - 1:
                world.owner.execute("VACUUM " + ", ".join(f"audit.{table}" for table in TABLES))
            told(case + 1)
        if not world.look(Expected(world.origin, 0)).startswith("it verifies"):
            outcome.missed.append("the log that was put back does not verify")
    return outcome


# --- A database administrator, without any key -----------------------------------------------------------------------


def _flipped(value: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]


def _body_bit(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    ((body,),) = world.rows("SELECT body FROM audit.event WHERE id = %s", world.ids[index])
    while True:
        changed = _flipped(body.encode(), chance)
        if changed.isascii() and b"\0" not in changed:
            break
    world.change("UPDATE audit.event SET body = %s WHERE id = %s", changed.decode(), world.ids[index])
    return Expected(world.origin, index)


def _mac_bit(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    ((mac,),) = world.rows("SELECT mac FROM audit.event WHERE id = %s", world.ids[index])
    world.change("UPDATE audit.event SET mac = %s WHERE id = %s", _flipped(bytes(mac), chance), world.ids[index])
    return Expected(world.origin, index)


_COLUMNS = {
    "object_type": "'tool'",
    "object_id": "object_id || 'x'",
    "rev": "COALESCE(rev, 0) + 1",
    "op": "'update'",
    "changed": "changed || 'status'::text",
    "action": "'run.succeeded'",
    "actor_id": "actor_id || 'x'",
    "actor_type": "'user'",
    "outcome": "'failure'",
    "risk": "'critical'",
    "run_id": "id",
    "kid": "'worker-77'",
    "workspace_id": "NULL",
}


def _one_column(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    column = chance.choice(sorted(_COLUMNS))
    world.change(f"UPDATE audit.event SET {column} = {_COLUMNS[column]} WHERE id = %s", world.ids[index])  # noqa: S608  our own columns
    return Expected(world.origin, index)


def _delete_event(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.event WHERE id = %s", world.ids[index])
    return Expected(world.origin, index)


def _delete_leaf(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx = %s", world.log_id(world.origin), index)
    return Expected(world.origin, index)


def _delete_and_close_the_gap(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids) - 1), world.log_id(world.origin)
    world.change("DELETE FROM audit.event WHERE id = %s", world.ids[index])
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx = %s", log_id, index)
    _shift(world, log_id, index, -1)
    # After the last checkpoint that is still whole, only the end tells that there is one leaf less.
    is_at_the_end = index >= world.sizes[-2]
    return Expected(world.origin, index, len(world.ids) - 1 if is_at_the_end else world.step_before(index))


def _insert_between(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids)), world.log_id(world.origin)
    forged = _copy_of(world, world.ids[index], mac=chance.randbytes(32))
    _shift(world, log_id, index - 1, 1)
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", forged)
    world.change(
        "INSERT INTO audit.leaf (log_id, idx, hash, event_id) VALUES (%s, %s, %s, %s)",
        *(log_id, index, leaf_hash(event_entry(body.encode(), bytes(mac))), forged),
    )
    return Expected(world.origin, index)


def _append_behind_the_checkpoint(world: World, chance: random.Random) -> Expected:
    forged = _copy_of(world, world.ids[0], mac=chance.randbytes(32))
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", forged)
    size = len(world.ids)
    world.change(
        "INSERT INTO audit.leaf (log_id, idx, hash, event_id) VALUES (%s, %s, %s, %s)",
        *(world.log_id(world.origin), size, leaf_hash(event_entry(body.encode(), bytes(mac))), forged),
    )
    return Expected(world.origin, size, by_fsck=True)


def _swap_leaves(world: World, chance: random.Random) -> Expected:
    log_id, (first, second) = world.log_id(world.origin), sorted(chance.sample(range(len(world.ids)), 2))
    for before, after in ((first, 1 << 40), (second, first), (1 << 40, second)):
        world.change("UPDATE audit.leaf SET idx = %s WHERE log_id = %s AND idx = %s", after, log_id, before)
    return Expected(world.origin, first, world.step_before(first))


def _swap_events(world: World, chance: random.Random) -> Expected:
    first, second = sorted(chance.sample(range(len(world.ids)), 2))
    (one,), (other,) = (
        world.rows("SELECT body, mac FROM audit.event WHERE id = %s", world.ids[index]) for index in (first, second)
    )
    for values, index in ((other, first), (one, second)):
        world.change("UPDATE audit.event SET body = %s, mac = %s WHERE id = %s", *values, world.ids[index])
    return Expected(world.origin, first)


def _cut_the_tail(world: World, chance: random.Random) -> Expected:
    size = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx >= %s", world.log_id(world.origin), size)
    world.change("DELETE FROM audit.event WHERE id = ANY (%s)", world.ids[size:])
    return Expected(world.origin, size)


def _leaf_bit(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids)), world.log_id(world.origin)
    ((value,),) = world.rows("SELECT hash FROM audit.leaf WHERE log_id = %s AND idx = %s", log_id, index)
    world.change(
        "UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s", _flipped(bytes(value), chance), log_id, index
    )
    return Expected(world.origin, index)


def _tile_bit(world: World, chance: random.Random) -> Expected:
    log_id = world.log_id(world.origin)
    ((data,),) = world.rows("SELECT data FROM audit.tile WHERE log_id = %s AND level = 0 AND n = 0", log_id)
    changed = _flipped(bytes(data), chance)
    world.change("UPDATE audit.tile SET data = %s WHERE log_id = %s AND level = 0 AND n = 0", changed, log_id)
    place = next(offset for offset, (one, other) in enumerate(zip(bytes(data), changed, strict=True)) if one != other)
    return Expected(world.origin, place // 32)


def _edge_bit(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((edge,),) = world.rows("SELECT frontier FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    world.change(
        "UPDATE audit.checkpoint SET frontier = %s WHERE log_id = %s AND size = %s",
        *(_flipped(bytes(edge), chance), log_id, size),
    )
    return Expected(world.origin, size - 1, by_fsck=True)


def _checkpoint_root(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((note,),) = world.rows("SELECT note FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    origin, count, root, _end = note.split("\n")
    changed = base64.b64encode(_flipped(base64.b64decode(root), chance)).decode()
    world.change(
        "UPDATE audit.checkpoint SET note = %s WHERE log_id = %s AND size = %s",
        *(f"{origin}\n{count}\n{changed}\n", log_id, size),
    )
    return Expected(world.origin, size - 1)


def _signature_bit(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((line,),) = world.rows("SELECT signatures FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    head, _, encoded = line.removesuffix("\n").rpartition(" ")
    changed = base64.b64encode(_flipped(base64.b64decode(encoded), chance)).decode()
    world.change(
        "UPDATE audit.checkpoint SET signatures = %s WHERE log_id = %s AND size = %s",
        *(f"{head} {changed}\n", log_id, size),
    )
    return Expected(world.origin, size - 1)


def _log_of_logs_bit(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(world.instance_size), world.log_id(world.instance)
    ((value,),) = world.rows("SELECT hash FROM audit.leaf WHERE log_id = %s AND idx = %s", log_id, index)
    world.change(
        "UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s", _flipped(bytes(value), chance), log_id, index
    )
    return Expected(world.instance, index)


def _drop_a_checkpoint(world: World, chance: random.Random) -> Expected:
    size = chance.choice(world.sizes[:-1])
    world.change("DELETE FROM audit.checkpoint WHERE log_id = %s AND size = %s", world.log_id(world.origin), size)
    return Expected()


# --- The application's host: it can sign events ----------------------------------------------------------------------


def _told_anew(world: World, event_id: UUID, chance: random.Random, *, process: str = "worker") -> None:
    """The same event with another story, well signed, and columns that say so."""
    ((body,),) = world.rows("SELECT body FROM audit.event WHERE id = %s", event_id)
    said = orjson.loads(body)
    key = world.keys(process).signing_key(world.workspace_id)
    said["kid"] = key.kid
    said["object"]["id"] = f"forged-{chance.randrange(1 << 30)}"
    text = canonical_json(said)
    world.change(
        "UPDATE audit.event SET body = %s, mac = %s, kid = %s, object_id = %s WHERE id = %s",
        *(text.decode(), key.mac(text), key.kid, said["object"]["id"], event_id),
    )


def _sign_another_story(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    _told_anew(world, world.ids[index], chance)
    return Expected(world.origin, index)


def _sign_with_another_key(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    _told_anew(world, world.ids[index], chance, process=chance.choice(["web", "gateway"]))
    return Expected(world.origin, index)


def _sign_and_adjust_the_leaf(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids)), world.log_id(world.origin)
    _told_anew(world, world.ids[index], chance)
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", world.ids[index])
    value = leaf_hash(event_entry(body.encode(), bytes(mac)))
    world.change("UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s", value, log_id, index)
    if index < 256:
        ((data,),) = world.rows("SELECT data FROM audit.tile WHERE log_id = %s AND level = 0 AND n = 0", log_id)
        changed = bytes(data[: index * 32]) + value + bytes(data[index * 32 + 32 :])
        world.change("UPDATE audit.tile SET data = %s WHERE log_id = %s AND level = 0 AND n = 0", changed, log_id)
    return Expected(world.origin, index, world.step_before(index))


# --- The sealer's host: it can sign checkpoints ----------------------------------------------------------------------


def _seal_a_false_event(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    column = chance.choice(["risk", "outcome", "actor_id"])
    world.change(f"UPDATE audit.event SET {column} = {_COLUMNS[column]} WHERE id = %s", world.ids[index])  # noqa: S608  our own columns
    world.change("UPDATE audit.event SET mac = %s WHERE id = %s", chance.randbytes(32), world.ids[index])
    world.rebuild(world.origin)
    return Expected(world.origin, index)


def _sign_with_a_key_of_ones_own(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((note,),) = world.rows("SELECT note FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    stranger = LogSigner(chance.randbytes(32), chance.randbytes(32))
    world.change(
        "UPDATE audit.checkpoint SET signatures = %s WHERE log_id = %s AND size = %s",
        *(stranger.sign(Checkpoint.parse(note), is_instance=False), log_id, size),
    )
    return Expected(world.origin, size - 1)


# --- All of them together, and whoever restores a backup -------------------------------------------------------------


def _fork(world: World, chance: random.Random) -> Expected:
    _told_anew(world, chance.choice(world.ids), chance)
    world.rebuild(world.origin)
    return Expected()


def _roll_back(world: World, chance: random.Random) -> Expected:
    """Both logs as they were after an earlier pass."""
    passes = chance.randrange(1, len(world.sizes))
    for origin in (world.origin, f"{world.installation}/{world.other_id}", world.instance):
        log_id = world.log_id(origin)
        sizes = [size for (size,) in world.rows(_SIZES, origin)]
        size = sizes[passes - 1]
        world.change("DELETE FROM audit.checkpoint WHERE log_id = %s AND size > %s", log_id, size)
        world.owner.execute("DELETE FROM audit.tile WHERE log_id = %s AND n >= %s", (log_id, size >> 8))
        world.owner.execute(
            "DELETE FROM audit.event WHERE id IN (SELECT event_id FROM audit.leaf WHERE log_id = %s AND idx >= %s)",
            (log_id, size),
        )
        world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx >= %s", log_id, size)
    return Expected()


MUTATIONS: dict[str, Mutate] = {
    "database: a bit of a body": _body_bit,
    "database: a bit of a MAC": _mac_bit,
    "database: one column": _one_column,
    "database: an event deleted": _delete_event,
    "database: a leaf deleted": _delete_leaf,
    "database: an event deleted and the gap closed": _delete_and_close_the_gap,
    "database: an event put in between": _insert_between,
    "database: an event put behind the checkpoint": _append_behind_the_checkpoint,
    "database: two leaves swapped": _swap_leaves,
    "database: two events swapped": _swap_events,
    "database: the tail cut": _cut_the_tail,
    "database: a bit of a leaf": _leaf_bit,
    "database: a bit of a tile": _tile_bit,
    "database: a bit of a stored edge": _edge_bit,
    "database: a bit of a root": _checkpoint_root,
    "database: a bit of a signature": _signature_bit,
    "database: a bit of the log of logs": _log_of_logs_bit,
    "database: a checkpoint dropped": _drop_a_checkpoint,
    "application: another story, well signed": _sign_another_story,
    "application: signed by another process": _sign_with_another_key,
    "application: another story, and its leaf": _sign_and_adjust_the_leaf,
    "sealer: a false event sealed anew": _seal_a_false_event,
    "sealer: a key of one's own": _sign_with_a_key_of_ones_own,
    "together: a fork": _fork,
    "backup: rolled back": _roll_back,
}


def _shift(world: World, log_id: int, after: int, by: int) -> None:
    # In two steps, because Postgres looks at the key row by row.
    far = 1 << 40
    world.owner.execute("UPDATE audit.leaf SET idx = idx + %s WHERE log_id = %s AND idx > %s", (far, log_id, after))
    world.owner.execute("UPDATE audit.leaf SET idx = idx - %s WHERE log_id = %s AND idx > %s", (far - by, log_id, far))


def _copy_of(world: World, event_id: UUID, *, mac: bytes) -> UUID:
    """A stored event that nobody signed, told like another one."""
    made = uuid7()
    world.change(
        """INSERT INTO audit.event SELECT (jsonb_populate_record(event, jsonb_build_object('id', %s::text,
             'body', replace(body, id::text, %s::text)))).* FROM audit.event WHERE id = %s""",
        *(made, made, event_id),
    )
    world.change("UPDATE audit.event SET mac = %s WHERE id = %s", mac, made)
    return made


_TRIGGERS = "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
_SIZES = "SELECT size FROM audit.checkpoint JOIN audit.log ON log.id = log_id WHERE origin = %s ORDER BY size"
_LEAVES = """
SELECT idx, hash, body, mac FROM audit.leaf LEFT JOIN audit.event ON event.id = event_id
WHERE log_id = %s ORDER BY idx
"""
