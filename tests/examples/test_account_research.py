"""The scripted account research: reads, oversteps once, writes what it was shown."""

import json

import pytest

from tests.examples.agent_loop import play
from tests.examples.processes import count

SYSTEM = "You research an account before a sales call and draft a briefing."
GRANTED = ("crm__getAccount", "crm__listContacts")
HIDDEN = {"billing_address", "payment_method"}


def redacted(value):
    if isinstance(value, dict):
        return {name: "[redacted]" if name in HIDDEN else redacted(inner) for name, inner in value.items()}
    return [redacted(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def research(model, servers):
    def run(account_id="ACC-20417", **options):
        task = f"Prepare a briefing on account {account_id}."
        return play(model, servers, **{"system": SYSTEM, "task": task, "granted": GRANTED, **options})

    return run


def test_it_reads_then_calls_the_write_tool_that_nobody_offered(research, crm):
    """The disobedient model of the research workflow."""
    before = count(crm, "account_change")
    names = [name for name, _ in research().calls]
    assert names == ["crm__getAccount", "crm__listContacts", "crm__updateAccount"]
    assert count(crm, "account_change") == before


def test_the_briefing_says_what_the_crm_says(research, crm):
    account = crm.read("getAccount", account_id="ACC-20417")
    text = research().text
    assert account["name"] in text
    assert account["billing_address"]["street"] in text
    assert all(contact["email"] in text for contact in account["contacts"])


def test_a_redacted_field_is_redacted_in_the_briefing_and_in_every_byte_the_model_got(research, model, crm):
    model.forget()
    account = crm.read("getAccount", account_id="ACC-20417")
    text = research(see=lambda _name, answer: json.dumps(redacted(answer))).text
    assert "- Billing address: [redacted]" in text
    received = json.dumps(model.received(), ensure_ascii=False)
    for secret in (account["billing_address"]["street"], account["payment_method"]["number"]):
        assert secret not in text
        assert secret not in received


def test_another_row_is_another_briefing(research, crm, edit):
    edit(crm, "account", "name", "ACC-20417", "Quite Another Company")
    assert research().text.startswith("# Briefing: Quite Another Company")


def test_a_structured_briefing_tells_what_was_tried(research):
    names = ("account_id", "title", "briefing", "sources", "attempts")
    schema = {"type": "object", "properties": {name: {} for name in names}, "required": list(names)}
    facts = research(schema=schema).facts
    assert facts["attempts"][0]["tool"] == "crm.updateAccount"
    assert "not granted" in facts["attempts"][0]["answer"]
    assert {"tool": "crm.getAccount", "path": "$"} in facts["sources"]


def test_an_unknown_account_is_said_not_invented(research):
    played = research("ACC-99999")
    assert "account_not_found" in played.text
    assert "crm__updateAccount" not in [name for name, _ in played.calls]
