"""Deadlines: warned about, and rejected when they pass. Nothing is ever approved by time (M100, M101, M106, C08, C09)."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from approvals import origins, selectors, services
from approvals.models import Status
from approvals.services import asking, deadlines
from audit.taxonomy import Event
from provenance.db import database_now
from tests import factories

pytestmark = pytest.mark.usefixtures("workspace")


@pytest.fixture
def sweep(as_role):
    def run(at):
        with as_role("worker"):
            return services.expire_due(at)

    return run


@pytest.fixture
def asked_long_ago(monkeypatch):
    """Make a request whose time is over by the clock of the database, which alone says so."""

    def make(workspace):
        now = database_now()
        with monkeypatch.context() as patch:
            patch.setattr(asking, "database_now", lambda: now - timedelta(hours=11))
            return factories.make_approval(workspace)

    return make


@pytest.fixture
def late(workspace, asked_long_ago):
    return asked_long_ago(workspace)


def after(approval, percent):
    return approval.requested_at + timedelta(minutes=approval.sla_minutes) * percent / 100


def test_what_nobody_decided_is_rejected(late, sweep, events, monkeypatch, django_capture_on_commit_callbacks):
    woken = []
    monkeypatch.setitem(origins._wakes, "run_step", lambda *ids: woken.append(ids))
    with django_capture_on_commit_callbacks(execute=True):
        assert sweep(after(late, 101)) == 1
    assert late.fresh().status == Status.EXPIRED
    assert [len(events(event)) for event in (Event.APPROVAL_SLA_BREACH, Event.APPROVAL_EXPIRED)] == [1, 1]
    assert events(Event.APPROVAL_EXPIRED)[0].actor_id == "approvals.sla"
    assert woken == [(late.workspace_id, late.origin_id)]
    assert selectors.decision_for(late.workspace_id, "run_step", late.origin_id).status == "expired"


def test_a_second_sweep_changes_nothing(late, sweep, events):
    sweep(after(late, 101))
    assert sweep(after(late, 102)) == 0
    assert len(events(Event.APPROVAL_EXPIRED)) == 1


def test_what_is_in_time_is_left_alone(approval, sweep):
    assert sweep(after(approval, 49)) == 0
    assert approval.fresh().is_open


def test_it_warns_once_at_each_mark(approval, sweep, events):
    for percent in (50, 60, 79, 80, 99):
        sweep(after(approval, percent))
    assert len(events(Event.APPROVAL_SLA_WARNING)) == 2
    assert approval.fresh().warned_percent == 80
    assert approval.fresh().is_open


def test_after_an_outage_the_deadline_is_breached_and_not_warned_about(late, sweep, events):
    sweep(after(late, 500))
    assert late.fresh().status == Status.EXPIRED
    assert not events(Event.APPROVAL_SLA_WARNING)


def test_a_decided_request_never_expires(approval, approver, sweep):
    services.decide(actor=approver, request_id=approval.pk, verdict="approve", reason="Checked with the contract.")
    assert sweep(after(approval, 500)) == 0
    assert approval.fresh().status == Status.APPROVED


def test_requests_of_every_workspace_are_swept(late, asked_long_ago, other_workspace, sweep):
    from provenance.db import scope

    with scope(other_workspace.id):
        theirs = asked_long_ago(other_workspace)
    assert sweep(after(late, 101)) == 2
    with scope(other_workspace.id):
        assert theirs.fresh().status == Status.EXPIRED


def test_one_request_that_fails_leaves_the_others_to_be_done(workspace, late, asked_long_ago, sweep, monkeypatch):
    second = asked_long_ago(workspace)
    close = deadlines.close

    def fail_for_the_first(request, *args):
        if request.pk == late.pk:
            raise RuntimeError("this one is broken")
        close(request, *args)

    monkeypatch.setattr(deadlines, "close", fail_for_the_first)
    assert sweep(after(second, 101)) == 1
    assert second.fresh().status == Status.EXPIRED


@pytest.mark.parametrize("role", ["web", "worker"])
def test_the_database_approves_nothing_after_the_deadline(late, as_role, role):
    """M101: whatever the code says, a late approval cannot be stored."""
    with (
        as_role(role),
        connection.cursor() as cursor,
        pytest.raises(IntegrityError, match="decide"),
        transaction.atomic(),
    ):
        cursor.execute(
            "UPDATE approvals_approvalrequest SET status = 'approved', decided_at = due_at WHERE id = %s", [late.pk]
        )
