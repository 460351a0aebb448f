"""What happens to a request when nobody decides: a warning, another one, and in the end a rejection."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from approvals.models import ApprovalRequest, Status
from approvals.services.holding import close, context_of, locked, wake
from audit.attestation import RowAltered
from audit.services import Target, record, record_altered
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now, enter
from provenance.permissions import Permission

WARN_AT_PERCENT = (80, 50)
SWEEP_BATCH = 500

logger = logging.getLogger(__name__)


def expire_due(now: datetime | None = None) -> int:
    """Reject what nobody decided in time and warn about what is running out; returns how many were touched.

    The sweep of the elected worker. It never approves: the database refuses that from this role, and after the SLA
    from every role. `now` is database time and defaults to it. One request that fails leaves the others to be done.
    """
    at = now or database_now()
    touched = 0
    for workspace_id, request_id in _overdue(at):
        touched += _each(workspace_id, request_id, at, _expire)
    for workspace_id, request_id in _running_out(at):
        touched += _each(workspace_id, request_id, at, _warn)
    return touched


def _overdue(now: datetime) -> list[tuple[UUID, UUID]]:
    return _waiting_ids("SELECT * FROM approvals_overdue(%s, %s)", now)


def _running_out(now: datetime) -> list[tuple[UUID, UUID]]:
    return _waiting_ids("SELECT * FROM approvals_running_out(%s, %s)", now)


def _waiting_ids(query: str, now: datetime) -> list[tuple[UUID, UUID]]:
    """(workspace, request) of every workspace: a definer function looks before any workspace is in scope (T09)."""
    with connection.cursor() as cursor:
        cursor.execute(query, [now, SWEEP_BATCH])
        return list(cursor.fetchall())


def _each(
    workspace_id: UUID, request_id: UUID, now: datetime, change: Callable[[Actor, ApprovalRequest, datetime], bool]
) -> bool:
    actor = Actor.system("approvals.sla", workspace_id, {Permission.APPROVALS_EXPIRE})
    try:
        with enter(workspace_id):
            return change(actor, locked(actor, request_id), now)
    except RowAltered as error:
        record_altered(error.altered, by="approvals.sla")
        return False
    except Exception:
        logger.exception("approvals.sweep_failed", extra={"request_id": str(request_id)})
        return False


def _expire(actor: Actor, request: ApprovalRequest, now: datetime) -> bool:
    """Reject it, unless a person was faster or another sweep has been here."""
    actor.require(Permission.APPROVALS_EXPIRE)
    if not request.is_open or now <= request.due_at:
        return False
    detail = {"title": request.title, "sla_minutes": request.sla_minutes, "next": "reject"}
    place = Target("approval", str(request.pk))
    record(actor=actor, event=Event.APPROVAL_SLA_BREACH, target=place, context=context_of(request), detail=detail)
    reason = f"Nobody decided within {request.sla_minutes} minutes."
    close(request, Status.EXPIRED, now, reason)
    record(actor=actor, event=Event.APPROVAL_EXPIRED, target=request, reason=reason, context=context_of(request))
    wake(request)
    return True


def _warn(actor: Actor, request: ApprovalRequest, now: datetime) -> bool:
    """Say once at each mark how much of the time is gone."""
    actor.require(Permission.APPROVALS_EXPIRE)
    gone = (now - request.requested_at) / timedelta(minutes=request.sla_minutes) * 100
    mark = next((percent for percent in WARN_AT_PERCENT if gone >= percent), 0)
    if not request.is_open or mark <= request.warned_percent:
        return False
    request.warned_percent = mark
    request.save(update_fields=["warned_percent"])
    minutes_left = max(0, int((request.due_at - now).total_seconds() // 60))
    detail = {"title": request.title, "percent": mark, "minutes_left": minutes_left}
    record(actor=actor, event=Event.APPROVAL_SLA_WARNING, target=request, context=context_of(request), detail=detail)
    return True
