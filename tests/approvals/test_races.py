"""Two connections at once: exactly one decision stands, and the other side learns of it (U15, T05)."""

import pytest

from approvals import services
from approvals.errors import NotOpen, NotWithdrawable
from approvals.models import ApprovalDecision
from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "Checked with the contract."
ROUNDS = 8


@pytest.fixture
def workspace(db):
    """Not in scope: each thread enters it for itself."""
    return factories.make_workspace()


def decide(actor, asked, verdict):
    return lambda: services.decide(actor=actor, request_id=asked.pk, verdict=verdict, reason=REASON)


@pytest.mark.parametrize("verdicts", [("approve", "approve"), ("approve", "reject")])
def test_of_two_people_who_decide_at_once_exactly_one_wins(workspace, approver, second_approver, verdicts):
    for _ in range(ROUNDS):
        with enter(workspace.pk):
            asked = factories.make_approval(workspace)
        results = at_once(
            workspace.pk, decide(approver, asked, verdicts[0]), decide(second_approver, asked, verdicts[1])
        )
        lost = [result for result in results if isinstance(result, NotOpen)]
        won = [result for result in results if isinstance(result, ApprovalDecision)]
        assert (len(won), len(lost)) == (1, 1), results
        winner = approver if str(won[0].decided_by) == approver.id else second_approver
        assert lost[0].message.startswith(winner.label)
        with enter(workspace.pk):
            assert ApprovalDecision.objects.filter(request_id=asked.pk).count() == 1


def test_the_same_person_in_two_tabs_decides_once(workspace, approver):
    with enter(workspace.pk):
        asked = factories.make_approval(workspace)
    results = at_once(workspace.pk, *[decide(approver, asked, "approve")] * 2)
    assert sorted(type(result).__name__ for result in results) == ["ApprovalDecision", "NotOpen"]
    with enter(workspace.pk):
        assert len(factories.events(Event.APPROVAL_APPROVED)) == 1


def test_a_decision_and_a_withdrawal_exclude_each_other(workspace, approver, editor):
    for _ in range(ROUNDS):
        with enter(workspace.pk):
            asked = factories.make_approval(workspace)
        results = at_once(
            workspace.pk,
            decide(approver, asked, "approve"),
            lambda asked=asked: services.withdraw(actor=editor, request_id=asked.pk, reason="The run was canceled."),
        )
        assert sum(isinstance(result, NotOpen | NotWithdrawable) for result in results) == 1, results
        with enter(workspace.pk):
            assert asked.fresh().status in {"approved", "withdrawn"}


def test_two_people_approve_critical_risk_at_once(workspace, approver, second_approver, settled):
    with enter(workspace.pk):
        asked = factories.make_approval(workspace, risk="critical")

    def approve(actor):
        return lambda: services.decide(
            actor=actor, request_id=asked.pk, verdict="approve", reason=REASON, step_up="password"
        )

    results = at_once(workspace.pk, approve(approver), approve(second_approver))
    assert all(isinstance(result, ApprovalDecision) for result in results), results
    with enter(workspace.pk):
        assert (asked.fresh().status, asked.fresh().approve_count) == ("approved", 2)
