"""What stands outside every log: leaves, tiles and checkpoints of no log, and events that the log of their own workspace does not hold.

A verification that goes from log to log never comes by them, so they are looked for by themselves.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from audit.clocks import CLOCK_TOLERANCE
from audit.judging import COLUMNS, StoredEvent
from audit.verifying.telling import Problem
from provenance.ids import uuid7_floor, uuid7_time


def of_no_log(connection: psycopg.Connection[Any]) -> list[tuple[int, str]]:
    """Each log id that no log has, and in words what there is of it."""
    return [(log_id, f"{count} {what}") for log_id, what, count in connection.execute(_OF_NO_LOG).fetchall()]


def outside(connection: psycopg.Connection[Any], before: datetime, most: int) -> list[tuple[UUID, UUID | None]]:
    """The oldest events that no signed checkpoint of their own workspace's log covers, from before that moment or dated ahead."""
    # Whoever owns the database can store one whose time never comes, and under a transaction that was sealed long ago.
    ahead = uuid7_floor(datetime.now(UTC) + CLOCK_TOLERANCE)
    return connection.execute(_OUTSIDE, {"limit": uuid7_floor(before), "ahead": ahead, "most": most}).fetchall()


def waiting(connection: psycopg.Connection[Any], before: datetime) -> set[UUID]:
    """Of the events from before that moment: which wait by the sealer's state, and the newest ones that nothing signed covers.

    Raises `psycopg.Error`.
    """
    ((first, is_unread),) = connection.execute("SELECT waiting, is_unread FROM audit.sealing()").fetchall()
    if is_unread:
        raise psycopg.DatabaseError("audit.sealing() cannot read the tables of the log; the log of Postgres says why")
    by_state = {first} if first and uuid7_time(first) < before else set()
    newest = connection.execute(_NEWEST_OUTSIDE, [uuid7_floor(before)]).fetchall()
    return by_state | {event_id for (event_id,) in newest}


def misplaced(connection: psycopg.Connection[Any], most: int) -> list[str]:
    """A sentence for each log that is not there and has leaves, tiles or checkpoints, and for each event in a month that is not its own.

    Who asks for such an event by its id does not look there, and a list shows it.
    """
    events = connection.execute(_OF_OTHER_MONTHS, [most]).fetchall()
    return [
        *(f"{rows} are of the log {log_id}, which does not exist" for log_id, rows in of_no_log(connection)),
        *(f"The event {event_id} lies in {month}, which is not its month" for event_id, month in events),
    ]


def wrongly_carried(connection: psycopg.Connection[Any], problem: Problem, most: int) -> list[str]:
    """A sentence for each event that was carried on from its month and is not as it was signed, or whose month did not leave.

    Rows that live on are believed by these events, as by those of the log.
    """
    found: list[str] = []
    with connection.transaction(), connection.cursor(name="carried") as rows:
        for *columns, is_here in rows.execute(_CARRIED):
            event = StoredEvent(*columns)
            if words := "its month did not leave" if is_here else problem(event):
                found.append(f"The event {event.id} was carried on from its month, and {words}")
            if len(found) == most:
                break
    return found


# OFFSET 0: Postgres believes the bounds of a month and would not look where by them nothing can be.
_OF_OTHER_MONTHS = r"""
WITH part AS MATERIALIZED (
  SELECT oid, regexp_match(pg_get_expr(relpartbound, oid), 'FROM \(''(.*?)''\) TO \(''(.*?)''\)')::uuid[] AS bounds
  FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'audit.event'::regclass
)
SELECT event.id, event.tableoid::regclass::text FROM (SELECT id, tableoid FROM audit.event OFFSET 0) AS event
JOIN part ON part.oid = event.tableoid
WHERE NOT (event.id >= bounds[1] AND event.id < bounds[2]) ORDER BY event.id LIMIT %s
"""
_CARRIED = f"""
SELECT {COLUMNS}, EXISTS (SELECT FROM audit.event WHERE event.id = carried.id) FROM audit.carried ORDER BY id
"""  # noqa: S608  composed of constants
_OF_NO_LOG = """
SELECT log_id, what, count(*) FROM (
  SELECT log_id, 'leaves' AS what FROM audit.leaf UNION ALL SELECT log_id, 'tiles' FROM audit.tile
  UNION ALL SELECT log_id, 'checkpoints' FROM audit.checkpoint
) AS stored WHERE NOT EXISTS (SELECT FROM audit.log WHERE log.id = stored.log_id)
GROUP BY log_id, what ORDER BY log_id, what LIMIT 20
"""
_SIGNED = """
WITH signed AS (
  SELECT id, workspace_id, (SELECT max(size) FROM audit.checkpoint WHERE log_id = log.id AND signatures IS NOT NULL) AS size
  FROM audit.log
)
"""
_IS_IN_NONE = """
NOT EXISTS (SELECT FROM audit.leaf JOIN signed ON signed.id = leaf.log_id
  WHERE leaf.event_id = event.id AND leaf.idx < signed.size AND signed.workspace_id IS NOT DISTINCT FROM event.workspace_id)
"""
_OUTSIDE = f"""
{_SIGNED} SELECT id, workspace_id FROM audit.event WHERE (id < %(limit)s OR id > %(ahead)s) AND {_IS_IN_NONE}
ORDER BY id LIMIT %(most)s
"""  # noqa: S608  composed of constants
_NEWEST_OUTSIDE = f"""
{_SIGNED} SELECT id FROM (SELECT id, workspace_id FROM audit.event WHERE id < %s ORDER BY id DESC LIMIT 1000) AS event
WHERE {_IS_IN_NONE}
"""  # noqa: S608  composed of constants
