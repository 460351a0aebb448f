"""What a compromised worker, a hijacked gateway or a hasty query could try with approvals, refused by Postgres itself."""

from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from approvals import selectors, services
from approvals.errors import DecisionNotProven, SeparationOfDuties
from approvals.models import ApprovalDecision, ApprovalRequest
from audit.envelope import EventContext
from audit.models import AuditEvent
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import database_now
from provenance.ids import uuid7
from provenance.permissions import Permission
from tests import factories
from tests.attacks.log import plant, told_by

REASON = "Checked with the contract."
REQUESTS, DECISIONS = "approvals_approvalrequest", "approvals_approvaldecision"


@pytest.fixture
def approval(workspace):
    return factories.make_approval(workspace)


@pytest.fixture
def approved(approval, approver):
    services.decide(actor=approver, request_id=approval.pk, verdict="approve", reason=REASON)
    return approval.fresh()


@contextmanager
def refused(match):
    """The block is refused with these words, at once or when its changes are checked as at COMMIT."""
    with pytest.raises(DatabaseError, match=match), transaction.atomic():  # noqa: PT012  the check belongs to the block
        yield
        connection.check_constraints()


def execute(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def forged_decision(approval, approver, **changes):
    values = {
        "workspace_id": approval.workspace_id,
        "request": approval,
        "verdict": "approve",
        "payload": approval.payload,
        "digest": approval.digest,
        "reason": REASON,
        "decided_by": approver.id,
        "decided_at": database_now(),
        "event_id": uuid7(),
    }
    return ApprovalDecision(**{**values, **changes})


@pytest.mark.parametrize("role", ["worker", "gateway", "sealer", "audit_read", "retention"])
@pytest.mark.parametrize("status", ["approved", "rejected"])
def test_only_the_web_role_decides(approval, as_role, role, status):
    """T01."""
    with as_role(role), refused("may not decide|permission denied"):
        execute(f"UPDATE {REQUESTS} SET status = %s, decided_at = clock_timestamp() WHERE id = %s", status, approval.pk)
    assert approval.fresh().is_open


@pytest.mark.parametrize("role", ["worker", "gateway", "sealer", "audit_read", "retention"])
def test_only_the_web_role_inserts_decisions(approval, approver, as_role, role):
    """T01."""
    with as_role(role), refused("permission denied"):
        forged_decision(approval, approver).save(force_insert=True)


@pytest.mark.parametrize("role", ["web", "audit_read", "sealer", "retention"])
def test_the_deciding_role_cannot_ask(workspace, as_role, role):
    """One compromised process must not both ask and decide."""
    request = factories.make_approval(workspace)
    request.pk, request._state.adding, request.origin_id = uuid7(), True, uuid7()
    with as_role(role), refused("permission denied"):
        request.save(force_insert=True)


@pytest.mark.parametrize("role", ["web", "worker", "gateway"])
@pytest.mark.parametrize(
    "change",
    [
        "payload = '{}'",
        "payload_schema = '{}'",
        "facts = '{}'",
        "digest = repeat('0', 64)",
        "risk = 'low'",
        "quorum = 2",
        "due_at = due_at + interval '1 day'",
        "sla_minutes = 10080",
        "conflicted_user_ids = ARRAY[gen_random_uuid()]",
        "requested_by_id = 'x'",
        "title = 'Harmless'",
        "evidence = '[]'",
        "workspace_id = gen_random_uuid()",
    ],
)
def test_what_was_asked_for_never_changes(approval, as_role, role, change):
    """T05: a request cannot turn into another one under the eyes of who decides it."""
    with as_role(role), refused("never changes|permission denied"):
        execute(f"UPDATE {REQUESTS} SET {change} WHERE id = %s", approval.pk)


def test_an_approval_without_a_decision_does_not_commit(approval):
    with refused("without the decisions behind it"):
        approval.status, approval.decided_at = "approved", database_now()
        approval.approve_count, approval.approved_digest = 1, approval.digest
        approval.save(update_fields=["status", "decided_at", "approve_count", "approved_digest"])


def test_a_rejection_without_a_decision_does_not_commit(approval):
    with refused("without the decisions behind it"):
        approval.status, approval.decided_at = "rejected", database_now()
        approval.save(update_fields=["status", "decided_at"])


def test_one_person_cannot_approve_critical_risk_alone(workspace, approver):
    """C22."""
    asked = factories.make_approval(workspace, risk="critical")
    with refused("without the decisions behind it"):
        asked.status, asked.decided_at = "approved", database_now()
        asked.approve_count, asked.approved_digest = 2, asked.digest
        asked.save(update_fields=["status", "decided_at", "approve_count", "approved_digest"])
        forged_decision(asked, approver, step_up="password").save(force_insert=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": "short"}, "needs a reason"),
        ({"digest": "0" * 64}, "does not fit"),
        ({"verdict": "reject"}, "does not fit"),
        ({"request_id": uuid7()}, "no approval request"),
    ],
)
def test_a_decision_that_breaks_the_rules_is_refused_whoever_writes_it(approval, approver, change, words):
    decision = forged_decision(approval, approver)
    for name, value in change.items():
        setattr(decision, name, value)
    with refused(words):
        decision.save(force_insert=True)


def test_the_database_knows_who_is_conflicted(workspace, approver):
    """T22."""
    asked = factories.make_approval(workspace, conflicted_user_ids=[approver.id])
    with refused("whoever asked does not decide"):
        forged_decision(asked, approver).save(force_insert=True)


@pytest.mark.parametrize("role", ["web", "worker", "gateway"])
@pytest.mark.parametrize("statement", [f"UPDATE {DECISIONS} SET reason = 'other'", f"DELETE FROM {DECISIONS}"])
def test_a_decision_is_for_ever(approved, as_role, role, statement):
    with as_role(role), refused("permission denied"):
        execute(statement)


@pytest.mark.parametrize("role", ["web", "worker", "gateway"])
def test_a_request_is_never_deleted(approval, as_role, role):
    with as_role(role), refused("permission denied"):
        execute(f"DELETE FROM {REQUESTS}")


@pytest.mark.parametrize("status", ["pending", "rejected", "expired"])
def test_a_closed_request_is_not_reopened(approved, status):
    with refused("closed"):
        execute(f"UPDATE {REQUESTS} SET status = %s, decided_at = NULL WHERE id = %s", status, approved.pk)


def consume(request):
    request.consumed_at = database_now()
    request.save(update_fields=["consumed_at"])
    record(
        actor=Actor(kind=ActorKind.AGENT, id="agent-ledger-ops", label="ledger-ops", workspace_id=request.workspace_id),
        event=Event.APPROVAL_CONSUMED,
        target=request,
        context=EventContext(action_digest=request.approved_digest),
    )


def test_an_approval_is_used_once(approved, as_role):
    """T05."""
    with as_role("gateway"):
        consume(approved)
        with refused("closed"):
            execute(f"UPDATE {REQUESTS} SET consumed_at = clock_timestamp() WHERE id = %s", approved.pk)
        with refused("closed"):
            execute(f"UPDATE {REQUESTS} SET consumed_at = NULL WHERE id = %s", approved.pk)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_only_the_gateway_uses_an_approval_up(approved, as_role, role):
    """T03."""
    with as_role(role), refused("closed|permission denied"):
        consume(approved)


def test_what_was_not_approved_cannot_be_used(approval, as_role):
    with as_role("gateway"), refused("cannot be used"):
        consume(approval)


def test_an_approval_whose_event_a_worker_signed_counts_for_nothing(approval, approver, as_role):
    """T01: the decision rows are there, but the log does not say that a person decided through the web."""
    decision_time = database_now()
    # Postgres refuses such an event (tests/attacks/test_signers.py); where one stands all the same, it proves nothing.
    event = told_by("worker", approver, object_id=str(approval.pk), digest=approval.digest)
    plant(event)
    assert '"kid":"worker-1"' in event.body
    approval.status, approval.decided_at = "approved", decision_time
    approval.approve_count, approval.approved_digest = 1, approval.digest
    decision = forged_decision(approval, approver, decided_at=decision_time, event_id=event.id)
    approval.save(update_fields=["status", "decided_at", "approve_count", "approved_digest"])
    record(actor=approver, event=Event.APPROVAL_APPROVED, target=approval)
    decision.save(force_insert=True)
    record(actor=approver, event=Event.APPROVAL_DECISION_RECORDED, target=decision)
    with as_role("worker"), pytest.raises(DecisionNotProven):
        selectors.decision_for(approval.workspace_id, "run_step", approval.origin_id)


def test_a_decision_that_names_the_event_of_another_request_counts_for_nothing(workspace, approval, approver):
    other = factories.make_approval(workspace)
    borrowed = services.decide(actor=approver, request_id=other.pk, verdict="approve", reason=REASON).event_id
    decision_time = database_now()
    approval.status, approval.decided_at = "approved", decision_time
    approval.approve_count, approval.approved_digest = 1, approval.digest
    approval.save(update_fields=["status", "decided_at", "approve_count", "approved_digest"])
    record(actor=approver, event=Event.APPROVAL_APPROVED, target=approval)
    decision = forged_decision(approval, approver, decided_at=decision_time, event_id=borrowed)
    decision.save(force_insert=True)
    record(actor=approver, event=Event.APPROVAL_DECISION_RECORDED, target=decision)
    with pytest.raises(DecisionNotProven):
        selectors.decision_for(workspace.id, "run_step", approval.origin_id)


def test_a_worker_cannot_sign_under_the_key_of_the_web(approval, as_role):
    """T01."""
    with as_role("worker"), override_settings(AUDIT_SIGNS_AS="web"), refused("not registered"):
        record(
            actor=Actor.system("forger", approval.workspace_id),
            event=Event.APPROVAL_APPROVED,
            target=ApprovalRequest.objects.get(pk=approval.pk),
        )
    assert not AuditEvent.objects.filter(action=Event.APPROVAL_APPROVED).exists()


def test_no_key_scope_lets_an_integration_decide(workspace, approval):
    """Vocabulary 2.2: approvals:write never decides."""
    key = Actor(
        kind=ActorKind.INTEGRATION,
        id="key-1",
        label="integration",
        workspace_id=workspace.id,
        permissions=frozenset(Permission),
        via="api_key",
    )
    with pytest.raises(SeparationOfDuties, match="Only a person"):
        services.decide(actor=key, request_id=approval.pk, verdict="approve", reason=REASON)
