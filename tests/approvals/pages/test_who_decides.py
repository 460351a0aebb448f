"""Who may decide on the page, and what a critical request asks of them."""

import re
from uuid import UUID

import pytest

from audit.taxonomy import Event
from tests import factories
from tests.approvals.people import Person, field, page_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_whoever_asked_sees_why_they_may_not_decide(approver, workspace, ask, look, recorded):
    asked = ask(actor=factories.agent_actor(workspace, on_behalf_of=approver.id))
    person = Person(approver, workspace, asked).open()
    assert "You asked for this change, so someone else decides." in person.html
    assert 'aria-disabled="true"' in person.html
    assert field(person.html, "nonce") == ""
    assert person.send("reject").status_code == 403
    assert look(asked).is_open
    assert recorded(Event.AUTHZ_DENIED) == 1


def test_a_conflicted_person_gets_no_second_look_either(approver, workspace, ask):
    asked = ask(conflicted_user_ids=[UUID(approver.id)])
    assert Person(approver, workspace, asked).open().send().status_code == 403


@pytest.mark.parametrize("role", ["viewer", "auditor", "editor", "admin"])
def test_who_only_reads_is_refused_and_recorded(workspace, approval, look, recorded, role):
    person = Person(factories.make_member(workspace, roles={role}), workspace, approval).open()
    assert "Approvers decide." in person.html
    assert person.send("reject").status_code == 403
    assert look(approval).is_open
    assert recorded(Event.AUTHZ_DENIED) == 1


def test_another_tenant_finds_nothing(workspace, approval, look):
    other = factories.make_workspace()
    theirs = factories.make_member(other, roles={"approver"})
    person = Person(theirs, other, approval)
    assert person.client.get(person.page).status_code == 404
    assert person.send("reject").status_code == 404
    assert person.client.get(page_of(workspace, approval)).status_code == 404
    assert look(approval).is_open


@pytest.mark.parametrize("name", ["nothing", "apr_", "run_06bq0000000000000000000000", "apr_" + "z" * 26])
def test_a_malformed_address_finds_nothing(maya, workspace, name):
    assert maya.client.get(f"/w/{workspace.slug}/approvals/{name}/").status_code == 404


@pytest.fixture
def critical(ask, settled):
    return ask(risk="critical", sla_minutes=30)


def test_critical_risk_asks_for_the_password_and_a_second_person(approver, second_approver, workspace, critical, look):
    """C22, T07."""
    asked = critical
    person = Person(approver, workspace, asked).open()
    person.send()
    assert "Your password" in person.html
    assert person.confirm(password="wrong").status_code == 422
    assert "This is not your password." in person.html
    assert person.confirm(password=factories.PASSWORD).status_code == 302
    assert look(asked).is_open
    assert "A second person decides now" in person.open().html

    tom = Person(second_approver, workspace, asked).open()
    tom.send()
    assert tom.confirm(password=factories.PASSWORD).status_code == 302
    assert look(asked).status == "approved"


def test_a_fresh_proof_of_identity_is_recorded(approver, workspace, critical, recorded):
    person = Person(approver, workspace, critical).open()
    person.send()
    person.confirm(password=factories.PASSWORD)
    assert recorded(Event.AUTH_STEP_UP_COMPLETED) == 1


def test_a_first_approval_makes_the_page_of_the_second_person_stale(
    approver, second_approver, workspace, critical, look
):
    asked = critical
    tom = Person(second_approver, workspace, asked).open()
    person = Person(approver, workspace, asked).open()
    person.send(**{"payload.effective_from": "2027-01-01"})
    person.confirm(password=factories.PASSWORD, **{"payload.effective_from": "2027-01-01"})
    assert tom.send().status_code == 409
    assert "What you saw is not what is waiting now." in tom.html
    assert look(asked).is_open


def test_a_newcomer_reads_from_when_on_their_yes_counts_and_may_only_reject(approver, workspace, ask, look, recorded):
    """T22."""
    asked = ask(risk="critical", sla_minutes=30)
    person = Person(approver, workspace, asked).open()
    not_yet = r"You may approve after \d\d:\d\d UTC on \d{1,2} \w+ \d{4}\. You may reject now\."
    assert re.search(not_yet, person.html)
    assert 'value="approve"' not in person.html
    assert person.send().status_code == 403
    assert re.search(not_yet, person.html)
    assert recorded(Event.AUTHZ_DENIED) == 1
    assert look(asked).is_open
    assert person.open().send("reject").status_code == 302
