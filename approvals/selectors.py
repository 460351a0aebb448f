"""Reads: the inbox, one request as its page shows it, and the decision that whoever asked acts upon."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Q
from django.utils import timezone

from approvals import evidence, fields, rules, witness
from approvals.models import OPEN, ApprovalDecision, ApprovalRequest, Status, Verdict
from approvals.proof import proven
from approvals.rules import Refusal
from provenance.actor import Actor
from provenance.canonical import digest
from provenance.errors import NotFound
from provenance.permissions import Permission
from workspaces.models import User
from workspaces.selectors import roles_given_at

PAGE_SIZE = 50
MOST_WAITING = 200
TABS = ("mine", "waiting", "decided")

_FINAL_WORDS = {Status.APPROVED: "approved", Status.REJECTED: "rejected"}
_CLOSED_WORDS = {
    Status.EXPIRED: "Nobody decided in time, so it was rejected",
    Status.WITHDRAWN: "The request was withdrawn",
    Status.SUPERSEDED: "Another request took its place",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFacts:
    """How a request stands, for whoever asked. `payload` and `digest` are what was approved, and None otherwise."""

    status: str
    request_id: UUID
    payload: dict[str, Any] | None = None
    digest: str | None = None
    decided_by: UUID | None = None
    is_edited: bool = False


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One request of the list; `said` has who decided and why, where people did."""

    request: ApprovalRequest
    said: list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """One tab of the inbox. `older` is the public id to continue from, "" at the end of the list."""

    tab: str
    rows: list[InboxRow]
    mine_count: int
    waiting_count: int
    hidden_count: int
    older: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a request's history. `words` are a person's own."""

    at: datetime | None
    icon: str
    tone: str
    sentence: str
    words: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDetail:
    """One request with everything its page says about it.

    `refusal`: why the reader may not decide. `not_yet`: why one who may decide may not approve yet.
    """

    request: ApprovalRequest
    decisions: list[ApprovalDecision]
    history: list[Entry]
    refusal: Refusal | None
    not_yet: Refusal | None
    changes: list[fields.Change]
    evidence: list[dict[str, str]]
    evidence_counts: str
    contradictions: list[Mapping[str, str]]


def inbox(actor: Actor, tab: str = "mine", before: UUID | None = None) -> Inbox:
    """The requests of a tab: open ones by time left, decided ones newest first. Always the same number of queries."""
    actor.require(Permission.APPROVALS_READ)
    rows = ApprovalRequest.objects.for_actor(actor)
    mine, waiting = _for_me(rows.open(), actor), rows.open()
    counts = {"mine": mine.count(), "waiting": waiting.count()}
    if tab == "decided":
        found = list(_before(rows.closed(), before).prefetch_related(_DECISIONS)[: PAGE_SIZE + 1])
    else:
        found = list((mine if tab == "mine" else waiting).order_by("due_at", "id")[:MOST_WAITING])
    shown = found[:PAGE_SIZE] if tab == "decided" else found
    decisions = [decision for request in shown if tab == "decided" for decision in request.decisions.all()]
    known = names(decision.decided_by for decision in decisions)
    return Inbox(
        tab=tab,
        rows=[InboxRow(request, _said(request, decisions, known)) for request in shown],
        mine_count=counts["mine"],
        waiting_count=counts["waiting"],
        hidden_count=max(0, counts.get(tab, 0) - len(shown)),
        older=shown[-1].public_id if len(found) > len(shown) else "",
    )


def waiting_for(actor: Actor) -> int:
    """How many requests the actor may decide now: the number in the navigation."""
    count: int = _for_me(ApprovalRequest.objects.for_actor(actor).open(), actor).count()
    return count


def request_detail(actor: Actor, request_id: UUID, edited: dict[str, Any] | None = None) -> RequestDetail:
    """The request with its changes (with the reader's edit, if there is one), decisions, and who may decide."""
    request = _request(actor, request_id)
    decisions = list(request.decisions.all())
    agreed = decisions[0].payload if decisions and decisions[0].verdict == Verdict.APPROVE else None
    shown = witnessed_evidence(request)
    refusal = rules.may_decide(actor, request.requester, decided_by=[decision.decided_by for decision in decisions])
    return RequestDetail(
        request=request,
        decisions=decisions,
        history=_history(request, decisions, names(decision.decided_by for decision in decisions)),
        refusal=refusal,
        not_yet=newcomer(actor, request, timezone.now()) if request.is_open and not refusal else None,
        changes=fields.changes(
            request.payload_schema, request.current, request.payload, edited if edited is not None else agreed
        ),
        evidence=shown,
        evidence_counts=evidence.counts(shown),
        contradictions=evidence.contradictions(shown),
    )


def newcomer(actor: Actor, request: ApprovalRequest, now: datetime) -> Refusal | None:
    """Why the yes of somebody who may decide does not count yet for this request; None when it does."""
    if rules.quorum(request.risk_class) == 1:
        return None  # asks the log only where the answer matters
    return rules.too_new(request.risk_class, roles_given_at(request.workspace_id, UUID(actor.id)), now)


def witnessed_evidence(request: ApprovalRequest) -> list[dict[str, str]]:
    """The evidence as anybody may be shown it: held against what the platform itself recorded of the run (T25)."""
    items = request.evidence
    answers = witness.answers(request.workspace_id, request.run_id, evidence.calls_named(items))
    return evidence.held_against(items, answers, agent=request.agent_label)


def decision_for(workspace_id: UUID, origin: str, origin_id: UUID) -> DecisionFacts | None:
    """How the newest request of this origin stands; None when there never was one. Call it inside the workspace.

    An approval counts only when each decision behind it carries a signed event of a web process that names its digest
    (T01). One that does not raises `DecisionNotProven`: somebody wrote a decision that no person made.
    """
    rows = ApprovalRequest.objects.for_workspace(workspace_id).filter(origin=origin, origin_id=origin_id)
    request = rows.prefetch_related(_DECISIONS).order_by("-id").first()
    if request is None:
        return None
    decisions = list(request.decisions.all())
    if request.status not in (Status.APPROVED, Status.REJECTED):
        return DecisionFacts(status=request.status, request_id=request.pk)
    last = proven(request, decisions)[-1]
    if request.status == Status.REJECTED:
        return DecisionFacts(status=request.status, request_id=request.pk, decided_by=last.decided_by)
    return DecisionFacts(
        status=request.status,
        request_id=request.pk,
        payload=last.payload,
        digest=last.digest,
        decided_by=last.decided_by,
        is_edited=last.is_edited,
    )


def requests(actor: Actor) -> Any:
    """The requests that the actor may read, with their decisions, for lists of programs."""
    actor.require(Permission.APPROVALS_READ)
    return ApprovalRequest.objects.for_actor(actor).prefetch_related(_DECISIONS)


def open_requests_of_run(actor: Actor, run_id: UUID) -> list[ApprovalRequest]:
    """What a run waits for, for the page of the run; empty for a reader who may not see approvals."""
    if not actor.may(Permission.APPROVALS_READ):
        return []
    return list(ApprovalRequest.objects.for_actor(actor).filter(run_id=run_id, status__in=OPEN).order_by("due_at"))


def shown_state(request: ApprovalRequest) -> str:
    """A digest of what a person is asked about: it changes when the call does, or when someone else has decided."""
    return digest(
        {
            "digest": request.digest,
            "status": request.status,
            "approve_count": request.approve_count,
            "approved_digest": request.approved_digest,
        }
    )


def closed_sentence(request: ApprovalRequest, *, reader_id: str = "") -> str:
    """Who closed the request, when and how, as one sentence. Empty while it is open."""
    if request.is_open or request.decided_at is None:
        return ""
    at = f"at {request.decided_at:%H:%M} UTC on {request.decided_at:%-d %B %Y}"
    last = request.decisions.order_by("-id").first()
    if last is not None and request.status in _FINAL_WORDS:
        who = "You" if str(last.decided_by) == reader_id else names([last.decided_by])[last.decided_by]
        edit = ", with an edit" if last.is_edited else ""
        return f"{who} {_FINAL_WORDS[Status(request.status)]} this {at}{edit}."
    if request.status == Status.EXPIRED:
        return f"Nobody decided in time: this expired {at}."
    if request.status == Status.SUPERSEDED:
        return f"The action changed {at}, and a new request stands in the place of this one."
    return f"This was withdrawn {at}: {request.closing_reason}"


def _said(
    request: ApprovalRequest, decisions: list[ApprovalDecision], known: Mapping[UUID, str]
) -> list[tuple[str, str]]:
    return [
        (known[decision.decided_by], decision.reason)
        for decision in decisions
        if decision.request_id == request.pk and decision.reason
    ]


def _history(request: ApprovalRequest, decisions: list[ApprovalDecision], known: Mapping[UUID, str]) -> list[Entry]:
    """What happened after the request was made, oldest first."""
    entries = [_decision_entry(decision, known[decision.decided_by]) for decision in decisions]
    if request.is_open and request.warned_percent:
        warned = f"{request.warned_percent} % of the time to decide is gone"
        entries.append(Entry(at=None, icon="clock-alert", tone="amber", sentence=warned))
    if request.closing_reason:
        entries.append(
            Entry(
                at=request.decided_at,
                icon="clock-alert" if request.status == Status.EXPIRED else "ban",
                tone="rose" if request.status == Status.EXPIRED else "",
                sentence=_CLOSED_WORDS[Status(request.status)],
                note=request.closing_reason,
            )
        )
    if request.consumed_at:
        used = "The approval was used for its one call"
        entries.append(Entry(at=request.consumed_at, icon="circle-check", tone="emerald", sentence=used))
    return entries


def _decision_entry(decision: ApprovalDecision, name: str) -> Entry:
    approved = decision.verdict == Verdict.APPROVE
    changed = f"Changed {', '.join(decision.changed_fields)}. " if decision.is_edited else ""
    proved = f"Proved who they are again: {decision.step_up}." if decision.step_up else ""
    return Entry(
        at=decision.decided_at,
        icon="check" if approved else "x",
        tone="emerald" if approved else "rose",
        sentence=f"{name} {'approved' if approved else 'rejected'} it{', with an edit' if changed else ''}",
        words=decision.reason,
        note=f"{changed}{proved}".strip(),
    )


def names(user_ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names of people; someone who is no longer known is called that."""
    wanted = set(user_ids)
    known = dict(User.objects.filter(pk__in=wanted).values_list("pk", "name")) if wanted else {}
    return {user_id: known.get(user_id, "Someone who has left") for user_id in wanted}


_DECISIONS = Prefetch("decisions", queryset=ApprovalDecision.objects.order_by("id"))


def _request(actor: Actor, request_id: UUID) -> ApprovalRequest:
    actor.require(Permission.APPROVALS_READ)
    rows = ApprovalRequest.objects.for_actor(actor).prefetch_related(_DECISIONS)
    request: ApprovalRequest | None = rows.filter(pk=request_id).first()
    if request is None:
        raise NotFound("There is no such approval here.")
    return request


def _for_me(rows: Any, actor: Actor) -> Any:
    """The open requests that `rules.may_decide` lets the actor decide, as a query."""
    if rules.may_decide(actor, _NOBODY) is not None:
        return rows.none()
    own = Q(requested_by_id=actor.id) | Q(requested_for=actor.id) | Q(conflicted_user_ids__contains=[UUID(actor.id)])
    decided = ApprovalDecision.objects.for_actor(actor).filter(decided_by=UUID(actor.id)).values("request_id")
    return rows.exclude(own).exclude(pk__in=decided)


_NOBODY = rules.Requester(kind="", id="", on_behalf_of="", conflicted_user_ids=frozenset())


def _before(rows: Any, last: UUID | None) -> Any:
    """Closed requests after the one that a page ended with, newest decision first."""
    rows = rows.order_by("-decided_at", "-id")
    if last is None:
        return rows
    at = rows.filter(pk=last).values_list("decided_at", flat=True).first()
    if at is None:
        return rows.none()
    return rows.filter(Q(decided_at__lt=at) | Q(decided_at=at, pk__lt=last))
