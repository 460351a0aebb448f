"""The months that properly left the log: which leaves may be without their event.

What the tables say is not enough, because nobody signed it. The event that tells of a month names, log by log, the runs of
leaves whose events left with it, and no event of another month stands within a run: a leaf may be without its event
there and nowhere else.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from audit.judging import StoredEvent
from audit.taxonomy import Event
from audit.telling import Problem, told
from provenance.held_keys import process_of
from provenance.ids import uuid7_time

_PROCESS = "retention"


def month_of(event_id: UUID) -> str:
    """The name of the month that an event with this id lies in."""
    return f"event_{uuid7_time(event_id):%Y_%m}"


@dataclass(frozen=True, slots=True)
class ExpiredLeaves:
    """Of each log and month the runs that were told, as first and last index, in order."""

    runs: Mapping[tuple[str, str], Sequence[tuple[int, int]]]

    def hold(self, origin: str, index: int, event_id: UUID) -> bool:
        """Whether the leaf at this index may be without the event that it names."""
        runs = self.runs.get((origin, month_of(event_id)), ())
        place = bisect_right(runs, index, key=lambda run: run[0]) - 1
        return place >= 0 and index <= runs[place][1]


def expired_leaves(connection: psycopg.Connection[Any], problem: Problem) -> ExpiredLeaves:
    """What signed events tell of months that left. `problem`: what is wrong with an event, or nothing."""
    runs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for event, facts in told(
        connection, Event.AUDIT_PARTITION_EXPIRED, lambda event: _not_of_the_job(event) or problem(event)
    ):
        for log in facts.get("logs", ()):
            runs[log["log"], event.object_id] += [(first, last) for first, last in log["runs"]]
    return ExpiredLeaves({name: sorted(found) for name, found in runs.items()})


def _not_of_the_job(event: StoredEvent) -> str:
    return "" if process_of(event.kid) == _PROCESS else f"{event.kid} may not tell which months left"
