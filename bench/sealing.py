"""Goal 8: how long an event waits for its checkpoint, with a real sealer process, and how fast a backlog goes."""

import multiprocessing
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from audit.envelope import storing
from audit.sealer import MOST_EVENTS
from audit.sealing import sql
from audit.sealing.backlog import Backlog
from audit.sealing.passes import State
from bench import events
from bench.figures import Figure, Goal, Sample, against, interleaved, median
from bench.ground import CPU_BOUND, Ground, cpu_seconds
from provenance.collection import no_collection
from provenance.ids import uuid7, uuid7_floor

RATE = 2000
EACH = 10
"""Events of one transaction, as the gateway groups those of several calls."""
POLL_SECONDS = 0.02
WAIT_SECONDS = 120
ROUND_SECONDS = 1.0
WRITERS = 4
WARM_UP = 30


def sealing(ground: Ground, *, quick: bool) -> list[Figure]:
    """The wait at 2,000 events/s, alone and beside transactions that stay open; writers beside it; then the backlog."""
    seconds = 4 if quick else 20
    _settle(ground)
    sealer = ground.start("sealer")
    try:
        _seal_one(ground)
        used, begun = cpu_seconds(sealer.pid), time.monotonic()
        alone = _waits(ground, seconds)
        load = (cpu_seconds(sealer.pid) - used) / (time.monotonic() - begun)
        with _open_transactions(ground):
            beside = _waits(ground, seconds)
        writers = _writers(ground, sealer, rounds=12 if quick else 40)
    finally:
        sealer.terminate()
        sealer.wait(30)
    return [
        Figure(
            name=f"8 write to sealed, p99, {RATE:,} events/s",
            value=_p99(alone),
            unit="s",
            peers={"median": statistics.median(alone)},
            goal=Goal(kind="most", bound=1, of_value=True),
            note=f"the sealer used {load:.0%} of a core",
        ),
        Figure(
            name="8 the same beside open transactions",
            value=_p99(beside),
            unit="s",
            limit=_p99(alone),
            peers={"median": statistics.median(beside)},
            ratio=_p99(beside) / _p99(alone),
            goal=Goal(kind="most", bound=1, of_value=True),
            note="one in this database and one elsewhere in the cluster, both with an id and a snapshot",
        ),
        writers,
        _drain(ground, *((3, 30_000) if quick else (5, 100_000))),
    ]


def _writers(ground: Ground, sealer: subprocess.Popen[bytes], rounds: int) -> Figure:
    """Four writers as fast as they can, without a break; the sealer works and is stopped in turn."""
    used: list[float] = []
    with _writing(ground) as count:

        def rate() -> float:
            before, begun = count(), time.monotonic()
            time.sleep(ROUND_SECONDS)
            return (count() - before) / (time.monotonic() - begun)

        def beside() -> Sample:
            before = cpu_seconds(sealer.pid)
            found = rate()
            used.append((cpu_seconds(sealer.pid) - before) / ROUND_SECONDS)
            return {"rate": found}

        def alone() -> Sample:
            sealer.send_signal(signal.SIGSTOP)
            try:
                return {"rate": rate()}
            finally:
                sealer.send_signal(signal.SIGCONT)
                _wait_for_what_was_written(ground)

        found = interleaved({"beside": beside, "alone": alone}, rounds)
    each = sorted(one["rate"] / other["rate"] for one, other in zip(found["beside"], found["alone"], strict=True))
    return against(
        *(found["beside"], found["alone"], "rate"),
        name="8 writers beside the sealer",
        unit="/s",
        goal=Goal(kind="least", bound=0.9),
        note=f"limit: the same writers while the sealer is stopped; {rounds} rounds, half of them between "
        f"{each[rounds // 4]:.2f} and {each[-1 - rounds // 4]:.2f}; the sealer used {statistics.median(used):.0%} of a core",
    )


def _drain(ground: Ground, rounds: int, count: int) -> Figure:
    """A backlog is read and thrown away, and then drained; again and again."""
    read, drained, own = [], [], []
    with ground.connect("sealer") as reader:
        for _ in range(rounds):
            _fill(ground, count)
            read.append({"rate": count / _seconds_of_reading(reader, count)})
            seconds, used = _seconds_of_sealing(ground)
            drained.append({"rate": count / seconds})
            own.append({"rate": count / used})
    return against(
        *(drained, read, "rate"),
        name=f"8 drain a backlog of {count:,}",
        unit="/s",
        peers={"by its own CPU alone": median(own, "rate"), "best round": max(one["rate"] for one in drained)},
        goal=Goal(kind="least", bound=50_000, of_value=True),
        note=f"one process, beside its backend; limit: the same rows, read by the same statements; load {os.getloadavg()[0]:.1f}",
    )


def _fill(ground: Ground, count: int) -> None:
    keys, workspace = ground.keys("worker"), ground.workspace()
    with ground.connect("worker", options=CPU_BOUND) as worker:
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        for _ in range(0, count, events.AT_ONCE):
            worker.execute(*storing(events.told(keys, workspace, events.AT_ONCE)))


def _seconds_of_reading(connection: psycopg.Connection[Any], count: int) -> float:
    """How long it takes to read the backlog as the sealer does, in passes of as many events."""
    backlog, total = Backlog(MOST_EVENTS), 0
    begun = time.monotonic()
    state = State.parse(connection.execute(sql.STATE).fetchone() or ())
    is_more = True
    while is_more:
        with connection.transaction(), no_collection():
            found = backlog.found(connection, state)
        total, is_more = total + len(found.events), found.is_more
        if found.sealed_to is not None:
            state = replace(state, kept=state.kept._replace(sealed=found.sealed_to))
            backlog.leave(state.kept)
    if total < count:
        raise RuntimeError(f"the backlog has {total} of {count} events")
    return time.monotonic() - begun


def _seconds_of_sealing(ground: Ground) -> tuple[float, float]:
    """How long it takes, and how much of the processor's time this process uses for it."""
    sealer = ground.sealer()
    sealer.lead()
    begun, used = time.monotonic(), time.process_time()
    while sealer.seal():
        sealer.publish()
    sealer.publish()
    seconds, used = time.monotonic() - begun, time.process_time() - used
    sealer.close()
    return seconds, used


def _settle(ground: Ground) -> None:
    """As ten minutes after the first pass: until then each event of a new cluster is looked for among the leaves."""
    first = ground.sealer()
    first.lead()
    first.seal()
    first.publish()
    first.close()
    with ground.connect("postgres") as admin:
        admin.execute("UPDATE audit.sealer SET sealed_maybe = %s", [uuid7_floor(datetime.now(UTC))])


def _seal_one(ground: Ground) -> None:
    """Wait until the sealer works."""
    with ground.connect("worker") as worker:
        workspace = ground.workspace()
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        worker.execute(*storing(events.told(ground.keys("worker"), workspace, 1)))
    with ground.connect("postgres") as admin:
        deadline = time.monotonic() + WAIT_SECONDS
        while not admin.execute(_PUBLISHED, [workspace]).fetchone():
            if time.monotonic() > deadline:
                raise RuntimeError("the sealer sealed nothing")
            time.sleep(POLL_SECONDS)


def _waits(ground: Ground, seconds: float) -> list[float]:
    """Write at the rate and watch what is published; how long each event waited from its commit on, in seconds."""
    keys, workspace = ground.keys("worker"), ground.workspace()
    committed: dict[UUID, float] = {}
    published: list[tuple[int, float]] = []
    done = threading.Event()

    def watch() -> None:
        with ground.connect("postgres") as admin:
            while not done.is_set():
                found = admin.execute(_PUBLISHED, [workspace]).fetchone()
                if found and (not published or found[0] > published[-1][0]):
                    published.append((found[0], time.monotonic()))
                done.wait(POLL_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ground.connect("worker", options=CPU_BOUND) as worker:
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        begun, number = time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            made = events.told(keys, workspace, EACH)
            worker.execute(*storing(made), prepare=True)
            committed |= dict.fromkeys((event.id for event in made), time.monotonic())
            number += EACH
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
    deadline = time.monotonic() + WAIT_SECONDS
    while (not published or published[-1][0] < len(committed)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    done.set()
    watcher.join()
    with ground.connect("postgres") as admin:
        places = admin.execute(_PLACES, [workspace]).fetchall()
    if len(places) != len(committed):
        raise RuntimeError(f"{len(places)} of {len(committed)} events were sealed")
    waits, at = [], iter(published)
    size, when = next(at)
    for index, event_id in places:
        while index >= size:
            size, when = next(at)
        waits.append(when - committed[event_id])
    return waits


def _wait_for_what_was_written(ground: Ground) -> None:
    """What waits by now is sealed before anything else is measured."""
    until, deadline = uuid7(), time.monotonic() + WAIT_SECONDS
    with ground.connect("sealer") as connection:
        while True:
            ((waiting,),) = connection.execute("SELECT waiting FROM audit.sealing()").fetchall()
            if waiting is None or waiting > until:
                return
            if time.monotonic() > deadline:
                raise RuntimeError("the sealer does not catch up with the writers")
            time.sleep(POLL_SECONDS)


@contextmanager
def _writing(ground: Ground) -> Iterator[Callable[[], int]]:
    """Writers at work, waiting for the disk as they do; how many events they have committed by now."""
    context = multiprocessing.get_context("fork")
    done, ready = context.Event(), context.Barrier(WRITERS + 1)
    counts = [context.Value("Q", lock=False) for _ in range(WRITERS)]
    writers = [context.Process(target=_write, args=(ground, ready, done, count)) for count in counts]
    for writer in writers:
        writer.start()
    try:
        ready.wait(WAIT_SECONDS)
        yield lambda: sum(count.value for count in counts)
    finally:
        done.set()
        for writer in writers:
            writer.join()


def _write(ground: Ground, ready: Any, done: Any, count: Any) -> None:
    keys, workspace = ground.keys("worker"), ground.workspace()
    with ground.connect("worker") as worker:
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        # A new connection compiles guards and plans for some twenty transactions.
        for _ in range(WARM_UP):
            worker.execute(*storing(events.told(keys, workspace, EACH)), prepare=True)
        ready.wait(WAIT_SECONDS)
        while not done.is_set():
            worker.execute(*storing(events.told(keys, workspace, EACH)), prepare=True)
            count.value += EACH


@contextmanager
def _open_transactions(ground: Ground) -> Iterator[None]:
    """What holds a horizon: begun, with an id and a snapshot, and forgotten."""
    with ground.connect("postgres") as here, ground.connect("postgres", database="postgres") as elsewhere:
        for connection in (here, elsewhere):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT pg_current_xact_id(), count(*) FROM pg_class")
        yield
        for connection in (here, elsewhere):
            connection.execute("ROLLBACK")


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


_PUBLISHED = """
SELECT size FROM audit.checkpoint WHERE workspace_id = %s AND signatures IS NOT NULL ORDER BY size DESC LIMIT 1
"""
_PLACES = """
SELECT idx, event_id FROM audit.leaf JOIN audit.log ON log.id = log_id WHERE workspace_id = %s ORDER BY idx
"""
