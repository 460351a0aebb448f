"""Verification of the whole log in the database: every event, every leaf, every checkpoint, and what was kept elsewhere.

Against published checkpoints, never against "now": who writes meanwhile raises no alarm. Split by ranges among processes
that each read for themselves. Runs where the sealer runs, with its role and keys: nobody else may read all of it.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit.anchors import Anchor, AnchorFailed, text_of
from audit.anchors.couriers import lost_since
from audit.epochs import Break, LogName, breaks, continued, first_event, followed, misnamed, tree_over
from audit.judging import flaw
from audit.merkle import NotConsistent, folded, grown, range_root, subtrees
from audit.notes import BadNote, Checkpoint, LogSigner, opened
from audit.signing import KeyRing
from audit.verifying.histories import broken
from audit.verifying.indexes import untrue
from audit.verifying.key_register import ends_in, held_against
from audit.verifying.ranges import ALIGNED_TO, MOST_FLAWS, RANGE_LEAVES, Checked, Flaw, Range, check, reachable
from audit.verifying.stored_details import changed_functions, stray_details
from audit.verifying.strays import misplaced, outside, waiting, wrongly_carried
from provenance.ids import uuid7_time
from provenance.postgres.names import in_the_place_of_its_own, signed_in

UNSEALED_FOR = timedelta(seconds=60)
LOOK_AGAIN_SECONDS = 3.0
FEW_LEAVES = 12 * RANGE_LEAVES
"""Below this, other processes would take longer to start than the work takes."""

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to verify: everything, or what came after what was verified before, of all logs or of one."""

    # Origin -> size and root: what an earlier verification ended with.
    verified: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    only: LogName | None = None
    first: int = 0
    end: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing was left out by choice, so that the next one may begin where this one ended."""
        return self.only is None and self.first == 0 and self.end is None


@dataclass(slots=True)
class LogReport:
    """One log: from where to where it was verified, and what was found."""

    origin: str
    first: int
    size: int = 0
    root: str = ""
    events: int = 0
    expired: int = 0
    details: int = 0
    erased: int = 0
    checkpoints: int = 0
    flaws: list[Flaw] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was verified. `problems` are those that belong to no index of a log."""

    logs: list[LogReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether everything verifies."""
        return not self.problems and not any(log.flaws for log in self.logs)

    @property
    def events(self) -> int:
        """How many events were held against their keys."""
        return sum(log.events for log in self.logs)

    @property
    def first_flaw(self) -> tuple[str, Flaw] | None:
        """The log and the flaw of the lowest index, of the first log that has one."""
        return next(((log.origin, log.flaws[0]) for log in self.logs if log.flaws), None)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"verified": self.is_good, "events": self.events, **asdict(self)}


@dataclass(frozen=True, slots=True)
class _Log:
    id: int
    workspace_id: UUID | None
    epoch: int
    origin: str
    size: int


@dataclass(slots=True)
class Verification:
    """One verification of one database."""

    connect: Connect
    keys: KeyRing
    signer: LogSigner
    installation: str
    anchors: Sequence[Anchor] = ()
    jobs: int = 1
    # Whether everything includes the indexes by which rows are found.
    with_indexes: bool = False
    # Called with how many leaves are done, of how many.
    progress: Callable[[int, int], None] = lambda _done, _all: None

    def run(self, wanted: Wanted) -> Report:
        """Verify. What does not verify is in the report; raises psycopg.Error when the database cannot be read."""
        started, report = time.monotonic(), Report()
        with self.connect() as connection:
            connection.autocommit = True
            stored = self.logs(connection)
            names = (misnamed(self.installation, log.workspace_id, log.epoch, log.origin) for log in stored)
            report.problems += [problem for problem in names if problem]
            logs = [_reachable(connection, log, wanted) for log in stored if _is_wanted(log, wanted)]
            register = held_against(connection, self.keys, self.signer.keys)
            report.problems += register.problems
            report.problems += changed_functions(connection)
            report.problems += in_the_place_of_its_own(lambda *asked: connection.execute(*asked).fetchall())
            ranges, firsts = self.ranges(connection, logs, wanted, register.ends)
            found = self._checked(connection, ranges)
            for log in logs:
                report.logs.append(self._judged(connection, log, firsts[log.origin], found.get(log.id, []), wanted))
            self._check_published(connection, report, wanted)
            self._check_lag(connection, report)
            if wanted.is_everything and not wanted.verified:
                self._check_strays(connection, report)
                self._check_followed(logs, followed(connection, self.keys), report)
                if self.with_indexes:
                    self._check_indexes(report)
        report.seconds = round(time.monotonic() - started, 3)
        return report

    # --- What there is -------------------------------------------------------------------------------------------

    def logs(self, connection: psycopg.Connection[Any]) -> list[_Log]:
        """Every log; one without a checkpoint too, because it may have had one."""
        return [_Log(*row) for row in connection.execute(_LOGS).fetchall()]

    def ranges(
        self, connection: psycopg.Connection[Any], logs: Sequence[_Log], wanted: Wanted, ended: Mapping[str, datetime]
    ) -> tuple[list[Range], dict[str, int]]:
        """What is to be read of these logs, in pieces for one process each; and where each log begins.

        `ended`: when keys of events were told to end.
        """
        instance = tuple(
            log_id for (log_id,) in connection.execute("SELECT id FROM audit.log WHERE workspace_id IS NULL").fetchall()
        )
        ranges: list[Range] = []
        firsts: dict[str, int] = {}
        for log in logs:
            first, end = self._span(connection, log, wanted)
            firsts[log.origin] = first
            vkeys = tuple(key.vkey for key in self.signer.verifiers(log.origin))
            ends = ends_in(connection, log.id, ended) if first < end else {}
            while first < end:
                stop = min(end, (first // RANGE_LEAVES + 1) * RANGE_LEAVES)
                start = first // ALIGNED_TO * ALIGNED_TO
                ranges.append(Range(log.id, log.origin, log.workspace_id, start, first, stop, instance, vkeys, ends))
                first = stop
        return ranges, firsts

    def _span(self, connection: psycopg.Connection[Any], log: _Log, wanted: Wanted) -> tuple[int, int]:
        """From which leaf to which checkpoint. What ends in between is verified up to the next one that is signed."""
        first = wanted.first
        if verified := wanted.verified.get(log.origin):
            first = min(verified[0], log.size)
        if wanted.end is None or wanted.end >= log.size:
            return first, log.size
        row = connection.execute(_NEXT_CHECKPOINT, [log.id, wanted.end]).fetchone()
        return first, int(row[0]) if row else log.size

    # --- The work ------------------------------------------------------------------------------------------------

    def _checked(self, connection: psycopg.Connection[Any], ranges: Sequence[Range]) -> dict[int, list[Checked]]:
        leaves = sum(each.end - each.first for each in ranges)
        done = 0
        by_log: dict[int, list[Checked]] = {}
        self.progress(0, leaves)
        results = self._one_by_one(connection, ranges)
        if self.jobs > 1 and leaves > FEW_LEAVES:
            results = self._side_by_side(ranges)
        for each in results:
            by_log.setdefault(each.range.log_id, []).append(each)
            done += each.range.end - each.range.first
            self.progress(done, leaves)
        return by_log

    def _one_by_one(self, connection: psycopg.Connection[Any], ranges: Iterable[Range]) -> Iterator[Checked]:
        return (check(connection, self.keys, each) for each in ranges)

    def _side_by_side(self, ranges: Sequence[Range]) -> Iterator[Checked]:
        # Spawned, not forked: a child must not share this process's connection.
        context = multiprocessing.get_context("spawn")
        with self.connect() as probe:
            url = probe.info.dsn, probe.info.password
        with ProcessPoolExecutor(
            self.jobs, mp_context=context, initializer=_begin, initargs=(*url, self.keys.current, dict(self.keys.roots))
        ) as pool:
            yield from pool.map(_check, ranges)

    # --- The tree ------------------------------------------------------------------------------------------------

    def _judged(
        self, connection: psycopg.Connection[Any], log: _Log, first: int, parts: Sequence[Checked], wanted: Wanted
    ) -> LogReport:
        report = LogReport(log.origin, first, log.size if parts or first >= log.size else 0)
        for part in parts:
            report.events += part.events
            report.expired += part.expired
            report.details += part.details
            report.erased += part.erased
            report.checkpoints += len(part.checkpoints)
            report.flaws += part.flaws
        known = wanted.verified.get(log.origin)
        try:
            if known and log.size < known[0]:
                report.flaws.append(
                    Flaw(
                        log.size,
                        "tree",
                        f"the log had {known[0]} entries when it was last verified, and has {log.size}",
                    )
                )
            elif known and range_root(tree_over(connection).reader(log.id, log.size), 0, known[0]) != known[1]:
                report.flaws.append(Flaw(0, "tree", f"the first {known[0]} entries are not those that were verified"))
            if parts:
                self._fold(connection, log, parts, report)
                # By index no range holds: an object's history lies anywhere in the log.
                cut = any(part.expired for part in parts) or first > 0
                report.flaws += broken(connection, log.id, log.workspace_id, first=first, may_lack_begins=cut)
        except (LookupError, NotConsistent) as missing:
            report.flaws.append(Flaw(first, "tree", str(missing)))
        report.flaws.sort(key=lambda each: each.index)
        return report

    def _fold(
        self, connection: psycopg.Connection[Any], log: _Log, parts: Sequence[Checked], report: LogReport
    ) -> None:
        """Put the parts' nodes together, and hold every signed root against them."""
        start = parts[0].range.start
        read = tree_over(connection).reader(log.id, log.size)
        edge = [((level, index), read(level, index)) for level, index in subtrees(0, start)]
        good = parts[0].range.first
        for part in parts:
            for size, root in sorted(part.checkpoints.items()):
                if size not in part.nodes:
                    # A leaf is missing, which is told; nothing after it can be held against a root.
                    return
                if folded([node for _place, node in grown(edge, part.nodes[size])]) != root:
                    problem = f"the leaves up to {size} do not make the signed root; up to {good} they did"
                    # Where a leaf is known to be wrong, that is the place; else it is somewhere between the two.
                    place = min((each.index for each in report.flaws if good <= each.index < size), default=good)
                    report.flaws.append(Flaw(place, "tree", problem))
                    return
                good = size
            if part.range.end not in part.nodes:
                return
            edge = grown(edge, part.nodes[part.range.end])
        report.size = parts[-1].range.end
        report.root = folded([node for _place, node in edge]).hex()
        if good != report.size:
            report.flaws.append(
                Flaw(report.size - 1, "checkpoint", f"the checkpoint at {report.size} is missing or does not verify")
            )

    # --- What was published --------------------------------------------------------------------------------------

    def _check_published(self, connection: psycopg.Connection[Any], report: Report, wanted: Wanted) -> None:
        published: list[str] = []
        for anchor in self.anchors:
            try:
                kept = anchor.newest()
                published += kept.values()
                if lost := lost_since(connection, anchor, kept):
                    report.problems.append(lost)
                if wanted.is_everything and not wanted.verified:
                    self._check_kept(connection, anchor, report)
            except AnchorFailed as problem:
                report.problems.append(f"What {anchor.name} keeps cannot be read: {problem}")
        try:
            found = breaks(
                connection,
                installation=self.installation,
                published=published,
                verifiers=self.signer.verifiers,
                keys=self.keys,
            )
        except BadNote as problem:
            report.problems.append(f"{problem}: the key of the log was replaced, or somebody wrote into the anchor")
            return
        report.problems += [_of_break(one) for one in found]

    def _check_kept(self, connection: psycopg.Connection[Any], anchor: Anchor, report: Report) -> None:
        """Each checkpoint that an anchor keeps must be one of those in the database."""
        if not hasattr(anchor, "kept"):
            return
        said_of = followed(connection, self.keys)
        for origin in sorted(anchor.newest()):
            name = LogName.parse(origin, self.installation)
            if name is None:
                continue
            rows = connection.execute(_CHECKPOINTS, [origin]).fetchall()
            stored = dict(rows)
            newest = max(stored, default=0)
            excused = self._excused(connection, name)
            # When a new epoch was started, so much of this one still was as it had been published.
            whole = _whole(said_of.get(origin)) if excused else newest
            for note in anchor.kept(origin):
                kept = Checkpoint.parse(text_of(note))
                if kept.size > min(newest, whole):
                    # Whether that was told is for the newest one to show.
                    continue
                if stored.get(kept.size) != kept.text:
                    try:
                        opened(note, self.signer.verifiers(origin))
                    except BadNote:
                        continue
                    report.problems.append(
                        f"The checkpoint of {origin} at {kept.size} that {anchor.name} keeps is not the stored one"
                    )
                    break
            if excused:
                report.notes.append(f"{origin} ended: {excused}")

    def _excused(self, connection: psycopg.Connection[Any], name: LogName) -> str:
        """Whether a later epoch was started on the host, which says what is missing of this one."""
        event = first_event(connection, name.workspace_id)
        said = continued(event, self.keys) if event else None
        if said is None or "origin" not in said:
            return ""
        followed = LogName.parse(said["origin"], self.installation)
        if followed is None or followed.epoch < name.epoch:
            return ""
        return f"a new epoch was started, with {said['kept']} of {said['size']} published entries left"

    def _check_lag(self, connection: psycopg.Connection[Any], report: Report) -> None:
        """Has an event waited long? Looked at twice, because its id is older than its commit."""
        before = datetime.now(UTC) - UNSEALED_FOR
        first = waiting(connection, before)
        if not first:
            return
        time.sleep(LOOK_AGAIN_SECONDS)
        if still := first & waiting(connection, before):
            oldest = min(still)
            report.problems.append(
                f"The event {oldest} is not sealed though it is from {uuid7_time(oldest):%Y-%m-%d %H:%M:%S} UTC"
            )

    def _check_followed(self, logs: Sequence[_Log], said_of: Mapping[str, Mapping[str, Any]], report: Report) -> None:
        """An epoch that was followed by another must still have what it had when that one was started."""
        sizes = {log.origin: log.size for log in logs}
        for origin, said in said_of.items():
            if sizes.get(origin, 0) < said["kept"]:
                report.problems.append(
                    f"{origin} has {sizes.get(origin, 0)} entries, and {said['kept']} when a new epoch was started"
                )

    def _check_indexes(self, report: Report) -> None:
        found = untrue(self.connect, schemas=("audit",), jobs=self.jobs)
        report.problems += found.problems
        report.notes.append(f"{found.indexes} indexes were held against their tables")

    def _check_strays(self, connection: psycopg.Connection[Any], report: Report) -> None:
        """What lies outside every log, where no range comes by. Events are looked for twice, as in `_check_lag`."""
        report.problems += misplaced(connection, MOST_FLAWS)
        report.problems += wrongly_carried(connection, lambda event: flaw(event, self.keys), MOST_FLAWS)
        report.problems += [
            f"The detail of {event_id} ({_name(workspace_id)}) is of no event"
            for event_id, workspace_id in stray_details(connection, MOST_FLAWS)
        ]
        before = datetime.now(UTC) - UNSEALED_FOR
        found = outside(connection, before, MOST_FLAWS)
        if not found:
            return
        time.sleep(LOOK_AGAIN_SECONDS)
        still = set(outside(connection, before, MOST_FLAWS))
        report.problems += [
            f"The event {event_id} is not in the log of {_name(workspace_id)}"
            for event_id, workspace_id in found
            if (event_id, workspace_id) in still
        ]


def _whole(said: Mapping[str, Any] | None) -> int:
    """Up to where an ended epoch must be as it was published. Nowhere, when it was ended because it is another one."""
    return said["kept"] if said and said["kept"] < said["size"] else 0


def _name(workspace_id: UUID | None) -> str:
    return f"workspace {workspace_id}" if workspace_id else "the instance"


def _is_wanted(log: _Log, wanted: Wanted) -> bool:
    return wanted.only is None or wanted.only.workspace_id == log.workspace_id


def _reachable(connection: psycopg.Connection[Any], log: _Log, wanted: Wanted) -> _Log:
    first = wanted.verified.get(log.origin, (wanted.first, b""))[0]
    return replace(log, size=reachable(connection, log.id, min(first, log.size), log.size))


def _of_break(one: Break) -> str:
    return f"The database does not continue what was published: {one.problem}"


# --- In the other processes ------------------------------------------------------------------------------------------

_here: dict[str, Any] = {}


def _begin(dsn: str, password: str, current: str, roots: dict[str, bytes]) -> None:
    # Each process reads for itself: handing rows around would cost more than judging them.
    _here["connection"] = signed_in(dsn, password=password, autocommit=True)
    _here["keys"] = KeyRing(current, roots)


def _check(wanted: Range) -> Checked:
    return check(_here["connection"], _here["keys"], wanted)


_LOGS = """
SELECT log.id, log.workspace_id, COALESCE(log.epoch, 0), COALESCE(log.origin, ''), COALESCE(newest.size, 0)
FROM audit.log AS log LEFT JOIN LATERAL (
  SELECT size FROM audit.checkpoint WHERE log_id = log.id AND signatures IS NOT NULL ORDER BY size DESC LIMIT 1
) AS newest ON true ORDER BY log.workspace_id NULLS FIRST, log.epoch
"""
_NEXT_CHECKPOINT = """
SELECT size FROM audit.checkpoint WHERE log_id = %s AND size >= %s AND signatures IS NOT NULL ORDER BY size LIMIT 1
"""
_CHECKPOINTS = """
SELECT size, note FROM audit.checkpoint JOIN audit.log ON log.id = log_id WHERE origin = %s AND signatures IS NOT NULL
"""
