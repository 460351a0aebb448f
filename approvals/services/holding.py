"""A request in hand: held against everyone else, closed by the platform, and the doorbell to whoever asked."""

from datetime import datetime
from uuid import UUID

from approvals import origins
from approvals.models import ApprovalRequest, Status
from audit.services import EventContext
from provenance.actor import Actor
from provenance.errors import NotFound


def locked(actor: Actor, request_id: UUID) -> ApprovalRequest:
    """The request, held against everyone else who would decide, expire or withdraw it."""
    request = ApprovalRequest.locked(actor, pk=request_id)
    if request is None:
        raise NotFound("There is no such approval here.")
    return request


def close(request: ApprovalRequest, status: Status, now: datetime, reason: str) -> None:
    """Close the request without a person, for a reason of the platform. The caller records why."""
    request.status = status
    request.decided_at = now
    request.closing_reason = reason
    request.save(update_fields=["status", "decided_at", "closing_reason"])


def wake(request: ApprovalRequest) -> None:
    """Ring for whoever asked, once the transaction has committed."""
    origins.wake_on_commit(request.origin, request.workspace_id, request.origin_id)


def context_of(request: ApprovalRequest, digest: str = "") -> EventContext:
    """Where it happened. The action is named by its digest, so that the signature covers what was allowed (T05)."""
    return EventContext(run_id=request.run_id, action_digest=digest or request.digest)
