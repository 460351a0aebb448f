"""The months that properly left the log: which leaves may be without their event.

What the tables say is not enough, because nobody signed it. The event that tells of a month names, log by log, the runs of
leaves whose events left with it, and no event of another month stands within a run: a leaf may be without its event
there and nowhere else.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit.clocks import CLOCK_TOLERANCE
from audit.judging import StoredEvent
from audit.schema.months import YEARS_KEPT
from audit.taxonomy import Event
from audit.verifying.telling import Problem, Told, told
from provenance.held_keys import process_of
from provenance.ids import uuid7_floor, uuid7_time

OUT_OF_ORDER = timedelta(days=31)
"""So much younger may an event be that was sealed before one of the month: a sealer may stand still, and a restore take long."""
_PROCESS = "retention"


def month_of(event_id: UUID) -> str:
    """The name of the month that an event with this id lies in."""
    return f"event_{uuid7_time(event_id):%Y_%m}"


@dataclass(frozen=True, slots=True)
class ExpiredLeaves:
    """Of each log and month the runs that were told, as first and last index, in order."""

    connection: psycopg.Connection[Any]
    runs: Mapping[tuple[str, str], Sequence[tuple[int, int]]]
    _ends: dict[tuple[str, str], int | None] = field(default_factory=dict)

    def hold(self, origin: str, index: int, event_id: UUID) -> bool:
        """Whether the leaf at this index may be without the event that it names."""
        name = origin, month_of(event_id)
        runs = self.runs.get(name, ())
        place = bisect_right(runs, index, key=lambda run: run[0]) - 1
        if place < 0 or index > runs[place][1]:
            return False
        if name not in self._ends:
            self._ends[name] = self._end(*name)
        end = self._ends[name]
        return end is None or index < end

    def _end(self, origin: str, month: str) -> int | None:
        """Up to where that month can reach in the log: before whatever is younger by more than sealing was ever late.

        The job that lets months go names what Postgres calls one, and a leaf's id is nobody's signature.
        """
        younger = self.connection.execute(_YOUNGER, [origin, uuid7_floor(_end_of(month) + OUT_OF_ORDER)]).fetchone()
        return younger[0] if younger else None


def expired_leaves(connection: psycopg.Connection[Any], problem: Problem) -> ExpiredLeaves:
    """What signed events tell of months that left. `problem`: what is wrong with an event, or nothing."""
    runs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for event, facts in _genuine(connection, problem):
        # Words that the job would not use let nothing go.
        with suppress(KeyError, TypeError, ValueError):
            for log in facts["logs"]:
                runs[log["log"], event.object_id] += [(int(first), int(last)) for first, last in log["runs"]]
    return ExpiredLeaves(connection, {name: sorted(found) for name, found in runs.items()})


def expired_until(connection: psycopg.Connection[Any], problem: Problem) -> datetime | None:
    """The end of the newest month that properly left the log: what ran before has no events there any more."""
    return max((_end_of(event.object_id) for event, _facts in _genuine(connection, problem)), default=None)


def _genuine(connection: psycopg.Connection[Any], problem: Problem) -> Iterator[Told]:
    return told(connection, Event.AUDIT_PARTITION_EXPIRED, lambda event: _no_word_of_it(event) or problem(event))


def _no_word_of_it(event: StoredEvent) -> str:
    """Why an event lets nothing go: it is not of the job that does, or the month was too young."""
    if process_of(event.kid) != _PROCESS:
        return f"{event.kid} may not tell which months left"
    try:
        end = _end_of(event.object_id)
    except ValueError:
        return f"{event.object_id} is no month"
    is_over = uuid7_time(event.id) + 2 * CLOCK_TOLERANCE >= end.replace(year=end.year + YEARS_KEPT)
    return "" if is_over else f"{event.object_id} was not over for {YEARS_KEPT} years"


def _end_of(month: str) -> datetime:
    begin = datetime.strptime(month, "event_%Y_%m").replace(tzinfo=UTC)
    return (begin + timedelta(days=32)).replace(day=1)


_YOUNGER = """
SELECT idx FROM audit.leaf WHERE log_id = (SELECT id FROM audit.log WHERE origin = %s) AND event_id >= %s
ORDER BY event_id LIMIT 1
"""
