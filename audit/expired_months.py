"""The months that properly left the log: which leaves may be without their event.

What the tables say is not enough, because nobody signed it. A month counts when the log of the instance holds the event
that tells of it, and for a leaf only where the log had nothing younger before it: a leaf that was given an older id to
look expired stands among younger ones.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit.judging import COLUMNS, StoredEvent, event_entry
from audit.merkle import leaf_hash
from audit.taxonomy import Event
from provenance.ids import uuid7_floor, uuid7_time

SEALED_WITHIN = timedelta(days=1)
"""So much younger may an event be that was sealed before one of the month: transactions commit late, but not that late."""


def month_of(event_id: UUID) -> str:
    """The name of the month that an event with this id lies in."""
    return f"event_{uuid7_time(event_id):%Y_%m}"


def expired_months(connection: psycopg.Connection[Any], problem: Callable[[StoredEvent], str]) -> frozenset[str]:
    """The months that the table and a sealed event both say are gone. `problem`: what is wrong with an event, or nothing."""
    rows = connection.execute(_TOLD, {"action": Event.AUDIT_PARTITION_EXPIRED}).fetchall()
    return frozenset(
        month
        for month, leaf, *row in rows
        if (event := StoredEvent(*row)).object_id == month
        and leaf == leaf_hash(event_entry(event.body.encode(), event.mac))
        and not problem(event)
    )


def ends_in(connection: psycopg.Connection[Any], log_id: int, months: frozenset[str]) -> dict[str, int | None]:
    """Of each month the index in this log up to which its leaves may be without event; None: the whole log."""
    found = {}
    for month in sorted(months):
        begin = datetime.strptime(month, "event_%Y_%m").replace(tzinfo=UTC)
        end = (begin + timedelta(days=32)).replace(day=1)
        younger = connection.execute(_YOUNGER, [log_id, uuid7_floor(end + SEALED_WITHIN)]).fetchone()
        found[month] = younger[0] if younger else None
    return found


def may_be_gone(ends: dict[str, int | None], index: int, event_id: UUID) -> bool:
    """Whether the leaf at this index may be without the event that it names."""
    month = month_of(event_id)
    if month not in ends:
        return False
    end = ends[month]
    return end is None or index < end


_TOLD = f"""
SELECT expired.month, leaf.hash, {", ".join(f"event.{name.strip()}" for name in COLUMNS.split(","))}
FROM audit.expired JOIN audit.event ON event.object_id = expired.month AND event.action = %(action)s
  AND event.workspace_id IS NULL
JOIN audit.leaf ON leaf.event_id = event.id JOIN audit.log ON log.id = leaf.log_id AND log.workspace_id IS NULL
"""  # noqa: S608  composed of constants
_YOUNGER = """
SELECT idx FROM audit.leaf WHERE log_id = %s AND event_id >= %s
AND EXISTS (SELECT FROM audit.event WHERE event.id = leaf.event_id) ORDER BY idx LIMIT 1
"""
