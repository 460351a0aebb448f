"""Grants end by themselves (M010): the gateway refuses them from that moment on, and the sweep closes them."""

from datetime import datetime
from functools import lru_cache
from uuid import UUID

from gateway import services
from provenance.db import ask, enter

BATCH = 200


def sweep(now: datetime) -> None:
    """Look for grants that ended. Called often, it looks once a minute."""
    _swept(now.replace(second=0, microsecond=0))


@lru_cache(maxsize=1)
def _swept(minute: datetime) -> None:
    # A failure is not remembered, so the next sweep tries again.
    close_ended(minute)


def close_ended(now: datetime) -> int:
    """Close each grant that reached its end before `now`, with its `agent.grant_expired`; returns how many."""
    closed = 0
    for workspace_id, grant_id in _ended(now):
        with enter(workspace_id):
            closed += services.end_grant(actor=services.grant_keeper(workspace_id), grant_id=grant_id, now=now)
    return closed


def _ended(now: datetime) -> list[tuple[UUID, UUID]]:
    """(workspace, grant) of every workspace: a definer function looks before any workspace is in scope (T09)."""
    return ask("SELECT * FROM gateway_ended_grants(%s, %s)", [now, BATCH])
