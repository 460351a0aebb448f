"""Ask a person to allow exactly one call, or withdraw what was asked for."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from approvals import evidence as evidence_rules
from approvals import payload as payloads
from approvals import rules
from approvals.digest import ActionFacts
from approvals.errors import NotWithdrawable
from approvals.models import LONGEST_SLA_MINUTES, ApprovalRequest, Origin, Status
from approvals.selectors import closed_sentence
from approvals.services.checking import LONGEST_REASON, check_storable, check_text, digest_of
from approvals.services.holding import close, context_of, locked, wake
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import database_now, service
from provenance.errors import Invalid, PermissionDenied
from provenance.permissions import Permission
from provenance.risk import Risk
from secrets_vault import references

LONGEST_TITLE = 200
LONGEST_LABEL = 200
LONGEST_RATIONALE = 10_000


@service
def request_approval(
    *,
    actor: Actor,
    origin: str,
    origin_id: UUID,
    run_id: UUID | None,
    title: str,
    rationale: str,
    risk: str,
    sla_minutes: int,
    payload: dict[str, Any],
    payload_schema: dict[str, Any],
    current: dict[str, Any],
    evidence: Sequence[Mapping[str, Any]],
    facts: ActionFacts,
    agent_label: str,
    tool_label: str,
    conflicted_user_ids: Sequence[UUID],
) -> ApprovalRequest:
    """Ask a person to allow exactly one call: the payload under the facts, once, before the SLA ends.

    Asking again for the same call returns the open request; asking for another call from the same origin supersedes
    it. `conflicted_user_ids` are the people who count as having asked (T22): starter, owner of the key, publisher.
    `payload` holds what a person sees and edits; what is added on sending, such as an idempotency key, stays out of it.
    """
    actor.require(Permission.APPROVALS_WRITE)
    if facts.workspace_id != actor.workspace_id:
        raise Invalid("The facts are of another workspace than the one who asks.")
    level = _checked_terms(origin=origin, risk=risk, sla_minutes=sla_minutes)
    check_text("title", title, LONGEST_TITLE, needed=True)
    check_text("rationale", rationale, LONGEST_RATIONALE)
    check_text("agent_label", agent_label, LONGEST_LABEL, needed=True)
    check_text("tool_label", tool_label, LONGEST_LABEL, needed=True)
    items = evidence_rules.checked(evidence)
    check_storable("current", current)
    check_storable("evidence", items)
    payloads.check_schema(payload_schema)
    payloads.check_payload(payload_schema, payload)
    references.refuse_in(payload)
    digest = digest_of(facts, payload)
    now = database_now()
    waiting = _waiting(actor, origin, origin_id)
    if waiting is not None and waiting.digest == digest:
        return waiting
    if waiting is not None:
        close(waiting, Status.SUPERSEDED, now, "The action changed, and a new request stands in its place.")
        record(actor=actor, event=Event.APPROVAL_SUPERSEDED, target=waiting, context=context_of(waiting))
    request = ApprovalRequest(
        workspace_id=actor.workspace_id,
        origin=origin,
        origin_id=origin_id,
        run_id=run_id,
        title=title,
        rationale=rationale,
        risk=level.value,
        quorum=rules.quorum(level),
        sla_minutes=sla_minutes,
        requested_at=now,
        due_at=now + timedelta(minutes=sla_minutes),
        payload=payload,
        payload_schema=payload_schema,
        current=current,
        evidence=items,
        facts=facts.as_json(),
        digest=digest,
        agent_label=agent_label,
        tool_label=tool_label,
        requested_by_kind=actor.kind.value,
        requested_by_id=actor.id,
        requested_for=actor.on_behalf_of,
        conflicted_user_ids=sorted(set(conflicted_user_ids)),
    )
    request.save(force_insert=True)
    record(
        actor=actor,
        event=Event.APPROVAL_REQUESTED,
        target=request,
        risk=level,
        outcome="pending",
        context=context_of(request),
        detail={
            "title": title,
            "tool": tool_label,
            "payload": payload,
            "sla_minutes": sla_minutes,
            "evidence": evidence_rules.counts(items),
        },
    )
    return request


@service
def withdraw(*, actor: Actor, request_id: UUID, reason: str) -> ApprovalRequest:
    """Close an open request that is no longer wanted. A key or an agent withdraws only what it asked for itself."""
    actor.require(Permission.APPROVALS_WRITE)
    request = locked(actor, request_id)
    if actor.kind in (ActorKind.INTEGRATION, ActorKind.AGENT) and request.requested_by_id != actor.id:
        raise PermissionDenied(message="A key or an agent withdraws only what it asked for itself.")
    if not request.is_open:
        raise NotWithdrawable(closed_sentence(request, reader_id=actor.id))
    check_text("reason", reason, LONGEST_REASON, needed=True)
    close(request, Status.WITHDRAWN, database_now(), reason)
    record(actor=actor, event=Event.APPROVAL_WITHDRAWN, target=request, reason=reason, context=context_of(request))
    wake(request)
    return request


def _checked_terms(*, origin: str, risk: str, sla_minutes: int) -> Risk:
    """The risk class, once the terms of the request are known to be ones that can be kept."""
    if origin not in Origin.values:
        raise Invalid(f"{origin!r} is not an origin of approvals: {', '.join(Origin.values)}.")
    if isinstance(sla_minutes, bool) or not 1 <= sla_minutes <= LONGEST_SLA_MINUTES:
        raise Invalid(f"sla_minutes is {sla_minutes}; it must be from 1 to {LONGEST_SLA_MINUTES} (a week).")
    if risk not in list(Risk):
        raise Invalid(f"{risk!r} is not a risk class: {', '.join(Risk)}.")
    return Risk(risk)


def _waiting(actor: Actor, origin: str, origin_id: UUID) -> ApprovalRequest | None:
    waiting = ApprovalRequest.objects.for_actor(actor).open().filter(origin=origin, origin_id=origin_id)
    return waiting.select_for_update().first()
