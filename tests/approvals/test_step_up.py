"""Proving who one is before a critical decision cannot be tried again and again (T07)."""

import pytest

from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.approvals.people import Person

pytestmark = pytest.mark.django_db(transaction=True)

GUESSES = 3


@pytest.fixture
def workspace(db):
    """Not in scope: the doors bring it there."""
    return factories.make_workspace()


@pytest.fixture
def critical(workspace, settled):
    with enter(workspace.pk):
        return factories.make_approval(workspace, risk="critical", sla_minutes=30)


@pytest.fixture(autouse=True)
def _few_guesses(settings, own_rate_limits):
    own_rate_limits()
    assert settings.ACCOUNT_RATE_LIMITS["reauthenticate"] == "10/m/user"
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "reauthenticate": f"{GUESSES}/m/user"}


def test_guesses_of_the_password_are_limited_and_the_right_one_comes_too_late(
    approver, second_approver, workspace, critical
):
    """Whoever took over a session guesses a few times a minute; nobody else is held up by it."""
    thief = Person(approver, workspace, critical).open()
    thief.send()
    for _ in range(GUESSES):
        assert thief.confirm(password="a guess").status_code == 422
    late = thief.confirm(password=factories.PASSWORD)
    assert late.status_code == 429
    assert "Nothing was decided" in thief.html
    other = Person(second_approver, workspace, critical).open()
    other.send()
    assert other.confirm(password=factories.PASSWORD).status_code == 302
    with enter(workspace.pk):
        assert critical.fresh().approve_count == 1
        (proof,) = factories.events(Event.AUTH_STEP_UP_COMPLETED)
        assert proof.actor_id == second_approver.id
