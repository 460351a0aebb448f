"""A decision counts when the log says so: a signed event of a web process, about this request, naming this digest (T01)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from approvals.errors import DecisionNotProven
from approvals.models import ApprovalDecision, ApprovalRequest, Status, Verdict
from audit.models import AuditEvent
from audit.signing import KeyRing
from audit.taxonomy import Event

DECIDING_PROCESS = "web"
"""Whose key ids sign decisions. Postgres lets no other role store an event under them."""

_EVENTS = {Verdict.APPROVE: Event.APPROVAL_APPROVED, Verdict.REJECT: Event.APPROVAL_REJECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """A decision as its row has it, and the event that must say the same: its id, key id, body and MAC."""

    workspace_id: UUID
    request_id: UUID
    decided_by: UUID
    verdict: str
    digest: str
    event_id: UUID
    kid: str
    body: str
    mac: bytes


def proven(request: ApprovalRequest, decisions: Sequence[ApprovalDecision]) -> list[ApprovalDecision]:
    """The decisions that made the request what it is, oldest first, each with its signed event.

    Raises `DecisionNotProven` when fewer are proven than the request needs: then it was not people who decided it.
    """
    verdict = Verdict.APPROVE if request.status == Status.APPROVED else Verdict.REJECT
    needed = request.quorum if verdict is Verdict.APPROVE else 1
    events = {event.id: event for event in _events_of(request, decisions)}
    keys = KeyRing.from_settings()
    good = [
        decision
        for decision in decisions
        if decision.verdict == verdict
        and (verdict is Verdict.REJECT or decision.digest == request.approved_digest)
        and decision.event_id in events
        and proves(_testimony(decision, events[decision.event_id]), keys)
    ]
    if len({decision.decided_by for decision in good}) < needed:
        raise DecisionNotProven(approval=request.public_id)
    return good


def _events_of(request: ApprovalRequest, decisions: Sequence[ApprovalDecision]) -> Sequence[AuditEvent]:
    rows = AuditEvent.objects.for_workspace(request.workspace_id)
    return list(rows.filter(pk__in=[decision.event_id for decision in decisions]))


def proves(testimony: Testimony, keys: KeyRing) -> bool:
    """Whether the event is signed under a web's key and says exactly this decision. Pure.

    Without the key nothing is proven: whoever consumes decisions is given web's. A key that verifies an HMAC can also
    make one. What keeps a worker from storing a decision of its own making is the database, which accepts web's key id
    from web's role alone.
    """
    if not testimony.kid or testimony.kid.rpartition("-")[0] != DECIDING_PROCESS:
        return False
    key = keys.key(testimony.kid, testimony.workspace_id)
    if key is None or not key.verifies(testimony.body.encode(), testimony.mac):
        return False
    said = json.loads(testimony.body)
    return bool(
        said["kid"] == testimony.kid
        and said["id"] == str(testimony.event_id)
        and said["workspace"] == str(testimony.workspace_id)
        and said["action"] == _EVENTS[Verdict(testimony.verdict)]
        and said["object"]["type"] == ApprovalRequest.audit_type
        and said["object"]["id"] == str(testimony.request_id)
        and (said["actor"]["type"], said["actor"]["id"]) == ("user", str(testimony.decided_by))
        and said["context"].get("action_digest") == testimony.digest
    )


def _testimony(decision: ApprovalDecision, event: AuditEvent) -> Testimony:
    return Testimony(
        workspace_id=decision.workspace_id,
        request_id=decision.request_id,
        decided_by=decision.decided_by,
        verdict=decision.verdict,
        digest=decision.digest,
        event_id=event.id,
        kid=event.kid,
        body=event.body,
        mac=bytes(event.mac),
    )
