"""What the log tells of itself: which details were erased, which months left, which keys follow.

The words stand in the details of signed events. What is read here was signed: the event is genuine, and its detail is the
one that its body commits to.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import psycopg

from audit.clocks import CLOCK_TOLERANCE
from audit.judging import COLUMNS, StoredEvent
from audit.taxonomy import Event
from provenance.ids import uuid7_time

Problem = Callable[[StoredEvent], str]
"""What is wrong with an event; empty when nothing is."""


class Told(NamedTuple):
    """One event and what it tells."""

    event: StoredEvent
    facts: dict[str, Any]


def told(connection: psycopg.Connection[Any], action: Event, problem: Problem) -> Iterator[Told]:
    """Everything that genuine events of this type tell in the log of the instance, the oldest first."""
    return facts_of(connection, connection.execute(_OF_INSTANCE, {"action": action.value}).fetchall(), problem)


def facts_of(connection: psycopg.Connection[Any], rows: Sequence[Sequence[Any]], problem: Problem) -> Iterator[Told]:
    """What the genuine ones among these events tell. `rows`: of `COLUMNS`."""
    events = [StoredEvent(*row) for row in rows]
    details = {
        event_id: (salt, body)
        for event_id, salt, body in connection.execute(
            "SELECT * FROM audit.told_facts(%s)", [[event.id for event in events]]
        ).fetchall()
    }
    for event in events:
        salt, body = details.get(event.id, (None, None))
        # Dated ahead, an event would make anything old enough to be let go.
        if body is None or problem(event) or uuid7_time(event.id) > datetime.now(UTC) + 2 * CLOCK_TOLERANCE:
            continue
        signed = orjson.loads(event.body)["detail"]
        if signed == hmac.digest(salt, body, hashlib.sha256).hex() and isinstance(facts := orjson.loads(body), dict):
            yield Told(event, facts)


# With those whose month left: they are carried on.
EVERYWHERE = f"(SELECT {COLUMNS} FROM audit.event UNION ALL SELECT {COLUMNS} FROM audit.carried) AS event"  # noqa: S608  composed of constants
_OF_INSTANCE = f"SELECT {COLUMNS} FROM {EVERYWHERE} WHERE workspace_id IS NULL AND action = %(action)s ORDER BY id"  # noqa: S608  composed of constants
