"""Goal 9: how fast the log is verified, beside reading the same rows and throwing them away."""

import os
import time
from collections.abc import Callable

from audit.ranges import Checked, check, check_events, event_rows, read_leaves
from audit.verification import Verification, Wanted
from bench.figures import Figure, Goal, Sample, interleaved, median, ratio
from bench.ground import Ground
from bench.loading import load
from provenance.ids import uuid7

TEN_MILLION = 10_000_000
NEW = 10_000


def verifying(ground: Ground, *, quick: bool) -> list[Figure]:
    """One process beside a bare reading; two processes beside one; what is new since the last time."""
    count, workspace = 100_000 if quick else 600_000, uuid7()
    load(ground, workspace, count)
    one, two = verification(ground, 1), verification(ground, 2)
    with ground.connect("sealer") as reader:
        everything = Wanted()
        logs = [log for log in one.logs(reader) if log.workspace_id == workspace]
        ranges, _firsts = one.ranges(reader, logs, everything, {})
        _demand(sum(each.end - each.first for each in ranges) == count)
        keys = ground.keys("sealer")

        def drain() -> None:
            for each in ranges:
                leaves = read_leaves(reader, each, Checked(each))
                for _row in event_rows(reader, each, leaves.places):
                    pass

        def macs() -> None:
            for each in ranges:
                found = Checked(each)
                check_events(reader, keys, read_leaves(reader, each, found), found)
                _demand(not found.flaws)

        def tree() -> None:
            for each in ranges:
                _demand(not check(reader, keys, each).flaws)

        rounds = interleaved({"drain": _timed(drain), "macs": _timed(macs), "tree": _timed(tree)}, 3 if quick else 5)
    # For a log as small as the quick one nobody starts a second process.
    sides = {} if quick else interleaved({"one": _verified(one, count), "two": _verified(two, count)}, 3)
    known = {log.origin: (log.size, bytes.fromhex(log.root)) for log in one.run(everything).logs}
    load(ground, workspace, NEW)
    report = one.run(Wanted(verified=known))
    _demand(report.is_good)
    drained = count / median(rounds["drain"], "seconds")
    return [
        Figure(
            name="9 verify: MAC, columns and leaf",
            value=count / median(rounds["macs"], "seconds"),
            unit="/s",
            limit=drained,
            ratio=ratio(rounds["drain"], rounds["macs"], "seconds"),
            goal=Goal(kind="least", bound=0.8),
            note="one process; limit: the same rows, read and thrown away",
        ),
        Figure(
            name="9 verify: and the tree",
            value=count / median(rounds["tree"], "seconds"),
            unit="/s",
            limit=drained,
            ratio=ratio(rounds["drain"], rounds["tree"], "seconds"),
            goal=Goal(kind="least", bound=0.4),
        ),
        *(_side_by_side(sides, count) if sides else ()),
        Figure(
            name=f"9 verify {NEW:,} new events",
            value=report.seconds,
            unit="s",
            goal=Goal(kind="most", bound=1, of_value=True),
        ),
    ]


def _side_by_side(sides: dict[str, list[Sample]], count: int) -> list[Figure]:
    two_rate = count / median(sides["two"], "seconds")
    return [
        Figure(
            name="9 verify by two processes",
            value=two_rate,
            unit="/s",
            limit=count / median(sides["one"], "seconds"),
            ratio=ratio(sides["one"], sides["two"], "seconds"),
            goal=Goal(kind="least", bound=1.8),
            note=f"their start included; {count:,} events, {os.cpu_count()} cores for them and the server",
        ),
        Figure(
            name="9 verify 10 million events",
            value=TEN_MILLION / two_rate,
            unit="s",
            goal=Goal(kind="most", bound=120, of_value=True),
            note="at that rate",
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


def _demand(verifies: bool) -> None:
    if not verifies:
        raise RuntimeError("what nobody touched does not verify")


def _timed(work: Callable[[], None]) -> Callable[[], Sample]:
    def measured() -> Sample:
        begun = time.monotonic()
        work()
        return {"seconds": time.monotonic() - begun}

    return measured


def _verified(which: Verification, count: int) -> Callable[[], Sample]:
    def work() -> None:
        report = which.run(Wanted())
        _demand(report.is_good and report.events >= count)

    return _timed(work)
