"""The inbox and one request: what will change, why, and the decision. A GET shows; only a POST decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from allauth.core import ratelimit
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from approvals import fields, nonces, payload, rules, selectors, services
from approvals.errors import NotOpen, SeparationOfDuties, ShownElse, StepUpNeeded, TooNew
from approvals.models import ApprovalDecision, ApprovalRequest, Verdict
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.canonical import digest
from provenance.errors import Conflict, Invalid, TooManyRequests
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, page, panels, render
from provenance.permissions import Permission
from secrets_vault.references import ReferenceInArguments

STEP_UP = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a person sent: the verdict, the fields as typed, and proof of what they had seen."""

    verdict: str
    reason: str
    nonce: str
    is_confirmed: bool
    password: str = field(repr=False)
    read: frozenset[str]
    posted: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, request: HttpRequest) -> "_Answer":
        post = request.POST
        return cls(
            verdict=post.get("verdict", ""),
            reason=post.get("reason", ""),
            nonce=post.get("nonce", ""),
            is_confirmed="confirmed" in post,
            password=post.get("password", ""),
            read=frozenset(post.getlist("read")),
            posted={name: str(value) for name, value in post.items() if name.startswith(fields.PREFIX)},
        )


@page(Permission.APPROVALS_READ)
def inbox(request: PageRequest) -> HttpResponse:
    """The list; beside it, where there is room, the request with the least time left."""
    tab = request.GET.get("tab", "mine")
    before = request.GET.get("before", "")
    shown = selectors.inbox(
        request.actor,
        tab if tab in selectors.TABS else "mine",
        parse_public_id("apr", before) if before else None,
    )
    context: dict[str, Any] = {"inbox": shown, "full": False}
    if shown.rows:
        context |= _shown(request, selectors.request_detail(request.actor, shown.rows[0].request.pk))
    return render(request, "approvals/inbox.html", context)


@page(Permission.APPROVALS_READ)
def detail(request: PageRequest, approval_id: str) -> HttpResponse:
    """One request, with the list beside it where there is room."""
    found = selectors.request_detail(request.actor, parse_public_id("apr", approval_id))
    return _detail_page(request, found)


@page(Permission.APPROVALS_DECIDE)
def decide(request: PageRequest, approval_id: str) -> HttpResponse:
    """Take a decision: at once, or after a second look at what will be sent where the risk is high.

    A GET, whoever prefetches it, leads back to the request.
    """
    request_id = parse_public_id("apr", approval_id)
    found = selectors.request_detail(request.actor, request_id)
    if request.method != "POST":
        return _to(request, found.request)
    answer = _Answer.of(request)
    try:
        with transaction.atomic():
            return _take(request, found, answer)
    except Conflict as conflict:
        return _conflict_page(request, request_id, answer, conflict)
    except ReferenceInArguments as refused:
        _record_reference(request, found.request)
        problem = Invalid(refused.message, errors=[{"path": "", "message": refused.message}])
        return _detail_page(request, found, answer=answer, problem=problem, status=problem.status)
    except Invalid as invalid:
        return _invalid_page(request, found, answer, invalid)


def _take(request: PageRequest, found: selectors.RequestDetail, answer: _Answer) -> HttpResponse:
    asked = found.request
    if not asked.is_open:
        raise NotOpen
    if found.refusal:
        raise SeparationOfDuties(message=found.refusal.words, bar=found.refusal.bar.value)
    if found.not_yet and answer.verdict == Verdict.APPROVE:
        raise TooNew(message=found.not_yet.words, bar=found.not_yet.bar.value)
    state = selectors.shown_state(asked)
    edited = _edited(found, answer)
    confirming = answer.verdict == Verdict.APPROVE and _needs_second_look(found, edited)
    if confirming and not answer.is_confirmed:
        _demand_nonce(request, asked, answer.nonce, state)
        if edited is not None:
            payload.check_edit(asked.payload_schema, asked.payload, edited)
        return _confirm_page(request, found, answer, edited)
    _demand_nonce(request, asked, answer.nonce, _confirmed_state(state, edited) if confirming else state)
    if confirming:
        _demand_read(found, answer)
    decision = services.decide(
        actor=request.actor,
        request_id=asked.pk,
        verdict=answer.verdict,
        payload=edited,
        reason=answer.reason,
        shown=state,
        step_up=_step_up(request, asked, answer) if confirming else "",
    )
    messages.success(request, _done_sentence(decision))
    return _to(request, asked)


def _to(request: PageRequest, asked: ApprovalRequest) -> HttpResponse:
    return redirect("approvals:detail", request.workspace.slug, asked.public_id)


# --- What was sent ---------------------------------------------------------------------------------------------------


def _edited(found: selectors.RequestDetail, answer: _Answer) -> dict[str, Any] | None:
    """The edited payload; None for a rejection and where a first approval has fixed it."""
    if answer.verdict != Verdict.APPROVE or found.decisions:
        return None
    return fields.read(found.request.payload_schema, found.request.payload, answer.posted)


def _needs_second_look(found: selectors.RequestDetail, edited: dict[str, Any] | None) -> bool:
    """Where the risk asks for it, and where an edit sets a date in the past: allowed, but never by a slip."""
    asked = found.request
    if rules.needs_confirmation(asked.risk_class):
        return True
    if edited is None:
        return False
    changes = fields.changes(asked.payload_schema, asked.current, asked.payload, edited)
    return any(change.is_edited for change in fields.past_dates(changes, timezone.now().date()))


def _demand_nonce(request: PageRequest, asked: ApprovalRequest, nonce: str, shown: str) -> None:
    """Refuse what was not shown in this session."""
    session_key = request.session.session_key or ""
    if not nonces.matches(nonce, session_key=session_key, request_id=asked.pk, shown=shown):
        raise ShownElse


def _confirmed_state(state: str, edited: dict[str, Any] | None) -> str:
    """What the second look shows: the request and the exact payload that will be sent."""
    return digest({"state": state, "payload": fields.as_text(edited)})


def _demand_read(found: selectors.RequestDetail, answer: _Answer) -> None:
    unread = [item["label"] for index, item in enumerate(found.contradictions) if str(index) not in answer.read]
    if unread:
        message = f"Tick that you have read what contradicts: {', '.join(unread)}."
        raise Invalid(message, errors=[{"path": "read", "message": message}])


def _step_up(request: PageRequest, asked: ApprovalRequest, answer: _Answer) -> str:
    """How the person proved who they are, just now and for this decision; "" where the risk does not ask for it."""
    if not rules.needs_step_up(asked.risk_class):
        return ""
    if not ratelimit.consume(request, action="reauthenticate", user=request.user):
        raise TooManyRequests("Too many attempts. Wait a minute and try again. Nothing was decided.")
    if not request.user.check_password(answer.password):
        message = "This is not your password. Nothing was decided."
        raise StepUpNeeded(message, errors=[{"path": "password", "message": message}])
    place = Target("approval", str(asked.pk))
    record(actor=request.actor, event=Event.AUTH_STEP_UP_COMPLETED, target=place, detail={"method": STEP_UP})
    return STEP_UP


# --- What is shown ---------------------------------------------------------------------------------------------------


def _shown(request: PageRequest, found: selectors.RequestDetail, answer: _Answer | None = None) -> dict[str, Any]:
    """What the page of a request shows: its fields with what was typed, and the nonce for deciding it."""
    asked = found.request
    agreed = found.decisions[0].payload if found.decisions else asked.payload
    typed = answer.posted if answer else {}
    return {
        "found": found,
        "asked": asked,
        "fields": fields.fill(asked.payload_schema, agreed, typed),
        "can_edit": asked.is_open and not found.refusal and not found.decisions,
        "change_owner": "your edit" if asked.is_open and not found.decisions else "the approver's edit",
        "reason": answer.reason if answer else "",
        "nonce": _nonce(request, asked, selectors.shown_state(asked)),
        "closed": selectors.closed_sentence(asked, reader_id=request.actor.id),
        "needs_reason": rules.needs_reason(asked.risk_class),
        "past_dates": fields.past_dates(found.changes, timezone.now().date()) if asked.is_open else [],
        "evidence": [(item, panels(request, "approval.evidence", (asked, item))) for item in found.evidence],
        "panels": panels(request, "approval", asked),
    }


def _nonce(request: PageRequest, asked: ApprovalRequest, shown: str) -> str:
    return nonces.issue(session_key=request.session.session_key or "", request_id=asked.pk, shown=shown)


def _detail_page(
    request: PageRequest,
    found: selectors.RequestDetail,
    *,
    answer: _Answer | None = None,
    problem: Exception | None = None,
    status: int = 200,
) -> HttpResponse:
    context = _shown(request, found, answer)
    errors = problem.data.get("errors", []) if isinstance(problem, Invalid) else []
    context["fields"] = fields.with_errors(context["fields"], errors)
    context |= {
        "inbox": selectors.inbox(request.actor, _tab_of(found)),
        "full": True,
        "problem": problem,
        "kept_reason": answer.reason if answer and not found.request.is_open else "",
    }
    return render(request, "approvals/detail.html", context, status=status)


def _tab_of(found: selectors.RequestDetail) -> str:
    if not found.request.is_open:
        return "decided"
    return "waiting" if found.refusal else "mine"


def _confirm_page(
    request: PageRequest,
    found: selectors.RequestDetail,
    answer: _Answer,
    edited: dict[str, Any] | None,
    *,
    problem: Invalid | None = None,
) -> HttpResponse:
    """The second look: once more what will change, exactly as it will be sent, and what speaks against it."""
    asked = found.request
    state = _confirmed_state(selectors.shown_state(asked), edited)
    shown = selectors.request_detail(request.actor, asked.pk, edited)
    context = {
        "found": shown,
        "past_dates": fields.past_dates(shown.changes, timezone.now().date()),
        "asked": asked,
        "answer": answer,
        "is_edited": edited is not None and bool(payload.changed_fields(asked.payload, edited)),
        "nonce": _nonce(request, asked, state),
        "needs_step_up": rules.needs_step_up(asked.risk_class),
        "needs_reason": rules.needs_reason(asked.risk_class),
        "problem": problem,
    }
    return render(request, "approvals/confirm.html", context, status=problem.status if problem else 200)


def _invalid_page(
    request: PageRequest, found: selectors.RequestDetail, answer: _Answer, problem: Invalid
) -> HttpResponse:
    """The form again with what was typed and what is wrong with it: the second look where that is what was wrong."""
    paths = {error["path"] for error in problem.data.get("errors", [])}
    if answer.is_confirmed and paths & {"read", "password", "reason"}:
        return _confirm_page(request, found, answer, _edited(found, answer), problem=problem)
    return _detail_page(request, found, answer=answer, problem=problem, status=problem.status)


def _conflict_page(request: PageRequest, request_id: UUID, answer: _Answer, conflict: Conflict) -> HttpResponse:
    """Who was faster and what they decided. What was typed stays: as text to copy, or in the form if it is open still."""
    found = selectors.request_detail(request.actor, request_id)
    if not found.request.is_open:
        sentence = selectors.closed_sentence(found.request, reader_id=request.actor.id)
        conflict = NotOpen(f"{sentence} Your decision was not recorded.")
    return _detail_page(request, found, answer=answer, problem=conflict, status=conflict.status)


def _done_sentence(decision: ApprovalDecision) -> str:
    if decision.verdict == Verdict.REJECT:
        return "Rejected. The run learns that it may not do this."
    if decision.request.is_open:
        return "Approved by you. A second person decides now; nothing happens before."
    return "Approved with your edit. The run goes on." if decision.is_edited else "Approved. The run goes on."


def _record_reference(request: PageRequest, asked: ApprovalRequest) -> None:
    """A reference to a secret in an edit is refused, and written down: nobody types one by accident (T02)."""
    record(
        actor=request.actor,
        event=Event.POLICY_VIOLATION,
        target=Target("approval", str(asked.pk)),
        outcome="blocked",
        reason="A reference to a secret stood in an edited payload.",
        detail={"rule": ReferenceInArguments.rule, "direction": "edit"},
    )
