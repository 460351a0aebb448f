"""What falls due: receivers that have something to get, and digests whose period is over. Here bells are rung, no more."""

import logging
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from celery import current_app
from django.db import connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from provenance.db import ask, enter

STREAM_TASK = "streams.stream"
DIGEST_TASK = "streams.digest"
MOST = 200
# As long as a bell that was rung is waited for, so that a busy worker does not find hundreds for one receiver.
RUNG_SECONDS = 10

logger = logging.getLogger(__name__)

_RING = """
UPDATE streams_cursor SET rung_until = clock_timestamp() + make_interval(secs => %s)
 WHERE sink_id = %s AND NOT rung_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
"""


def sweep(now: datetime) -> None:
    """Ring for each receiver that is due, and once a minute for each digest that is."""
    ring_due()
    _digests_of(now.replace(second=0, microsecond=0))


def ring_due() -> int:
    """Ring once for each receiver that has something to get; how many there were."""
    rung = 0
    for workspace_id, sink_id in _ids("streams_due", MOST):
        with enter(workspace_id), connection.cursor() as cursor:
            cursor.execute(_RING, [RUNG_SECONDS, sink_id])
            is_ours = cursor.rowcount == 1
        if is_ours:
            rung += _ring(STREAM_TASK, workspace_id, sink_id)
    return rung


@lru_cache(maxsize=1)
def _digests_of(minute: datetime) -> None:
    # A failure is not remembered, so the next sweep tries again.
    for workspace_id, digest_id in _ids("streams_due_digests", minute, MOST):
        _ring(DIGEST_TASK, workspace_id, digest_id)


def _ids(function: str, *arguments: datetime | int) -> list[tuple[UUID, UUID]]:
    """(workspace, id) of every workspace: a definer function looks before any workspace is in scope (T09)."""
    places = ", ".join(["%s"] * len(arguments))
    return ask(f"SELECT * FROM {function}({places})", arguments)  # noqa: S608  our own names


def _ring(task: str, workspace_id: UUID, subject_id: UUID) -> bool:
    try:
        current_app.send_task(task, args=(str(workspace_id), str(subject_id)), retry=False, ignore_result=True)
    except (KombuError, RedisError, OSError) as error:
        # Nothing is lost: what is due stays due, and the next sweep rings again.
        logger.warning("bell not rung: %s", type(error).__name__)
        return False
    return True
