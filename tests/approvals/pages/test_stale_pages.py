"""A decision is taken from the page that was shown, once, and from nothing else (T18)."""

import pytest

from audit.taxonomy import Event
from tests.approvals.people import REASON, Person, page_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("nonce", ["", "0" * 64, "x"])
def test_a_decision_without_this_pages_nonce_is_not_taken(maya, approval, look, nonce):
    response = maya.client.post(f"{maya.page}decide", {"verdict": "reject", "reason": REASON, "nonce": nonce})
    assert response.status_code == 409
    assert REASON in response.content.decode()
    assert look(approval).is_open


def test_a_nonce_of_another_session_is_worth_nothing(maya, second_approver, workspace, approval, look):
    tom = Person(second_approver, workspace, approval).open()
    tom.html = maya.html
    assert tom.send("reject").status_code == 409
    assert look(approval).is_open


def test_a_nonce_of_another_request_is_worth_nothing(maya, approver, workspace, ask, look):
    other = ask()
    maya.page = page_of(workspace, other)
    assert maya.send("reject").status_code == 409
    assert look(other).is_open


def test_the_second_look_cannot_be_sent_with_another_payload(maya, approval, look):
    maya.send(**{"payload.effective_from": "2027-01-01"})
    assert maya.confirm(**{"payload.effective_from": "2027-02-01"}).status_code == 409
    assert look(approval).is_open


def test_a_page_that_went_stale_says_who_was_faster_and_keeps_the_reason(maya, second_approver, workspace, approval):
    tom = Person(second_approver, workspace, approval).open()
    assert tom.send("reject", reason="The start date is wrong.").status_code == 302
    response = maya.send(**{"payload.effective_from": "2027-01-01"})
    assert response.status_code == 409
    assert "Tom Alvarez rejected this at" in maya.html
    assert "Your decision was not recorded." in maya.html
    assert REASON in maya.html
    assert 'id="decide"' not in maya.html


def test_a_replayed_decision_is_a_conflict(maya, approval, recorded):
    maya.send("reject")
    maya.open()
    response = maya.send("reject")
    assert response.status_code == 409
    assert recorded(Event.APPROVAL_REJECTED) == 1


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("query", ["", "?verdict=approve&reason=looks+good+to+me&confirmed=1"])
def test_a_get_decides_nothing(maya, approval, look, method, query):
    """M102, U16: link scanners and prefetching browsers fetch whatever they see."""
    for address in (maya.page, f"{maya.page}decide", maya.page.rpartition(approval.public_id)[0]):
        assert getattr(maya.client, method)(address + query).status_code in {200, 302}
    assert look(approval).audit_rev == approval.audit_rev


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_other_methods_decide_nothing(maya, approval, look, method):
    getattr(maya.client, method)(f"{maya.page}decide")
    assert look(approval).is_open
