"""Calls that a person has to approve: asked once, used once, for exactly what was approved (T01, T03, T05)."""

import pytest

from approvals import services as approvals
from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.ids import uuid7
from tests.gateway.approving import approve, asked
from tests.gateway.world import reread_policy


def test_the_step_that_was_approved_sends_the_edited_payload_once(world, erp):
    request = asked(world, vendor="V-1", terms="NET30")
    approve(world, request.pk, vendor="V-1", terms="NET60")
    response = world.call(
        "ledger", "erp.setTerms", key="run:update:1", approval_id=request.pk, vendor="V-1", terms="NET60"
    )
    assert response.state is CallState.SUCCEEDED, response
    assert erp.sent == [{"vendor": "V-1", "terms": "NET60", "idempotency_key": "run:update:1"}]
    (consumed,) = world.events(Event.APPROVAL_CONSUMED)
    assert (consumed.kid, consumed.object_id) == ("gateway-1", str(request.pk))


def test_an_approval_is_used_once_even_by_an_identical_call(world, erp):
    request = asked(world, vendor="V-1", terms="NET60")
    approve(world, request.pk)
    again = {"key": "run:update:1", "approval_id": request.pk, "vendor": "V-1", "terms": "NET60"}
    assert world.call("ledger", "erp.setTerms", **again).state is CallState.SUCCEEDED
    second = world.call("ledger", "erp.setTerms", **again)
    assert (second.state, second.rule) == (CallState.BLOCKED, "approval.consumed")
    assert len(erp.calls) == 1


@pytest.mark.parametrize(
    "swap", [{"terms": "NET30"}, {"vendor": "V-2"}, {"key": "run:update:2"}], ids=["terms", "vendor", "call"]
)
def test_anything_swapped_after_the_approval_is_refused(world, erp, swap):
    """gateway.md 5, row 20: the digest is computed anew over everything."""
    request = asked(world, vendor="V-1", terms="NET60")
    approve(world, request.pk)
    call = {"key": "run:update:1", "approval_id": request.pk, "vendor": "V-1", "terms": "NET60", **swap}
    response = world.call("ledger", "erp.setTerms", **call)
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.digest_mismatch")
    assert not erp.calls
    assert world.events(Event.APPROVAL_DIGEST_MISMATCH)
    assert world.rule(Event.MCP_TOOL_BLOCKED) == "approval.digest_mismatch"


def test_rules_that_changed_after_the_approval_void_it(world, erp):
    request = asked(world, vendor="V-1", terms="NET60")
    approve(world, request.pk)
    world.review("erp.setTerms", "write", retry_class="once", data_tier=2)
    reread_policy(world)
    response = world.call(
        "ledger", "erp.setTerms", key="run:update:1", approval_id=request.pk, vendor="V-1", terms="NET60"
    )
    assert response.state is CallState.BLOCKED
    assert not erp.calls


def test_a_call_within_an_agent_step_waits_and_goes_on_after_the_decision(world, erp):
    call_id = uuid7()
    waiting = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET30")
    assert waiting.state is CallState.AWAITING_APPROVAL
    assert not erp.calls
    repeated = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET30")
    assert repeated.approval_id == waiting.approval_id
    assert len(world.events(Event.APPROVAL_REQUESTED)) == 1
    approve(world, waiting.approval_id, vendor="V-1", terms="NET60")
    done = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET30")
    assert done.state is CallState.SUCCEEDED, done
    assert done.sent_arguments["terms"] == "NET60"
    assert [sent["terms"] for sent in erp.sent] == ["NET60"]


def test_a_rejected_call_is_blocked_for_good(world, erp):
    call_id = uuid7()
    waiting = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET30")
    approvals.decide(actor=world.approver, request_id=waiting.approval_id, verdict="reject", reason="Not this vendor.")
    for _ in range(2):
        refused = world.call("ledger", "erp.setTerms", call_id=call_id, vendor="V-1", terms="NET30")
        assert (refused.state, refused.rule) == (CallState.BLOCKED, "approval.rejected")
    assert not erp.calls


def test_a_decision_without_the_signature_of_the_console_authorizes_nothing(world, erp):
    """T01: a decision row that somebody wrote past the console."""
    request = asked(world, vendor="V-1", terms="NET60")
    approve(world, request.pk)
    world.served("UPDATE approvals_approvaldecision SET event_id = gen_random_uuid()")
    response = world.call(
        "ledger", "erp.setTerms", key="run:update:1", approval_id=request.pk, vendor="V-1", terms="NET60"
    )
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.unproven")
    assert not erp.calls


def test_the_facts_say_what_a_call_needs(world, erp):
    facts = world.facts("ledger", "erp.setTerms", "k", vendor="V-1", terms="NET60")
    assert (facts.verdict, facts.risk) == ("ask", "high")
    assert "idempotency_key" not in facts.input_schema["properties"]
    assert world.facts("ledger", "erp.getTerms", "k", vendor="V-1").verdict == "allow"
    assert world.facts("ledger", "erp.setTerms", "k", vendor="V-1", terms="NET90").rule == "arguments.schema"


def test_the_gateway_fills_in_the_key_and_takes_none_from_the_caller(world, erp):
    response = world.call("ledger", "erp.setTerms", vendor="V-1", terms="NET60", idempotency_key="mine")
    assert (response.state, response.rule) == (CallState.BLOCKED, "arguments.schema")
