"""One administrator and accounts made just now: they are no quorum for critical risk (T22)."""

from datetime import timedelta
from uuid import UUID

import pytest

from approvals import services
from approvals.errors import TooNew
from approvals.services import deciding
from audit.taxonomy import Event
from tests import factories
from workspaces import services as workspaces
from workspaces.selectors import roles_given_at

REASON = "Checked with the contract."
A_DAY = timedelta(hours=24)


@pytest.fixture
def critical(workspace):
    return factories.make_approval(workspace, risk="critical", sla_minutes=10_080)


@pytest.fixture
def at(monkeypatch):
    """Put the clock that decisions are held against to a moment."""
    return lambda moment: monkeypatch.setattr(deciding, "database_now", lambda: moment)


def approve(person, asked):
    return services.decide(actor=person, request_id=asked.pk, verdict="approve", reason=REASON, step_up="password")


def given(person):
    return roles_given_at(person.workspace_id, UUID(person.id))


def invited(workspace, admin, number):
    """Somebody whom the administrator invites as an approver, and who accepts at once."""
    _, token = workspaces.invite(actor=admin, email=f"mole-{number}@example.com", roles={"approver"})
    user = workspaces.accept_invitation(token=token, user=None, name=f"Mole {number}", password=factories.PASSWORD)
    return factories.actor_of(workspace, user.pk, {"approver"}, label=user.name)


def test_two_accounts_that_one_administrator_made_just_now_approve_nothing_critical(workspace, admin, critical, events):
    for mole in (invited(workspace, admin, 1), invited(workspace, admin, 2)):
        with pytest.raises(TooNew) as refused:
            approve(mole, critical)
        assert f"after {given(mole) + A_DAY:%H:%M UTC on %-d %B %Y}." in refused.value.message
    assert critical.fresh().is_open
    assert not critical.decisions.exists()
    assert not events(Event.APPROVAL_APPROVED)


def test_neither_does_one_of_them_beside_somebody_who_counts(workspace, admin, approver, critical, at):
    mole = invited(workspace, admin, 1)
    at(given(approver) + A_DAY)
    approve(approver, critical)
    with pytest.raises(TooNew):
        approve(mole, critical)
    assert critical.fresh().is_open


def test_whoever_has_been_here_for_a_day_counts(workspace, approver, critical, at):
    at(given(approver) + A_DAY - timedelta(seconds=1))
    with pytest.raises(TooNew):
        approve(approver, critical)
    at(given(approver) + A_DAY)
    assert approve(approver, critical).verdict == "approve"


def test_an_old_member_who_becomes_an_approver_waits_like_a_new_one(workspace, admin, viewer, critical, at):
    joined = given(viewer)
    workspaces.change_roles(actor=admin, user_id=UUID(viewer.id), roles={"viewer", "approver"})
    promoted = factories.actor_of(workspace, viewer.id, {"viewer", "approver"})
    at(joined + A_DAY)
    with pytest.raises(TooNew):
        approve(promoted, critical)


def test_to_leave_and_come_back_starts_the_day_anew(admin, approver, critical, at):
    joined = given(approver)
    workspaces.remove_member(actor=admin, user_id=UUID(approver.id), reason="Left the company.")
    assert given(approver) is None
    workspaces.add_member(actor=admin, user_id=UUID(approver.id), roles={"approver"})
    at(joined + A_DAY)
    with pytest.raises(TooNew):
        approve(approver, critical)


def test_a_newcomer_may_stop_what_is_critical(approver, critical):
    services.decide(actor=approver, request_id=critical.pk, verdict="reject", reason=REASON)
    assert critical.fresh().status == "rejected"


def test_a_newcomer_approves_what_takes_one_person(workspace, approver):
    asked = factories.make_approval(workspace, risk="high")
    services.decide(actor=approver, request_id=asked.pk, verdict="approve", reason=REASON)
    assert asked.fresh().status == "approved"
