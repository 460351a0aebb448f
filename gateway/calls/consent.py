"""Does an approval cover this call? Pure: rows in, verdict out (T01, T03, T05).

Covered means: a person approved it, under the web's key; for exactly this call, tool, pin, target, place and rules; with
these arguments, or with the ones the person put in their stead; and nobody has used it yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from approvals.digest import ActionFacts, action_digest
from approvals.proof import Testimony, proves
from approvals.rules import quorum
from audit.signing import KeyRing
from gateway.decision import AskApproval, Deny
from provenance.canonical import NotCanonical
from provenance.risk import Risk

MISMATCH = "approval.digest_mismatch"
UNPROVEN = "approval.unproven"
CONFLICTED = "approval.conflicted"
UNDERSTATED = "approval.understated"
ALTERED = "approval.altered"
NOT_AS_SIGNED = "approval.not_as_signed"
_OPEN = frozenset({"pending", "escalated"})
_REFUSALS = {
    "rejected": "A person rejected this call.",
    "expired": "Nobody approved this call in time.",
    "withdrawn": "The request for approval was withdrawn.",
    "superseded": "The request for approval was replaced by another one.",
}


@dataclass(frozen=True, slots=True)
class Pending:
    """A person has not decided yet."""

    approval_id: UUID


@dataclass(frozen=True, slots=True)
class Approved:
    """Covered. `arguments` are what may be sent: the ones asked for, or the approver's edit."""

    approval_id: UUID
    digest: str
    arguments: dict[str, Any]
    is_edited: bool
    is_consumed: bool
    risk: Risk


Consent = Pending | Approved | Deny


def consent(
    request: Mapping[str, Any] | None,
    decisions: Sequence[Mapping[str, Any]],
    *,
    facts: ActionFacts,
    arguments: dict[str, Any],
    call_id: UUID,
    run_id: UUID | None,
    consumed_by_this_call: bool,
    conflicted: frozenset[UUID],
    keys: KeyRing,
) -> Consent:
    """What the rows of `sql.APPROVAL` and `sql.APPROVAL_DECISIONS` say about one call.

    `conflicted`: who counts as having asked for it (T22). Whoever wrote the request may have left them out of it.
    """
    if request is None:
        return Deny("approval.unknown", "There is no such approval.")
    if request["status"] in _OPEN:
        return Pending(request["id"])
    if request["status"] != "approved" or (request["is_consumed"] and not consumed_by_this_call):
        return _not_usable(request["status"])
    if not _is_for(request, call_id, run_id):
        return Deny(MISMATCH, "The approval was given for another call.")
    people = _approved_by(request, decisions, facts.workspace_id, keys)
    return _too_few(request, people, conflicted) or _covered(request, decisions, facts, arguments)


def understated(agreed: Approved, wanted: AskApproval) -> Deny:
    """The refusal of an approval that was asked for as if less were at stake.

    The reason, the proof of identity or the second person that this call needs may be missing from it.
    """
    return Deny(UNDERSTATED, f"The approval was asked for as {agreed.risk} risk, and this call is {wanted.risk}.")


def altered() -> Deny:
    """The refusal of approved arguments that would not be sent as the person saw them."""
    reason = "What was approved holds hidden characters or withheld fields, so it is not what would be sent. Ask again."
    return Deny(ALTERED, reason)


def not_as_signed() -> Deny:
    """The refusal of an approval whose rows were changed past the platform (T06)."""
    return Deny(NOT_AS_SIGNED, "What the database holds of this approval is not what was signed when people decided.")


def _not_usable(status: str) -> Deny:
    if status == "approved":
        return Deny("approval.consumed", "This approval was used already; it covers one call.")
    return Deny(f"approval.{status}", _REFUSALS.get(status, f"The approval is {status}."))


def _is_for(request: Mapping[str, Any], call_id: UUID, run_id: UUID | None) -> bool:
    if request["origin"] == "tool_call":
        return bool(request["origin_id"] == call_id)
    return run_id is not None and bool(request["run_id"] == run_id)


def _approved_by(
    request: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], workspace_id: UUID, keys: KeyRing
) -> set[UUID]:
    """The people who approved this digest, each by an event signed under the web's key (T01)."""
    approving = [d for d in decisions if d["verdict"] == "approve" and d["digest"] == request["approved_digest"]]
    return {d["decided_by"] for d in approving if proves(_testimony(d, workspace_id), keys)}


def _testimony(decision: Mapping[str, Any], workspace_id: UUID) -> Testimony:
    same = ("request_id", "decided_by", "verdict", "digest", "event_id", "body")
    return Testimony(
        workspace_id=workspace_id,
        # A decision without an event has none of the three.
        kid=decision["kid"] or "",
        mac=bytes(decision["mac"] or b""),
        **{name: decision[name] for name in same},
    )


def _too_few(request: Mapping[str, Any], people: set[UUID], conflicted: frozenset[UUID]) -> Deny | None:
    needed = max(request["quorum"], quorum(Risk(request["risk"])))
    if len(people) < needed:
        return Deny(UNPROVEN, "The approval carries no valid signature of the console that people decide in.")
    if len(people - conflicted) < needed:
        return Deny(CONFLICTED, "Whoever asked for a call does not approve it.")
    return None


def _covered(
    request: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], facts: ActionFacts, arguments: dict[str, Any]
) -> Consent:
    payload = next(d["payload"] for d in reversed(decisions) if d["digest"] == request["approved_digest"])
    try:
        asked, approved = action_digest(facts, arguments), action_digest(facts, payload)
    except NotCanonical as error:
        return Deny(MISMATCH, f"The arguments have no exact form: {error}.")
    # Computed anew over everything: what the rows claim as digest proves nothing by itself.
    if approved != request["approved_digest"] or asked not in {request["digest"], request["approved_digest"]}:
        return Deny(MISMATCH, "This is not the call that was approved: its arguments, tool or rules differ.")
    return Approved(
        approval_id=request["id"],
        digest=approved,
        arguments=payload,
        is_edited=asked != approved,
        is_consumed=request["is_consumed"],
        risk=Risk(request["risk"]),
    )
