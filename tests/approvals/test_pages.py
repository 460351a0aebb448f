"""The inbox and a request in a browser without JavaScript: see it, edit it, look again, decide (T18, U15, U16, U18)."""

import re
from html import unescape
from uuid import UUID

import pytest

from approvals import services, witness
from approvals.evidence import Answer
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import parse_public_id, public_id, uuid7
from tests import factories
from tests.approvals.people import REASON, Person, field, page_of
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)

TITLE = "Change Halden Supply AB payment terms from Net-30 to Net-60"


@pytest.fixture
def workspace(db):
    """Not in scope: the doors bring it there."""
    return factories.make_workspace()


@pytest.fixture
def ask(workspace):
    def make(**changes):
        with enter(workspace.pk):
            return factories.make_approval(workspace, **changes)

    return make


@pytest.fixture
def approval(ask):
    return ask()


@pytest.fixture
def look(workspace):
    """The request as the database has it now."""

    def fresh(approval):
        with enter(workspace.pk):
            return approval.fresh()

    return fresh


@pytest.fixture
def recorded(workspace):
    def count(event):
        with enter(workspace.pk):
            return len(factories.events(event))

    return count


@pytest.fixture
def maya(approver, workspace, approval):
    return Person(approver, workspace, approval).open()


def test_the_inbox_shows_what_waits_for_the_reader(approver, workspace, approval):
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/").content.decode()
    assert TITLE in html
    assert "High" in html
    assert approval.public_id in html


def test_the_page_shows_the_change_the_evidence_and_whose_words_they_are(maya):
    for words in (
        "NET30",
        "NET60",
        "2026-12-01",
        "not set",
        # What the agent claims supports nothing: nobody has looked it up (T25).
        "1 caution, 1 contradicts, 2 facts",
        "Contract says 1 January 2027",
        "Nobody has checked it.",
        "It is never approved by timeout",
        "Waiting for you",
    ):
        assert words in maya.html


def test_the_page_keeps_to_the_content_security_policy(maya):
    assert "style=" not in maya.html
    assert "onclick" not in maya.html
    assert not re.search(r"<script(?![^>]*src=)", maya.html)


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


@pytest.mark.parametrize(("verdict", "column"), [("approve", "Approved"), ("reject", "Proposed")])
def test_what_was_decided_is_told_as_past_and_in_no_form(maya, verdict, column):
    assert '<th scope="col">Now</th>' in maya.html
    maya.send(verdict)
    if verdict == "approve":
        assert "Keep waiting" in maya.html
        maya.confirm()
    maya.open()
    assert '<th scope="col">Before</th>' in maya.html
    assert f'<th scope="col">{column}</th>' in maya.html
    assert 'id="payload-1"' not in maya.html
    assert "V-10233" in maya.html


def test_the_way_back_from_a_second_look_says_that_the_edit_goes(maya):
    maya.send(**{"payload.effective_from": "2027-01-01"})
    assert "Back, drop my edit" in maya.html


def cells(html):
    """The table of changes: per field the text of its two cells."""
    rows = re.findall(r'<th scope="row">(.*?)</th>\s*<td[^>]*>(.*?)</td>\s*<td[^>]*>(.*?)</td>', html, re.DOTALL)
    return {name: (now, sent) for name, now, sent in ([words(cell) for cell in row] for row in rows)}


def words(html):
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


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


def test_evidence_that_the_platform_found_leads_to_the_call(approver, workspace, ask, monkeypatch):
    call, run_id = "call_01m7y2nvj4epyt2v1gnp6nphfv", uuid7()
    recorded = {parse_public_id("call", call): Answer("docs.getDocument", {"open": 3})}
    monkeypatch.setattr(witness, "_witnesses", [lambda *_: recorded])
    claimed = {"label": "Open invoices", "value": "3", "tone": "slate"}
    found = {**claimed, "tone": "emerald", "source": f"docs.getDocument $.open {call}"}
    forged = {**claimed, "source": f'docs.getDocument {call}"><script>'}
    approval = ask(run_id=run_id, evidence=[claimed, found, forged])
    html = Person(approver, workspace, approval).open().html
    assert f'href="/w/{workspace.slug}/runs/{public_id("run", run_id)}/?at={call}&amp;tab=output#inspected"' in html
    assert html.count("See the answer") == 1


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


# --- nonces and stale pages (T18) ------------------------------------------------------------------------------------


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


# --- who may not decide ----------------------------------------------------------------------------------------------


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


# --- critical risk ---------------------------------------------------------------------------------------------------


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


# --- words of strangers ----------------------------------------------------------------------------------------------


def test_agent_text_is_inert_marked_and_counted(approver, workspace, ask):
    """U20."""
    asked = ask(
        title="<img src=x onerror=alert(1)>",
        rationale="[click](https://evil.example) **bold** <b>html</b> \u202eevil\u200b",
        evidence=[{"label": "<script>alert(1)</script>", "value": "a\u202eb", "tone": "slate"}],
        payload={**factories.VENDOR_PAYLOAD, "reference": "CON\u200b4821"},
        agent_label="<i>agent</i>",
    )
    for address in (page_of(workspace, asked), f"/w/{workspace.slug}/approvals/"):
        html = browser(approver).get(address).content.decode()
        assert "<img src=x" not in html
        assert "<script>alert" not in html
        assert "<i>agent" not in html
        assert "<b>html" not in html
        assert 'href="https://evil.example' not in html
        assert "\u202e" not in html
        assert "2 hidden characters" in html
        assert "U+202E" in html


def test_look_alikes_are_marked_with_their_code_points_and_ordinary_words_are_not(approver, workspace, ask):
    """T05: `paypal` with a Cyrillic letter is another payee, and `reference` with one is another field."""
    payload = {**factories.VENDOR_PAYLOAD, "reference": "p\u0430ypal", "r\u0435ference": "условия оплаты"}
    schema = {**factories.VENDOR_SCHEMA, "additionalProperties": True}
    evidence = [{"label": "Bank", "value": "Vendor\u0456s bank", "tone": "slate", "note": "\u09ea,000 SEK"}]
    asked = ask(payload=payload, payload_schema=schema, evidence=evidence, rationale="\u212aarl said so.")
    person = Person(approver, workspace, asked).open()
    for spelled in (
        "p\u0430U+0430ypal",
        "r\u0435U+0435ference",
        "\u0456U+0456s bank",
        "\u09eaU+09EA,000",
        "\u212aU+212Aarl",
    ):
        assert spelled in words(person.html)
    assert "1 letter of another script" in words(person.html)
    assert "условия оплаты" in words(person.html)
    person.send()
    shown = cells(person.html)
    assert shown["reference"] == ("not set", "p\u0430U+0430ypal")
    assert shown["r\u0435U+0435ference"] == ("not set", "условия оплаты")


# --- lists -----------------------------------------------------------------------------------------------------------


def test_decided_requests_stay_with_who_decided_and_why(approver, workspace, approval):
    with enter(workspace.pk):
        services.decide(actor=approver, request_id=approval.pk, verdict="reject", reason="The start date is wrong.")
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/?tab=decided").content.decode()
    assert TITLE in html
    assert "The start date is wrong." in html
    assert approver.label in html


def test_an_empty_inbox_says_so(approver, workspace):
    html = browser(approver).get(f"/w/{workspace.slug}/approvals/").content.decode()
    assert "Nothing waits" in html


@pytest.mark.parametrize("tab", ["mine", "waiting", "decided"])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    approver, workspace, ask, django_assert_max_num_queries, tab
):
    """U7."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert browser(approver).get(f"/w/{workspace.slug}/approvals/?tab={tab}").status_code == 200
        return len(captured)

    def more(count):
        for _ in range(count):
            asked = ask()
            if tab == "decided":
                with enter(workspace.pk):
                    services.decide(actor=approver, request_id=asked.pk, verdict="reject", reason=REASON)

    more(2)
    few = queries()
    more(6)
    assert queries() == few


def test_older_decisions_are_a_page_away(approver, workspace, ask, monkeypatch):
    from approvals import selectors

    monkeypatch.setattr(selectors, "PAGE_SIZE", 2)
    for number in range(3):
        asked = ask(title=f"Change number {number}")
        with enter(workspace.pk):
            services.decide(actor=approver, request_id=asked.pk, verdict="reject", reason=REASON)
    client, address = browser(approver), f"/w/{workspace.slug}/approvals/?tab=decided"
    first = client.get(address).content.decode()
    assert "Change number 0" not in first
    older = re.search(r"before=(apr_\w+)", first).group(1)
    assert "Change number 0" in client.get(f"{address}&before={older}").content.decode()
