"""The page of a request tells whose words are whose, and what of them was looked up (T25, U16)."""

import re

import pytest

from approvals import witness
from approvals.evidence import Answer
from provenance.ids import parse_public_id, public_id, uuid7
from tests import factories
from tests.approvals.people import Person, cells, page_of, words
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_shows_the_change_the_evidence_and_whose_words_they_are(maya):
    for told in (
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
        assert told in maya.html


def test_the_page_keeps_to_the_content_security_policy(maya):
    assert "style=" not in maya.html
    assert "onclick" not in maya.html
    assert not re.search(r"<script(?![^>]*src=)", maya.html)


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
