"""A sealed log of any size, quickly: events built and signed as a process does, stored past the guards, sealed by the sealer.

What comes of it verifies like a log that grew. For throw-away databases only.
"""

import multiprocessing
import sys
import time
from uuid import UUID

from bench import events
from bench.ground import CPU_BOUND, Ground
from bench.guards import past_the_guards

BATCH = 5000
"""Events of one transaction: a pass of the sealer holds several."""
PROCESSES = 2
SEALED_TOLD_EVERY = 1_000_000


def load(ground: Ground, workspace: UUID, count: int, *, tells: bool = False, labels: bool = True) -> None:
    """Put that many sealed events into a workspace's log, with their details unless `labels` is false.

    `tells`: say on the way how far it is.
    """
    began = time.monotonic()
    with ground.connect("postgres") as owner, past_the_guards(owner, "audit.event", "audit.detail"):
        _store(ground, workspace, count, labels=labels)
    with ground.connect("postgres") as owner:
        # What autovacuum has done in a log that grew: without it, one reading would pay for the next.
        owner.execute("VACUUM (ANALYZE) audit.event, audit.detail")
    if tells:
        _tell(f"{count:,} events are stored", began)
    _seal(ground, tells=tells, began=began)
    with ground.connect("postgres") as owner:
        owner.execute("VACUUM (ANALYZE) audit.leaf, audit.tile, audit.checkpoint")


def _store(ground: Ground, workspace: UUID, count: int, *, labels: bool) -> None:
    """Processes side by side, because signing in Python is most of it."""
    batches = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_write, args=(ground, workspace, batches[number::PROCESSES], labels))
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("the log could not be loaded")


def _write(ground: Ground, workspace: UUID, batches: list[int], labels: bool) -> None:
    keys = ground.keys("worker")
    with ground.connect("postgres", options=CPU_BOUND) as owner:
        for size in batches:
            made = events.told(keys, workspace, size, labels=labels)
            with owner.transaction(), owner.cursor() as cursor:
                ((xid,),) = cursor.execute("SELECT pg_current_xact_id()::text").fetchall()
                with cursor.copy(f"COPY audit.event (xid, {events.NAMES}) FROM STDIN") as copy:
                    for event in made:
                        copy.write_row([xid, *events.raw_columns(event)])
                if labels:
                    with cursor.copy(f"COPY audit.detail ({events.DETAIL_NAMES}) FROM STDIN") as copy:
                        for event in made:
                            copy.write_row(events.detail_columns(event))


def _seal(ground: Ground, *, tells: bool, began: float) -> None:
    sealer = ground.sealer()
    if not sealer.lead():
        raise RuntimeError("another sealer is at work here")
    passes = 0
    while sealer.seal():
        sealer.publish()
        passes += 1
        if tells and passes * sealer.most_events % SEALED_TOLD_EVERY == 0:
            _tell(f"about {passes * sealer.most_events:,} are sealed", began)
    sealer.publish()
    sealer.close()


def _tell(words: str, began: float) -> None:
    print(f"  {words}, {time.monotonic() - began:.0f} s", file=sys.stderr)
