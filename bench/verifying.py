"""Goal 9: how fast the log is verified, beside reading the same rows, and beside what no verification can do without."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from audit.signing import MAC_PREFIX, KeyRing
from audit.verifying.indexes import untrue
from audit.verifying.ranges import Checked, Range, check, check_events, event_rows, read_leaves
from audit.verifying.verification import Verification, Wanted
from bench.figures import Figure, Goal, Sample, interleaved, median, ratio
from bench.ground import Ground, cpu_seconds
from bench.loading import load

NEW = 10_000


def verifying(ground: Ground, *, quick: bool) -> list[Figure]:
    """One process beside a bare reading; two processes beside one; what is new since the last time."""
    count, workspace = 100_000 if quick else 600_000, ground.workspace()
    load(ground, workspace, count)
    one = verification(ground, 1)
    with ground.connect("sealer") as reader:
        logs = [log for log in one.logs(reader) if log.workspace_id == workspace]
        ranges, _firsts = one.ranges(reader, logs, Wanted(), {})
        _demand(sum(each.end - each.first for each in ranges) == count)
        reading = _Reading(reader, ground.keys("sealer"), ranges)
        variants = (reading.drain, reading.bare, reading.macs, reading.tree)
        rounds = interleaved({work.__name__: _timed(work, reader) for work in variants}, 3 if quick else 5)
    drain, bare, macs, tree = (rounds[work.__name__] for work in variants)
    return [
        Figure(
            name="9 read and HMAC, nothing else",
            value=count / median(bare, "seconds"),
            unit="/s",
            limit=count / median(drain, "seconds"),
            peers={"CPU, us an event": median(bare, "cpu") / count * 1e6},
            ratio=ratio(drain, bare, "cpu"),
            note="one process; limit: the same rows, read and thrown away; ratios are of CPU, the backend's included",
        ),
        Figure(
            name="9 verify: MAC, columns, leaf and detail",
            value=count / median(macs, "seconds"),
            unit="/s",
            limit=count / median(bare, "seconds"),
            peers={"of reading": ratio(drain, macs, "cpu"), "CPU, us an event": median(macs, "cpu") / count * 1e6},
            ratio=ratio(bare, macs, "cpu"),
            goal=Goal(kind="least", bound=0.25),
            note="limit: read and HMAC; the design's 0.8 of reading: docs/decisions/0017",
        ),
        Figure(
            name="9 verify: and the tree",
            value=count / median(tree, "seconds"),
            unit="/s",
            limit=count / median(drain, "seconds"),
            peers={"CPU, us an event": median(tree, "cpu") / count * 1e6},
            ratio=ratio(drain, tree, "cpu"),
            goal=Goal(kind="least", bound=0.2),
            note="limit: the same rows, read and thrown away; the design's 0.4: docs/decisions/0017",
        ),
        Figure(
            name="9 indexes held against their tables",
            value=count / median(interleaved({"held": lambda: _indexes(ground)}, 3)["held"], "seconds"),
            unit="/s",
            note="one connection; what `verify --full` does besides: docs/decisions/0024",
        ),
        # For a log as small as the quick one nobody starts a second process.
        *([] if quick else side_by_side(ground, count, rounds=3)),
        _incremental(ground, one, workspace),
    ]


def side_by_side(ground: Ground, count: int, *, rounds: int) -> list[Figure]:
    """Two processes beside one over all logs of this ground, which hold at least so many events."""
    sides = interleaved({str(jobs): _whole(verification(ground, jobs), count) for jobs in (1, 2)}, rounds)
    # Of all logs of the ground, so of more than were loaded for this.
    count = int(median(sides["2"], "events"))
    return [
        Figure(
            name="9 verify by two processes",
            value=count / median(sides["2"], "ranges"),
            unit="/s",
            limit=count / median(sides["1"], "ranges"),
            ratio=ratio(sides["1"], sides["2"], "ranges"),
            goal=Goal(kind="least", bound=1.8),
            note=f"limit: by one; {count:,} events range by range, the start of the processes included",
        ),
        Figure(
            name=f"9 verify everything, {count:,} events",
            value=median(sides["2"], "seconds"),
            unit="s",
            limit=median(sides["1"], "seconds"),
            ratio=ratio(sides["1"], sides["2"], "seconds"),
            goal=Goal(kind="most", bound=120 * count / 10_000_000, of_value=True),
            note="two processes, as the command does it; limit: one; with histories, strays and what was published",
        ),
    ]


def verification(ground: Ground, jobs: int) -> Verification:
    """As the command makes it, without anchors."""
    return Verification(
        connect=lambda: ground.connect("sealer"),
        keys=ground.keys("sealer"),
        signer=ground.signer(),
        installation=ground.installation.home.log_origin(),
        jobs=jobs,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """The same ranges, read for more and more."""

    reader: psycopg.Connection[Any]
    keys: KeyRing
    ranges: Sequence[Range]

    def drain(self) -> None:
        """Thrown away."""
        for each in self.ranges:
            leaves = read_leaves(self.reader, each, Checked(each))
            for _row in event_rows(self.reader, each, leaves.places):
                pass

    def bare(self) -> None:
        """Held against their MACs, and nothing else."""
        key = self.keys.key("worker-1", self.ranges[0].workspace_id)
        inner, outer = _begun_hmac(key.secret if key else b"")
        for each in self.ranges:
            leaves = read_leaves(self.reader, each, Checked(each))
            for row in event_rows(self.reader, each, leaves.places):
                first, second = inner.copy(), outer.copy()
                first.update(row[2])
                second.update(first.digest())
                _demand(second.digest() == row[1])

    def macs(self) -> None:
        """Held against everything that an event is held against."""
        for each in self.ranges:
            found = Checked(each)
            check_events(self.reader, self.keys, read_leaves(self.reader, each, found), found)
            _demand(not found.flaws)

    def tree(self) -> None:
        """And the tree over them."""
        for each in self.ranges:
            _demand(not check(self.reader, self.keys, each).flaws)


def _begun_hmac(secret: bytes) -> tuple[Any, Any]:
    """HMAC-SHA256 up to where the body begins: half of what it costs to begin anew for each event."""
    key = secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + MAC_PREFIX)
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in key))


def _indexes(ground: Ground) -> Sample:
    begun = time.monotonic()
    found = untrue(lambda: ground.connect("sealer"), schemas=("audit",))
    _demand(found.indexes > 0 and not found.problems)
    return {"seconds": time.monotonic() - begun}


def _incremental(ground: Ground, one: Verification, workspace: UUID) -> Figure:
    known = {log.origin: (log.size, bytes.fromhex(log.root)) for log in one.run(Wanted()).logs}
    load(ground, workspace, NEW)
    report = one.run(Wanted(verified=known))
    _demand(report.is_good)
    return Figure(
        name=f"9 verify {NEW:,} new events",
        value=report.seconds,
        unit="s",
        goal=Goal(kind="most", bound=1, of_value=True),
    )


def _whole(which: Verification, count: int) -> Callable[[], Sample]:
    """A verification of everything, and how long its ranges took: from the first word of progress to the last."""
    told: list[float] = []
    which.progress = lambda _done, _all: told.append(time.monotonic())

    def measured() -> Sample:
        told.clear()
        report = which.run(Wanted())
        if not report.is_good:
            raise RuntimeError(f"what nobody touched does not verify: {report.problems[:3]} {report.logs[:3]}")
        _demand(report.events >= count)
        return {"seconds": report.seconds, "ranges": told[-1] - told[0], "events": float(report.events)}

    return measured


def _demand(verifies: bool) -> None:
    if not verifies:
        raise RuntimeError("what nobody touched does not verify")


def _timed(work: Callable[[], None], reader: psycopg.Connection[Any]) -> Callable[[], Sample]:
    """How long it takes, and what it uses of the processor here and in its backend: one of them waits while one works."""
    server = reader.info.backend_pid

    def measured() -> Sample:
        begun, used = time.monotonic(), time.process_time() + cpu_seconds(server)
        work()
        return {"seconds": time.monotonic() - begun, "cpu": time.process_time() + cpu_seconds(server) - used}

    return measured
