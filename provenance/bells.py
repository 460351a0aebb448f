"""What a worker takes from the broker: the name of a task of ours and its ids, and nothing else of a message (T17).

Whoever holds the broker puts anything there. Celery's own worker ends on an element that is no JSON, is handed back a
message that it cannot read at each of its starts, and keeps what is dated ahead in memory; and its built-in tasks, links and
chains do what a message says. So each element is read here first: what is a bell is made anew, all else is dropped, and
neither ends the process on which the sweeps hang.
"""

import base64
import json
import logging
from collections.abc import Mapping
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import redis

TASKS = frozenset({"workflows.drive", "streams.stream", "streams.digest", "audit.build_export"})
MOST_IDS = 4
LONGEST_ID = 64
LONGEST_BODY = 2_048
_NOTHING_MORE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

logger = logging.getLogger(__name__)


def bell(message: Any) -> dict[str, Any] | None:
    """The message anew, from its task and its ids alone; None when it is no bell of ours."""
    try:
        task, body = message["headers"]["task"], message["body"]
        if task not in TASKS or len(body) > LONGEST_BODY:
            return None
        ids = json.loads(base64.b64decode(body))[0]
    except (TypeError, KeyError, IndexError, ValueError, RecursionError):
        return None
    if not isinstance(ids, list) or len(ids) > MOST_IDS or not all(_is_id(each) for each in ids):
        return None
    return _message(task, ids)


def _is_id(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and len(value) <= LONGEST_ID)


def _message(task: str, ids: list[str | int]) -> dict[str, Any]:
    own_id = str(uuid4())
    headers = {"lang": "py", "task": task, "id": own_id, "root_id": own_id, "retries": 0, "ignore_result": True}
    return {
        "body": base64.b64encode(json.dumps([ids, {}, _NOTHING_MORE]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": own_id,
            "body_encoding": "base64",
            "delivery_tag": own_id,
            "delivery_info": {"exchange": "", "routing_key": "drive"},
        },
    }


class Channel(redis.Channel):
    """Reads the queue, and goes on after what cannot be read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu has no types
        except (*Transport.connection_errors, *Transport.channel_errors, Empty):
            raise
        except Exception as problem:
            logger.warning("an element of the queue that is no message was dropped: %s", type(problem).__name__)
            raise Empty from problem


class Transport(redis.Transport):
    """Kombu's for Redis, which hands a worker bells and nothing else."""

    Channel = Channel

    def _deliver(self, message: Mapping[str, Any], queue: str) -> None:
        ours = bell(message)
        if ours is None:
            logger.warning("a message that is no bell was dropped")
            return
        super()._deliver(ours, queue)  # type: ignore[no-untyped-call]  # as above
