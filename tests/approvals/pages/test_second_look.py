"""A request in a browser without JavaScript: see it, edit it, look again, decide (U15, U16, U18)."""

import pytest

from audit.taxonomy import Event
from tests import factories
from tests.approvals.people import REASON, Person, cells, field

pytestmark = pytest.mark.django_db(transaction=True)


def test_high_risk_is_approved_after_a_second_look_with_the_edit(maya, approval, look, recorded):
    response = maya.send(**{"payload.effective_from": "2027-01-01"})
    assert response.status_code == 200
    assert "Approve a high-risk change?" in maya.html
    assert "2027-01-01" in maya.html
    assert "I have read the evidence marked" in maya.html
    assert look(approval).is_open

    response = maya.confirm(**{"payload.effective_from": "2027-01-01"})
    assert (response.status_code, response["Location"]) == (302, maya.page)
    assert look(approval).status == "approved"
    assert recorded(Event.APPROVAL_PAYLOAD_EDITED) == 1
    maya.open()
    for words in ("Approved with your edit.", REASON, "Changed effective_from", "the agent said 2026-12-01"):
        assert words in maya.html
    assert 'id="decide"' not in maya.html


def test_the_way_back_from_a_second_look_says_that_the_edit_goes(maya):
    maya.send(**{"payload.effective_from": "2027-01-01"})
    assert "Back, drop my edit" in maya.html


def test_the_second_look_lists_every_field_that_will_be_sent(approver, workspace, ask):
    """T05: nobody answers for a value that was not shown, least of all for one that the form does not let them change."""
    fixed = {"iban": "SE4550000000058398257466", "mode": "overwrite", "delivery": {"to": "attacker@example.com"}}
    schema = {
        **factories.VENDOR_SCHEMA,
        "properties": {
            **factories.VENDOR_SCHEMA["properties"],
            "iban": {"type": "string", "readOnly": True},
            "mode": {"const": "overwrite"},
            "delivery": {"type": "object", "readOnly": True},
            "note": {"type": ["string", "null"]},
        },
    }
    asked = ask(payload={**factories.VENDOR_PAYLOAD, **fixed, "note": None}, payload_schema=schema)
    person = Person(approver, workspace, asked).open()
    person.send()
    assert "Approve a high-risk change?" in person.html
    shown = cells(person.html)
    assert shown.keys() == asked.payload.keys()
    assert shown["iban"] == ("not set", f"{fixed['iban']} sent, cannot be changed")
    assert shown["mode"] == ("not set", "overwrite sent, cannot be changed")
    assert shown["delivery"] == ("not set", '{ "to": "attacker@example.com" } sent, cannot be changed')
    assert shown["vendor_id"] == ("V-10233", "no change sent, cannot be changed")
    assert shown["note"] == ("not set", "empty")


IN_THE_PAST = "which is in the past and is your edit"


def test_an_edit_to_a_past_date_is_warned_about_and_not_refused(maya, approval, look):
    assert IN_THE_PAST not in maya.html
    maya.send(**{"payload.effective_from": "2020-01-31"})
    assert IN_THE_PAST in maya.html
    assert maya.confirm(**{"payload.effective_from": "2020-01-31"}).status_code == 302
    assert look(approval).status == "approved"


def test_an_edit_to_a_later_date_is_not_warned_about(maya):
    maya.send(**{"payload.effective_from": "2999-12-31"})
    assert "Approve a high-risk change?" in maya.html
    assert "in the past" not in maya.html


def test_a_past_date_gets_a_second_look_at_any_risk(approver, workspace, ask, look):
    approval = ask(risk="medium", evidence=[])
    person = Person(approver, workspace, approval).open()
    edit = {"payload.effective_from": "2020-01-31"}
    assert person.send(reason="", **edit).status_code == 200
    assert IN_THE_PAST in person.html
    assert look(approval).is_open
    assert person.confirm(read=(), reason="", **edit).status_code == 302
    assert look(approval).status == "approved"


def test_a_past_date_that_the_agent_proposes_is_said_on_the_page(approver, workspace, ask):
    approval = ask(payload={**factories.VENDOR_PAYLOAD, "effective_from": "2020-01-31"})
    assert "which is in the past. It is sent as it stands." in Person(approver, workspace, approval).open().html


def test_medium_risk_is_approved_at_once_and_without_a_reason(approver, workspace, ask, look):
    asked = ask(risk="medium", evidence=[])
    person = Person(approver, workspace, asked).open()
    assert person.send(reason="").status_code == 302
    assert look(asked).status == "approved"


def test_a_rejection_needs_only_the_reason(maya, approval, look):
    assert maya.send("reject", reason="The start date is wrong.").status_code == 302
    assert look(approval).status == "rejected"


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_short_reason_is_asked_for_again_and_kept(maya, approval, look, verdict):
    response = maya.send(verdict, reason="ok", **({"confirmed": "1", "read": "0"} if verdict == "approve" else {}))
    if verdict == "approve":  # the nonce of the first look confirms nothing
        assert response.status_code == 409
    else:
        assert response.status_code == 422
        assert "Write at least 10 characters. Auditors read this." in maya.html
        assert field(maya.html, "reason") == "ok"
    assert look(approval).is_open


def test_the_second_look_demands_the_reason_and_the_contradiction(maya, approval, look):
    maya.send()
    response = maya.confirm(read=[])
    assert response.status_code == 422
    assert "Tick that you have read what contradicts: Effective date." in maya.html
    response = maya.confirm(reason="ok")
    assert response.status_code == 422
    assert "Write at least 10 characters. Auditors read this." in maya.html
    assert look(approval).is_open
    assert maya.confirm().status_code == 302


def test_an_edit_that_breaks_the_schema_is_shown_beside_its_field(maya, approval, look):
    response = maya.send(**{"payload.payment_terms": "NET365"})
    assert response.status_code == 422
    assert "Allowed: NET30, NET60, NET90." in maya.html
    assert field(maya.html, "reason") == REASON
    assert look(approval).is_open


def test_a_fixed_field_that_was_tampered_with_is_refused_by_name(maya, approval, look):
    response = maya.send(**{"payload.vendor_id": "V-66666"})
    assert response.status_code == 422
    assert "This field may not be changed; it stays &#x27;V-10233&#x27;." in maya.html
    assert look(approval).is_open


def test_a_field_that_the_call_does_not_have_is_refused(maya):
    assert maya.send(**{"payload.iban": "SE35"}).status_code == 422
    assert "Not a field of this call." in maya.html


def test_a_secret_reference_in_an_edit_is_a_policy_violation(maya, approval, look, recorded):
    """T02."""
    maya.send(**{"payload.reference": "secret://erp"})
    response = maya.confirm(**{"payload.reference": "secret://erp"})
    assert response.status_code == 422
    assert recorded(Event.POLICY_VIOLATION) == 1
    assert look(approval).is_open
