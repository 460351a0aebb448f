"""The decision as a table: the order of checks, default deny, and that no approval lifts a deny. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decision import AgentFacts, Allow, AskApproval, Deny, Facts, GrantFacts, ToolPolicy, decide
from provenance.risk import Risk

NOW = datetime(2026, 11, 21, tzinfo=UTC)
AGENT = AgentFacts(status="active", trust_level="medium", requested=frozenset({"erp.get"}), forbidden=frozenset())
TOOL = ToolPolicy(
    full_name="erp.get",
    server_status="approved",
    status="approved",
    pin="p",
    observed_pin="p",
    effect="read",
    data_tier=1,
)
FACTS = Facts(
    agent=AGENT, tool=TOOL, grant=GrantFacts(expires_at=NOW + timedelta(days=1)), now=NOW, environment="production"
)

DENIALS = [
    ("tool.unknown", {"tool": None}),
    ("tool.unknown", {"agent": None}),
    ("agent.inactive", {"agent": replace(AGENT, status="suspended")}),
    ("grant.missing", {"grant": None}),
    ("tool.not_requested", {"agent": replace(AGENT, requested=frozenset())}),
    ("grant.expired", {"grant": GrantFacts(expires_at=NOW)}),
    ("tool.not_approved", {"tool": replace(TOOL, status="pending")}),
    ("grant.constraint", {"broken_constraints": ["vendor: not this one"]}),
    ("server.quarantined", {"tool": replace(TOOL, server_status="quarantined")}),
    ("server.pending_review", {"tool": replace(TOOL, server_status="pending_review")}),
    ("tool.quarantined", {"tool": replace(TOOL, status="quarantined")}),
    ("pin.unverified", {"tool": replace(TOOL, unverified="The server cannot be reached.")}),
    ("pin.missing", {"tool": replace(TOOL, observed_pin=None)}),
    ("pin.changed", {"tool": replace(TOOL, observed_pin="q")}),
    ("agent.forbidden", {"agent": replace(AGENT, forbidden=frozenset({"erp.get"}))}),
    ("trust.capability", {"tool": replace(TOOL, effect="destructive")}),
    ("trust.capability", {"tool": replace(TOOL, effect="unheard of")}),
    ("trust.capability", {"agent": replace(AGENT, trust_level="boundless")}),
    ("trust.secret", {"tool": replace(TOOL, secret_access="admin")}),
    ("halt.engaged", {"halts": ["The workspace is halted: drill"]}),
    ("limit.calls", {"calls_made": 200}),
    ("arguments.schema", {"schema_errors": ["vendor: is required"]}),
    ("arguments.secret_reference", {"secret_references": ["vendor"]}),
    ("dlp.blocked", {"blocked_fields": ["iban"]}),
]


@pytest.mark.parametrize(("rule", "change"), DENIALS, ids=[rule for rule, _ in DENIALS])
def test_each_fact_alone_denies_with_its_rule(rule, change):
    verdict = decide(replace(FACTS, **change))
    assert isinstance(verdict, Deny)
    assert verdict.rule == rule
    assert verdict.reason.endswith(".") or ":" in verdict.reason


def test_with_every_fact_in_order_the_call_may_happen():
    assert decide(FACTS) == Allow()


@given(st.sets(st.integers(0, len(DENIALS) - 1), min_size=1))
def test_no_further_fact_ever_lifts_a_denial(chosen):
    """Facts that deny alone deny together: nothing turns a deny into an ask or an allow."""
    changes = {}
    for index in chosen:
        changes |= DENIALS[index][1]
    assert isinstance(decide(replace(FACTS, **changes)), Deny)


def test_a_write_in_production_asks_a_person():
    verdict = decide(replace(FACTS, tool=replace(TOOL, effect="write", secret_access="write")))
    assert isinstance(verdict, AskApproval)
    assert verdict.risk is Risk.HIGH
