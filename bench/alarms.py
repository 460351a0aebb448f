"""No false alarm: a log that is written, sealed, killed and verified all at the same time, and is whole in the end.

16 writers with rollbacks, savepoints and transactions that stay open; writers and the sealer are killed with SIGKILL again
and again; verification runs meanwhile. Every event whose COMMIT was answered must be sealed exactly once, nothing that was
rolled back may be, and no verification may complain. The tests play a short form, `./manage.py bench audit-alarms` the
long one.
"""

import json
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from audit.envelope import ObjectFacts, build, storing
from audit.notes import LogSigner
from audit.sealer import Sealer
from audit.sealing import lease
from audit.sealing.log_keys import LogKeys
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.verifying.fsck import Fsck
from audit.verifying.verification import Verification, Wanted
from bench.events import make_workspace
from provenance.actor import Actor

MOST_OF_A_TRANSACTION = 40
OPEN_SECONDS = 0.3
DRAIN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Play:
    """How much of everything."""

    seed: int
    events: int
    writers: int
    kills: int
    pause_seconds: float = 0.0


@dataclass(slots=True)
class Result:
    """What came of it. `alarms`: what a verification said although nobody did anything."""

    committed: int = 0
    unsure: int = 0
    sealed: int = 0
    killed_writers: int = 0
    killed_sealers: int = 0
    verifications: int = 0
    alarms: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Stage:
    """A database and what its processes need. They are started anew and not forked: each has nothing of another one.

    `urls`: of `owner`, `sealer` and `worker`. `mac_keys`: key id -> base64. `seeds`: of the log's two keys.
    """

    urls: Mapping[str, str]
    mac_keys: Mapping[str, str]
    seeds: tuple[bytes, bytes]
    installation: str
    folder: Path
    # How long a killed sealer keeps its lease.
    lease_seconds: float = lease.LEASE_SECONDS
    workspaces: Sequence[UUID] = field(init=False)

    def __post_init__(self) -> None:
        """Three workspaces, into which the writers share."""
        with self.connect("owner") as owner:
            self.workspaces = tuple(make_workspace(owner) for _ in range(3))

    def connect(self, role: str) -> psycopg.Connection[Any]:
        """A connection in autocommit."""
        return psycopg.connect(self.urls[role], autocommit=True)

    def keys(self, process: str) -> KeyRing:
        """Every MAC key, to sign as this process."""
        return KeyRing.parse(self.mac_keys, process)

    def play(self, wanted: Play) -> Result:
        """All of it; returns when everything that was committed is sealed, or says in `alarms` that it is not."""
        result = Result()
        done = threading.Event()
        verifier = threading.Thread(target=self._verify_again_and_again, args=(done, result))
        context = multiprocessing.get_context("spawn")
        sealer = self._sealer(context)
        chance = random.Random(wanted.seed)  # noqa: S311  to be played again
        each = wanted.events // wanted.writers
        writers = [self._writer(context, number, each, wanted) for number in range(wanted.writers)]
        verifier.start()
        seen = 0
        try:
            number = wanted.writers
            for kill in range(wanted.kills):
                self._until_written(wanted.events * (kill + 1) // (wanted.kills + 1), writers)
                if kill % 2:
                    # One that was at work: else sealers would be killed while they start, and nothing would be sealed.
                    self._until_sealing(seen, writers)
                    seen = self._checkpoints()
                    sealer.kill()
                    sealer.join()
                    sealer = self._sealer(context)
                    result.killed_sealers += 1
                elif alive := [index for index, writer in enumerate(writers) if writer.is_alive()]:
                    index = chance.choice(alive)
                    writers[index].kill()
                    writers[index].join()
                    # Another one goes on with what it had left.
                    left = each - self._written_by(index)
                    writers.append(self._writer(context, number, max(0, left), wanted))
                    number += 1
                    result.killed_writers += 1
            self._killed.touch()
            for writer in writers:
                writer.join()
                if writer.exitcode not in {0, -signal.SIGKILL}:
                    result.alarms.append(f"a writer ended with {writer.exitcode}")
            self._wait_until_sealed(result)
        finally:
            done.set()
            verifier.join()
            for writer in writers:
                writer.kill()
            sealer.terminate()
            sealer.join()
        self._compare(result)
        self._verify(result, everything=True)
        return result

    def _sealer(self, context: Any) -> Any:
        sealer = context.Process(target=_seal, args=(self,), daemon=True)
        sealer.start()
        return sealer

    # --- Writers -------------------------------------------------------------------------------------------------

    def _writer(self, context: Any, number: int, count: int, wanted: Play) -> Any:
        writer = context.Process(target=_write, args=(self, number, count, wanted), daemon=True)
        writer.start()
        return writer

    def write(self, number: int, count: int, wanted: Play) -> None:
        """Transactions until that many events are committed, and until the last process was killed: however fast they
        are, there is always somebody to kill. What is committed is noted once COMMIT was answered.
        """
        chance = random.Random(f"{wanted.seed}:{number}")  # noqa: S311  to be played again
        workspace = self.workspaces[number % len(self.workspaces)]
        keys = self.keys("worker")
        written = 0
        with self.connect("worker") as worker, self._notes(number).open("a", encoding="ascii") as notes:
            while written < count or not self._killed.exists():
                ids, kept = self._transaction(worker, keys, workspace, chance)
                if kept:
                    written += len(ids)
                notes.write(json.dumps(["committed" if kept else "not", ids]) + "\n")
                notes.flush()
                time.sleep(wanted.pause_seconds)

    def _transaction(
        self, worker: psycopg.Connection[Any], keys: KeyRing, workspace: UUID, chance: random.Random
    ) -> tuple[list[str], bool]:
        """One transaction of some kind: kept, rolled back, in part rolled back to a savepoint, or open for a while."""
        ids = []
        kind = chance.random()
        worker.execute("BEGIN")
        worker.execute(f"SET LOCAL app.workspace_id = '{workspace}'")
        ids += _tell(worker, keys, workspace, chance.randint(1, MOST_OF_A_TRANSACTION))
        if kind < 0.2:
            worker.execute("SAVEPOINT part")
            _tell(worker, keys, workspace, chance.randint(1, 5))
            worker.execute("ROLLBACK TO part")
        elif kind < 0.4:
            # Its rows carry the id of the outermost transaction, and only that is in snapshots.
            worker.execute("SAVEPOINT part")
            ids += _tell(worker, keys, workspace, chance.randint(1, 5))
            worker.execute("RELEASE part")
        elif kind < 0.45:
            time.sleep(OPEN_SECONDS * chance.random() * 4)
            ids += _tell(worker, keys, workspace, 1)
        kept = not 0.45 <= kind < 0.55
        worker.execute("COMMIT" if kept else "ROLLBACK")
        return ids, kept

    @property
    def _killed(self) -> Path:
        """There once nobody is killed any more."""
        return self.folder / "killed"

    def _notes(self, number: int) -> Path:
        return self.folder / f"writer-{number}.jsonl"

    def _noted(self) -> tuple[set[UUID], set[UUID]]:
        """What was surely committed, and what surely was not."""
        committed: set[UUID] = set()
        undone: set[UUID] = set()
        for path in self.folder.glob("writer-*.jsonl"):
            for line in path.read_text("ascii").splitlines(keepends=True):
                if line.endswith("\n"):
                    word, ids = json.loads(line)
                    (committed if word == "committed" else undone).update(map(UUID, ids))
        return committed, undone

    def _written_by(self, number: int) -> int:
        path = self._notes(number)
        lines = path.read_text("ascii").splitlines(keepends=True) if path.exists() else []
        notes = [json.loads(line) for line in lines if line.endswith("\n")]
        return sum(len(ids) for word, ids in notes if word == "committed")

    def _until_written(self, count: int, writers: Sequence[Any]) -> None:
        with self.connect("owner") as owner:
            while any(writer.is_alive() for writer in writers):
                # As the server counts: to count the rows themselves, again and again, would be most of a long run.
                if owner.execute(_WRITTEN).fetchone() >= (count,):
                    return
                time.sleep(0.05)

    def _until_sealing(self, seen: int, writers: Sequence[Any]) -> None:
        # A sealer that seals nothing at all is told at the end.
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._checkpoints() <= seen and any(writer.is_alive() for writer in writers):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _checkpoints(self) -> int:
        """How many are signed."""
        with self.connect("owner") as owner:
            ((count,),) = owner.execute("SELECT count(*) FROM audit.checkpoint WHERE signatures IS NOT NULL").fetchall()
        return int(count)

    # --- Judges --------------------------------------------------------------------------------------------------

    def _verify_again_and_again(self, done: threading.Event, result: Result) -> None:
        while not done.wait(0.2):
            self._verify(result, everything=False)

    def _verify(self, result: Result, *, everything: bool) -> None:
        report = Verification(
            connect=lambda: self.connect("sealer"),
            keys=self.keys("sealer"),
            signer=LogSigner(*self.seeds),
            installation=self.installation,
        ).run(Wanted())
        result.verifications += 1
        result.alarms += report.problems
        result.alarms += [f"{log.origin}: {flaw}" for log in report.logs for flaw in log.flaws]
        if everything:
            with self.connect("sealer") as connection:
                result.alarms += [f"fsck: {defect}" for defect in Fsck(connection).run(0)]

    def _wait_until_sealed(self, result: Result) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        with self.connect("owner") as owner:
            while owner.execute(_WAITING).fetchone() != (0,):
                if time.monotonic() > deadline:
                    result.alarms.append("committed events are never sealed")
                    return
                time.sleep(0.1)
            while owner.execute("SELECT count(*) FROM audit.checkpoint WHERE signatures IS NULL").fetchone() != (0,):
                if time.monotonic() > deadline:
                    result.alarms.append("checkpoints are never signed")
                    return
                time.sleep(0.1)

    def _compare(self, result: Result) -> None:
        """Every committed event once, and of the others none."""
        committed, undone = self._noted()
        with self.connect("owner") as owner:
            stored = {row[0] for row in owner.execute("SELECT id FROM audit.event").fetchall()}
            leaves = [row[0] for row in owner.execute("SELECT event_id FROM audit.leaf WHERE event_id IS NOT NULL")]
            alarms = owner.execute(
                "SELECT count(*) FROM audit.event WHERE action = %s", [Event.AUDIT_VERIFICATION_FAILED]
            ).fetchone()
        result.committed, result.sealed = len(committed), len(leaves)
        # Of a writer that was killed in COMMIT nobody knows; the table does.
        result.unsure = len(stored - committed)
        if len(set(leaves)) != len(leaves):
            result.alarms.append("an event is sealed twice")
        for what, found in (
            ("answered and not stored", committed - stored),
            ("stored and not sealed", stored - set(leaves)),
            ("sealed and not stored", set(leaves) - stored),
            ("rolled back and stored", undone & stored),
        ):
            if found:
                result.alarms.append(f"{len(found)} events are {what}: {min(found)}")
        if alarms != (0,):
            result.alarms.append("the sealer told of events that do not verify")


def _write(stage: Stage, number: int, count: int, wanted: Play) -> None:
    stage.write(number, count, wanted)


def _seal(stage: Stage) -> None:
    """A sealer as `run sealer` has it, until it is told to stop, or killed."""
    lease.LEASE_SECONDS = stage.lease_seconds
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Sealer(
        connect=lambda: stage.connect("sealer"),
        keys=stage.keys("sealer"),
        log_keys=LogKeys(LogSigner(*stage.seeds)),
        origin=stage.installation,
    ).run(stop)


def _tell(worker: psycopg.Connection[Any], keys: KeyRing, workspace: UUID, count: int) -> list[str]:
    actor = Actor.system("bench", workspace)
    events = [
        build(
            keys=keys,
            actor=actor,
            event=Event.RUN_STARTED,
            target=ObjectFacts(type="run", id=str(number)),
            workspace_id=workspace,
        )
        for number in range(count)
    ]
    worker.execute(*storing(events))
    return [str(event.id) for event in events]


_WRITTEN = (
    "SELECT COALESCE(sum(n_tup_ins), 0) FROM pg_stat_all_tables WHERE schemaname = 'audit' AND relname ~ '^event_'"
)
_WAITING = """
SELECT count(*) FROM audit.event WHERE NOT EXISTS (SELECT FROM audit.leaf WHERE leaf.event_id = event.id)
"""
