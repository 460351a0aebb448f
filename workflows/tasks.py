"""Celery entries: take ids, call one function."""

import logging
from uuid import UUID

from celery import shared_task

from workflows import doorbell, engine

logger = logging.getLogger(__name__)


@shared_task(name=doorbell.TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def drive(workspace_id: str, token_id: str, dispatch_no: int) -> None:
    """Move a run on from where this token stands, until it parks, ends or has had its turn."""
    try:
        workspace, token, number = UUID(workspace_id), UUID(token_id), int(dispatch_no)
    except (ValueError, TypeError, AttributeError):
        logger.warning("a doorbell that names nothing was dropped")
        return
    following = engine.drive(workspace, token, number)
    if following is not None:
        doorbell.ring(workspace, token, following)
