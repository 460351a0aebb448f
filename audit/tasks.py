"""Celery entries: take ids, call one function."""

import logging
from uuid import UUID

from celery import shared_task

from audit import background

logger = logging.getLogger(__name__)


@shared_task(name=background.TASK, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def build_export(workspace_id: str, export_id: str) -> None:
    """Make the bundle that a member asked for."""
    try:
        workspace, export = UUID(workspace_id), UUID(export_id)
    except (ValueError, TypeError, AttributeError):
        logger.warning("a doorbell that names nothing was dropped")
        return
    background.build(workspace, export)
