"""The log of a run in plain sentences: who, what, with what result. Pure, so as a table of cases."""

from types import SimpleNamespace

import pytest

from audit.selectors import EventRow
from audit.taxonomy import Event
from workflows.run_log import sentence

TITLES = {"vendor": "Read the terms on file"}


def row(action, facts=None, *, outcome="success", actor_type="agent", step="", reason=""):
    """An event as the log gives it; its facts are what is erasable."""
    event = SimpleNamespace(
        action=action,
        outcome=outcome,
        actor_type=actor_type,
        actor_id="ledger-ops",
        object_type="step" if step else "tool_call",
        object_id="x",
        workspace_id=None,
        sentence=Event(action).sentence,
        context={"step": step},
        signed={"context": {"step": step}},
    )
    return EventRow(
        event, {"actor_label": "Ledger operations", **({"reason": reason} if reason else {}), **(facts or {})}
    )


CASES = [
    (
        row("run.queued", {"version": 2, "workflow": "vendor-terms"}),
        "Ledger operations started version 2 of vendor-terms.",
    ),
    (row("run.step_started", step="vendor"), "Step “Read the terms on file” began."),
    (row("run.step_waiting", step="other", reason="A person decides."), "Step “other” waits: A person decides."),
    (row("run.waiting", {"waiting_on": "approval"}), "The run waits for a person's approval."),
    (row("run.failed", reason="The tool is gone"), "The run failed: The tool is gone."),
    (
        row("run.canceling", actor_type="user", reason="Started twice."),
        "Ledger operations asked the run to stop: “Started twice.”",
    ),
    (
        row(
            "model.called", {"model": "m-1", "scripted": True, "tokens_in": 1200, "tokens_out": 7, "milliseconds": 1750}
        ),
        "Ledger operations asked the scripted model m-1, which answered in 1.8 s (1,200 tokens in, 7 out).",
    ),
    (
        row("run.decision_recorded", {"chosen": ["a.b", "c.d"], "malformed": []}),
        "The model of Ledger operations chose to call a.b and c.d.",
    ),
    (
        row("run.decision_recorded", {"chosen": ["bad"], "malformed": ["bad"]}),
        "It asked for bad in a form that is no call, which was sent nowhere.",
    ),
    (
        row("run.decision_recorded", {"chosen": ["a.b", "a.b", "c.d"], "malformed": []}),
        "The model of Ledger operations chose to call a.b 2 times and c.d.",
    ),
    (
        row("agent.created", {"object_label": "Account research"}, actor_type="user", reason="For sales."),
        "An agent was registered: Account research, by Ledger operations. “For sales.”",
    ),
    (
        row("mcp.tool_requested", {"tool": "erp.getVendor", "attempt": 1}),
        "The gateway let Ledger operations call erp.getVendor.",
    ),
    (
        row("mcp.tool_requested", {"tool": "erp.pay", "rule": "approval.pending"}),
        "The gateway holds the call of erp.pay by Ledger operations until a person approves it.",
    ),
    (
        row("mcp.tool_called", {"tool": "crm.get", "duration_ms": 17, "redactions": {"p": {"iban": 2}}}),
        "crm.get answered in 17 ms; 2 values were withheld from Ledger operations.",
    ),
    (
        row("mcp.tool_called", {"tool": "crm.get", "redactions": {}}, outcome="unknown"),
        "Nobody knows what became of the call of crm.get.",
    ),
    (
        row("mcp.tool_blocked", {"tool": "crm.set"}, outcome="blocked", reason="The agent has no grant for crm.set."),
        "The gateway refused Ledger operations the call of crm.set: The agent has no grant for crm.set.",
    ),
    (
        row(
            "policy.violation",
            {"rule": "p", "action": "redact", "direction": "output", "fields": {"iban": 1}, "tool": "t"},
        ),
        "Policy p matched in the answer of t: 1 value was withheld (iban).",
    ),
    (
        row(
            "approval.approved", {"tool": "erp.pay", "changed_fields": ["date"]}, actor_type="user", reason="Checked it"
        ),
        "Ledger operations approved one call of erp.pay with an edit: “Checked it”",
    ),
]


@pytest.mark.parametrize(("logged", "told"), CASES, ids=[told[:40] for _, told in CASES])
def test_an_event_is_told_in_one_sentence(logged, told):
    assert sentence(logged, TITLES) == told


@pytest.mark.parametrize("event", Event, ids=lambda event: event.value)
def test_every_event_is_told_even_when_its_facts_were_erased(event):
    erased = row(event.value)
    assert sentence(EventRow(erased.event, {}), TITLES).strip()


def test_an_event_without_a_sentence_of_its_own_names_who_and_what():
    logged = row("agent.suspended", {"object_label": "Ledger operations"}, actor_type="user", reason="It misbehaved.")
    told = sentence(logged, TITLES)
    assert told.startswith(Event.AGENT_SUSPENDED.sentence.removesuffix("."))
    assert "“It misbehaved.”" in told
