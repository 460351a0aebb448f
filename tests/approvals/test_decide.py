"""Deciding: one person, once, with a reason, bound to exactly the payload that was approved (M099, C22, T05, T22)."""

from datetime import timedelta
from uuid import UUID

import pytest

from approvals import origins, selectors, services
from approvals.digest import action_digest
from approvals.errors import (
    NotOpen,
    PayloadRefused,
    ReasonNeeded,
    SeparationOfDuties,
    ShownElse,
    SlaPassed,
    StepUpNeeded,
)
from approvals.models import ApprovalDecision
from approvals.services import asking
from audit.taxonomy import Event
from provenance.db import database_now
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from secrets_vault.references import ReferenceInArguments
from tests import factories

REASON = "Contract starts 1 January; corrected the date."
EDIT = {**factories.VENDOR_PAYLOAD, "effective_from": "2027-01-01"}


def approve(actor, approval, **changes):
    return services.decide(actor=actor, request_id=approval.pk, **{"verdict": "approve", "reason": REASON, **changes})


def test_an_approval_closes_the_request_and_is_recorded(approval, approver, events):
    decision = approve(approver, approval)
    asked = approval.fresh()
    assert (asked.status, asked.approved_digest, asked.approve_count) == ("approved", approval.digest, 1)
    assert (decision.digest, decision.changed_fields, decision.reason) == (approval.digest, [], REASON)
    (event,) = events(Event.APPROVAL_APPROVED)
    assert (event.id, event.object_id, event.actor_id, event.kid) == (
        decision.event_id,
        str(approval.pk),
        approver.id,
        "web-1",
    )
    assert event.signed["context"]["action_digest"] == approval.digest
    assert not events(Event.APPROVAL_PAYLOAD_EDITED)


def test_an_edit_is_approved_as_edited_and_binds_the_edit(workspace, approval, approver, events):
    decision = approve(approver, approval, payload=EDIT)
    assert decision.payload == EDIT
    assert decision.changed_fields == ["effective_from"]
    assert decision.digest == action_digest(factories.action_facts(workspace), EDIT) != approval.digest
    assert approval.fresh().payload == factories.VENDOR_PAYLOAD
    (event,) = events(Event.APPROVAL_PAYLOAD_EDITED)
    assert event.signed["context"]["action_digest"] == decision.digest


def test_a_rejection_closes_the_request_with_the_reason(approval, approver, events):
    decision = services.decide(actor=approver, request_id=approval.pk, verdict="reject", reason="The date is wrong.")
    assert approval.fresh().status == "rejected"
    assert decision.reason == "The date is wrong."
    assert len(events(Event.APPROVAL_REJECTED)) == 1
    assert not events(Event.APPROVAL_APPROVED)


def test_whoever_asked_is_woken_when_the_decision_has_committed(
    approval, approver, monkeypatch, django_capture_on_commit_callbacks
):
    woken = []
    monkeypatch.setitem(origins._wakes, "run_step", lambda *ids: woken.append(ids))
    with django_capture_on_commit_callbacks(execute=True):
        approve(approver, approval)
        assert not woken
    assert woken == [(approval.workspace_id, approval.origin_id)]


def test_a_wake_up_that_fails_does_not_undo_the_decision(
    approval, approver, monkeypatch, django_capture_on_commit_callbacks
):
    def fail(*_ids):
        raise ConnectionError("Valkey is away")

    monkeypatch.setitem(origins._wakes, "run_step", fail)
    with django_capture_on_commit_callbacks(execute=True):
        approve(approver, approval)
    assert approval.fresh().status == "approved"


@pytest.mark.parametrize("role", ["viewer", "auditor", "editor", "admin"])
def test_without_the_permission_nobody_decides(workspace, approval, role):
    with pytest.raises(PermissionDenied) as caught:
        approve(factories.make_member(workspace, roles={role}), approval)
    assert caught.value.permission is Permission.APPROVALS_DECIDE
    assert approval.fresh().is_open


def test_the_person_an_agent_acts_for_does_not_decide(workspace, approver, events):
    asked = factories.make_approval(workspace, actor=factories.agent_actor(workspace, on_behalf_of=approver.id))
    with pytest.raises(SeparationOfDuties, match=r"You asked for this change, so someone else decides\."):
        approve(approver, asked)
    assert asked.fresh().is_open
    assert not events(Event.APPROVAL_APPROVED)


def test_a_conflicted_person_does_not_decide(workspace, approver):
    asked = factories.make_approval(workspace, conflicted_user_ids=[UUID(approver.id)])
    with pytest.raises(SeparationOfDuties):
        approve(approver, asked)


def test_another_tenants_request_is_not_found(approval, other_workspace):
    from provenance.db import scope

    theirs = factories.make_member(other_workspace, roles={"approver"})
    with scope(other_workspace.id), pytest.raises(NotFound):
        approve(theirs, approval)
    assert approval.fresh().is_open


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_decided_request_is_not_decided_again_and_says_by_whom(approval, approver, second_approver, verdict):
    approve(second_approver, approval, payload=EDIT)
    with pytest.raises(
        NotOpen, match=r"Tom Alvarez approved this at .*, with an edit\. Your decision was not recorded\."
    ):
        approve(approver, approval, verdict=verdict)
    assert ApprovalDecision.objects.for_workspace(approval.workspace_id).count() == 1


def test_the_same_decision_sent_twice_counts_once(approval, approver):
    approve(approver, approval)
    with pytest.raises(NotOpen, match="You approved this"):
        approve(approver, approval)


@pytest.mark.parametrize("reason", ["", "ok", "   short     "])
@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_high_risk_needs_a_reason(approval, approver, reason, verdict):
    with pytest.raises(ReasonNeeded, match=r"Write at least 10 characters\. Auditors read this\."):
        approve(approver, approval, reason=reason, verdict=verdict)
    assert approval.fresh().is_open


def test_medium_risk_needs_none(workspace, approver):
    assert approve(approver, factories.make_approval(workspace, risk="medium"), reason="").reason == ""


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({**EDIT, "vendor_id": "V-66666"}, "vendor_id"),
        ({**EDIT, "payment_terms": "NET365"}, "payment_terms"),
        ({**EDIT, "iban": "SE35"}, ""),
        (["V-10233"], ""),
        ("NET60", ""),
        ({**EDIT, "reference": 2**60}, "reference"),
    ],
)
def test_an_edit_that_may_not_be_is_refused_by_field(approval, approver, payload, path):
    with pytest.raises(PayloadRefused) as caught:
        approve(approver, approval, payload=payload)
    assert path in {error["path"] for error in caught.value.data["errors"]}
    assert approval.fresh().is_open


def test_a_secret_reference_in_an_edit_is_refused(approval, approver):
    """T02."""
    with pytest.raises(ReferenceInArguments):
        approve(approver, approval, payload={**EDIT, "reference": "secret://erp-key"})
    assert approval.fresh().is_open


def test_a_word_that_is_no_verdict_decides_nothing(approval, approver):
    with pytest.raises(Invalid, match="not a decision"):
        approve(approver, approval, verdict="maybe")


def test_what_was_shown_must_be_what_waits(approval, approver):
    """T18."""
    shown = selectors.shown_state(approval)
    with pytest.raises(ShownElse):
        approve(approver, approval, shown="0" * 64)
    assert approve(approver, approval, shown=shown)


def test_after_the_sla_nobody_approves(workspace, approver, monkeypatch):
    """C09: no timeout approves, and being late is not approved either."""
    asked = overdue(workspace, monkeypatch)
    with pytest.raises(SlaPassed, match="Nothing is approved by timeout"):
        approve(approver, asked)
    assert asked.fresh().is_open


def overdue(workspace, monkeypatch, minutes=121):
    now = database_now()
    with monkeypatch.context() as patch:
        patch.setattr(asking, "database_now", lambda: now - timedelta(minutes=minutes))
        return factories.make_approval(workspace)


# --- critical risk takes two people ----------------------------------------------------------------------------------


@pytest.fixture
def critical(workspace, settled):
    return factories.make_approval(workspace, risk="critical", sla_minutes=30)


def test_critical_risk_needs_a_fresh_proof_of_identity(critical, approver):
    with pytest.raises(StepUpNeeded):
        approve(approver, critical)
    assert critical.fresh().is_open


def test_critical_risk_waits_for_a_second_person(critical, approver, second_approver, events):
    approve(approver, critical, step_up="password", payload=EDIT)
    assert critical.fresh().is_open
    assert selectors.decision_for(critical.workspace_id, "run_step", critical.origin_id).status == "pending"
    decision = approve(second_approver, critical, step_up="password")
    assert critical.fresh().status == "approved"
    assert decision.payload == EDIT
    assert len(events(Event.APPROVAL_APPROVED)) == 2


def test_one_person_does_not_count_as_two(critical, approver):
    approve(approver, critical, step_up="password")
    with pytest.raises(SeparationOfDuties, match="A second person decides now"):
        approve(approver, critical, step_up="password")
    assert critical.fresh().is_open


def test_the_second_person_approves_what_the_first_did_or_rejects(critical, approver, second_approver):
    approve(approver, critical, step_up="password")
    with pytest.raises(PayloadRefused, match="The first approval fixed the payload"):
        approve(second_approver, critical, step_up="password", payload=EDIT)
    approve(second_approver, critical, verdict="reject")
    assert critical.fresh().status == "rejected"


# --- what whoever asked reads ----------------------------------------------------------------------------------------


def test_the_engine_reads_the_approved_payload(approval, approver, as_role):
    approve(approver, approval, payload=EDIT)
    with as_role("worker"):
        facts = selectors.decision_for(approval.workspace_id, "run_step", approval.origin_id)
    assert (facts.status, facts.payload, facts.decided_by) == ("approved", EDIT, UUID(approver.id))
    assert facts.digest == approval.fresh().approved_digest
    assert facts.is_edited


def test_an_origin_that_never_asked_has_no_decision(workspace, approval):
    assert selectors.decision_for(workspace.id, "run_step", approval.pk) is None


def test_a_rejection_carries_no_payload(approval, approver):
    approve(approver, approval, verdict="reject")
    facts = selectors.decision_for(approval.workspace_id, "run_step", approval.origin_id)
    assert (facts.status, facts.payload, facts.digest) == ("rejected", None, None)
