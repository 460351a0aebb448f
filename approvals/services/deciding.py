"""Approve or reject, as one person. A decision performs nothing; whoever asked is woken and acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from approvals import payload as payloads
from approvals import rules
from approvals.digest import ActionFacts
from approvals.errors import (
    NotOpen,
    PayloadRefused,
    ReasonNeeded,
    SeparationOfDuties,
    ShownElse,
    SlaPassed,
    StepUpNeeded,
    TooNew,
)
from approvals.models import ApprovalDecision, ApprovalRequest, Status, Verdict
from approvals.selectors import closed_sentence, newcomer, shown_state
from approvals.services.checking import LONGEST_REASON, check_text, digest_of
from approvals.services.holding import context_of, locked, wake
from audit.loading import demand_as_signed
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now, service
from provenance.errors import Invalid
from provenance.permissions import Permission
from secrets_vault import references


@service
def decide(
    *,
    actor: Actor,
    request_id: UUID,
    verdict: str,
    payload: dict[str, Any] | None = None,
    reason: str = "",
    shown: str | None = None,
    step_up: str = "",
) -> ApprovalDecision:
    """Approve or reject, as one person. Of several who decide at the same time exactly one wins; others learn who.

    `payload` is the edited payload (None: as it stands). The tool's schema says what may change, and the approval then
    binds the edit. `shown` is the `shown_state` of what the person saw; a difference raises `ShownElse`. `step_up`
    names how the person proved just now who they are: approving critical risk needs it, and a second person, who
    approves exactly what the first did; neither may have been given their roles within the last day. Performs nothing:
    whoever asked is woken after the commit. Raises `RowAltered` for a request that is not what the log says.
    """
    actor.require(Permission.APPROVALS_DECIDE)
    request = locked(actor, request_id)
    demand_as_signed(request)
    now = database_now()
    _demand_open(request, now, actor)
    earlier = list(request.decisions.order_by("id"))
    _demand_may_decide(actor, request, earlier)
    if shown is not None and shown != shown_state(request):
        raise ShownElse
    said = _verdict(verdict)
    if said is Verdict.APPROVE and (too_new := newcomer(actor, request, now)):
        raise TooNew(message=too_new.words, bar=too_new.bar.value)
    choice = _choice(request, earlier, verdict=said, payload=payload, reason=reason, step_up=step_up)
    return _store(actor, request, choice, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What a person decides, after every check."""

    verdict: Verdict
    payload: dict[str, Any]
    digest: str
    changed: list[str]
    reason: str
    step_up: str


def _verdict(text: str) -> Verdict:
    if text not in Verdict.values:
        message = f"One of {', '.join(Verdict.values)}."
        raise Invalid(f"{text!r} is not a decision.", errors=[{"path": "verdict", "message": message}])
    return Verdict(text)


def _demand_open(request: ApprovalRequest, now: datetime, actor: Actor) -> None:
    if not request.is_open:
        sentence = closed_sentence(request, reader_id=actor.id)
        raise NotOpen(f"{sentence} Your decision was not recorded.", status_now=request.status)
    if now > request.due_at:
        raise SlaPassed(request.due_at)


def _demand_may_decide(actor: Actor, request: ApprovalRequest, earlier: Sequence[ApprovalDecision]) -> None:
    refusal = rules.may_decide(actor, request.requester, decided_by=[decision.decided_by for decision in earlier])
    if refusal is not None:
        raise SeparationOfDuties(message=refusal.words, bar=refusal.bar.value)


def _choice(
    request: ApprovalRequest,
    earlier: Sequence[ApprovalDecision],
    *,
    verdict: Verdict,
    payload: dict[str, Any] | None,
    reason: str,
    step_up: str,
) -> _Choice:
    reason = reason.strip()
    check_text("reason", reason, LONGEST_REASON)
    if not rules.reason_is_enough(request.risk_class, reason):
        raise ReasonNeeded
    if verdict is Verdict.REJECT:
        final, digest = request.payload, request.digest
    else:
        if rules.needs_step_up(request.risk_class) and not step_up:
            raise StepUpNeeded
        final = _approved_payload(request, earlier, payload)
        digest = digest_of(ActionFacts.from_json(request.facts), final)
    return _Choice(
        verdict=verdict,
        payload=final,
        digest=digest,
        changed=payloads.changed_fields(request.payload, final),
        reason=reason,
        step_up=step_up,
    )


def _approved_payload(
    request: ApprovalRequest, earlier: Sequence[ApprovalDecision], edited: dict[str, Any] | None
) -> dict[str, Any]:
    if earlier:
        agreed: dict[str, Any] = earlier[0].payload
        if edited is not None and payloads.changed_fields(agreed, edited):
            message = "The first approval fixed the payload. Approve that, or reject."
            raise PayloadRefused([{"path": "", "message": message}])
        return agreed
    if edited is None:
        return request.payload  # type: ignore[no-any-return]  # a JSONField holds any JSON; request_approval an object
    payloads.check_edit(request.payload_schema, request.payload, edited)
    references.refuse_in(edited)
    return edited


def _store(actor: Actor, request: ApprovalRequest, choice: _Choice, now: datetime) -> ApprovalDecision:
    approves = choice.verdict is Verdict.APPROVE
    if approves:
        request.approve_count += 1
        request.approved_digest = choice.digest
    if not approves or request.approve_count >= request.quorum:
        request.status = Status.APPROVED if approves else Status.REJECTED
        request.decided_at = now
    request.save(update_fields=["approve_count", "approved_digest", "status", "decided_at"])
    context = context_of(request, digest=choice.digest)
    detail = _decision_detail(request, choice, now)
    if approves and choice.changed:
        place = Target("approval", str(request.pk))
        record(actor=actor, event=Event.APPROVAL_PAYLOAD_EDITED, target=place, context=context, detail=detail)
    event = record(
        actor=actor,
        event=Event.APPROVAL_APPROVED if approves else Event.APPROVAL_REJECTED,
        target=request,
        reason=choice.reason,
        context=context,
        detail=detail,
    )
    decision = ApprovalDecision(
        workspace_id=request.workspace_id,
        request=request,
        verdict=choice.verdict,
        payload=choice.payload,
        digest=choice.digest,
        changed_fields=choice.changed,
        reason=choice.reason,
        decided_by=UUID(actor.id),
        decided_at=now,
        step_up=choice.step_up,
        event_id=event.id,
    )
    decision.save(force_insert=True)
    record(actor=actor, event=Event.APPROVAL_DECISION_RECORDED, target=decision, context=context)
    if not request.is_open:
        wake(request)
    return decision


def _decision_detail(request: ApprovalRequest, choice: _Choice, now: datetime) -> dict[str, Any]:
    return {
        "title": request.title,
        "tool": request.tool_label,
        "proposed": request.payload,
        "payload": choice.payload,
        "changed_fields": choice.changed,
        "proposed_digest": request.digest,
        "digest": choice.digest,
        "approvals": f"{request.approve_count} of {request.quorum}",
        "seconds_to_decide": round((now - request.requested_at).total_seconds()),
        "step_up": choice.step_up,
    }
