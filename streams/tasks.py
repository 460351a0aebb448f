"""Celery entries: take ids, call one function."""

import logging
import threading
from collections.abc import Callable
from uuid import UUID

from celery import shared_task

from streams import delivery, digests, sweep

# Receivers may be slow, and runs must not wait for them: at most so many of a worker's threads are with streams at a time.
# Whoever finds none free leaves; what is due is rung for again.
AT_ONCE = 8

logger = logging.getLogger(__name__)
_free = threading.BoundedSemaphore(AT_ONCE)


@shared_task(name=sweep.STREAM_TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def stream(workspace_id: str, sink_id: str) -> None:
    """Bring a receiver up to date."""
    _with_ids(delivery.stream, workspace_id, sink_id)


@shared_task(name=sweep.DIGEST_TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # as above
def digest(workspace_id: str, digest_id: str) -> None:
    """Send what is due of a digest."""
    _with_ids(digests.send_due, workspace_id, digest_id)


def _with_ids(work: Callable[[UUID, UUID], object], workspace_id: str, subject_id: str) -> None:
    try:
        ids = UUID(workspace_id), UUID(subject_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("a bell that names nothing was dropped")
        return
    if not _free.acquire(blocking=False):
        return
    try:
        work(*ids)
    finally:
        _free.release()
