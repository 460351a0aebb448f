"""Goal 8: how long an event waits for its checkpoint, with a real sealer process, and how fast a backlog goes."""

import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from audit.envelope import insert_rows
from bench import events
from bench.figures import Figure, Goal
from bench.ground import CPU_BOUND, Ground, cpu_seconds
from provenance.ids import uuid7

RATE = 2000
EACH = 10
"""Events of one transaction, as the gateway groups those of several calls."""
POLL_SECONDS = 0.02
WAIT_SECONDS = 60


def sealing(ground: Ground, *, quick: bool) -> list[Figure]:
    """The wait at 2,000 events/s, alone and beside transactions that stay open; writers beside it; then the backlog."""
    seconds = 4 if quick else 20
    unsealed = _writers_rate(ground, seconds / 2)
    sealer = ground.start("sealer")
    try:
        _seal_one(ground)
        used, begun = cpu_seconds(sealer.pid), time.monotonic()
        alone = _waits(ground, seconds)
        load = (cpu_seconds(sealer.pid) - used) / (time.monotonic() - begun)
        with _open_transactions(ground):
            beside = _waits(ground, seconds)
        sealed = _writers_rate(ground, seconds / 2)
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
        Figure(
            name="8 writers beside the sealer",
            value=sealed,
            unit="/s",
            limit=unsealed,
            ratio=sealed / unsealed,
            goal=Goal(kind="least", bound=0.9),
            note="limit: the same writers without a sealer; four of them, as fast as they can",
        ),
        *_drain(ground, 20_000 if quick else 200_000),
    ]


def _drain(ground: Ground, count: int) -> list[Figure]:
    keys, workspace = ground.keys("worker"), uuid7()
    with ground.connect("worker", options=CPU_BOUND) as worker:
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        for _ in range(0, count, 500):
            worker.execute(*insert_rows(events.told(keys, workspace, 500)))
    sealer = ground.sealer()
    sealer.lead()
    begun, used = time.monotonic(), time.process_time()
    while sealer.seal():
        sealer.publish()
    sealer.publish()
    seconds, used = time.monotonic() - begun, time.process_time() - used
    sealer.close()
    return [
        Figure(
            name=f"8 drain a backlog of {count:,}",
            value=count / seconds,
            unit="/s",
            peers={"by its own CPU alone": count / used},
            goal=Goal(kind="least", bound=50_000, of_value=True),
            note="one process, beside its backend",
        )
    ]


def _seal_one(ground: Ground) -> None:
    """Wait until the sealer works."""
    with ground.connect("worker") as worker:
        workspace = uuid7()
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        worker.execute(*insert_rows(events.told(ground.keys("worker"), workspace, 1)))
    with ground.connect("postgres") as admin:
        deadline = time.monotonic() + WAIT_SECONDS
        while not admin.execute(_PUBLISHED, [workspace]).fetchone():
            if time.monotonic() > deadline:
                raise RuntimeError("the sealer sealed nothing")
            time.sleep(POLL_SECONDS)


def _waits(ground: Ground, seconds: float) -> list[float]:
    """Write at the rate and watch what is published; how long each event waited from its commit on, in seconds."""
    keys, workspace = ground.keys("worker"), uuid7()
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
            worker.execute(*insert_rows(made), prepare=True)
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


def _writers_rate(ground: Ground, seconds: float) -> float:
    """What four writers reach together, in events a second, waiting for the disk as they do."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    writers = [context.Process(target=_write, args=(ground, seconds, answers)) for _ in range(4)]
    for writer in writers:
        writer.start()
    counts = [answers.get(timeout=600) for _ in writers]
    for writer in writers:
        writer.join()
    return sum(counts) / seconds


def _write(ground: Ground, seconds: float, answers: Any) -> None:
    keys, workspace, count = ground.keys("worker"), uuid7(), 0
    with ground.connect("worker") as worker:
        worker.execute(f"SET app.workspace_id = '{workspace}'")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            worker.execute(*insert_rows(events.told(keys, workspace, EACH)), prepare=True)
            count += EACH
    answers.put(count)


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
