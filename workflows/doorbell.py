"""The doorbell: a message that says "look at this token", and nothing else (T17).

It carries no authority and may be lost, doubled or forged: the claim in Postgres decides, and the sweeper finds what
was never rung for. So a failure to send is logged and undoes nothing.
"""

import logging
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

TASK = "workflows.drive"

logger = logging.getLogger(__name__)


def ring(workspace_id: UUID, token_id: UUID, dispatch_no: int) -> bool:
    """Send the doorbell now. False when the broker is away."""
    try:
        current_app.send_task(
            TASK, args=(str(workspace_id), str(token_id), dispatch_no), retry=False, ignore_result=True
        )
    except (KombuError, RedisError, OSError) as error:
        logger.warning("doorbell not sent: %s", type(error).__name__)
        return False
    return True


def ring_on_commit(workspace_id: UUID, token_id: UUID, dispatch_no: int) -> None:
    """Send the doorbell once the open transaction has committed."""
    transaction.on_commit(lambda: ring(workspace_id, token_id, dispatch_no), robust=True)
