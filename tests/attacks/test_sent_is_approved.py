"""What a person approved is what is sent, to the letter: nothing is taken out after the decision (T05)."""

import pytest

from approvals import services as approvals
from approvals.digest import ActionFacts
from approvals.models import ApprovalRequest
from audit.taxonomy import Event
from gateway import services
from gateway.contract import CallState
from provenance.db import enter
from provenance.ids import uuid7
from tests import factories
from tests.gateway.world import reread_policy

KEY = "run:update:1"
CALL = {"vendor": "V-1", "terms": "NET60"}
HIDING = {
    "a comment": {**CALL, "vendor": "V-1<!-- except V-7 -->"},
    "a comment without an end": {**CALL, "vendor": "V-1<!-- and all others"},
    "a character of no width": {**CALL, "vendor": "V-1\u200b"},
    "text that turns around": {**CALL, "vendor": "\u202e1-V"},
}


def ask(world, payload, facts):
    """A request that a hijacked worker stores itself, with the facts of a harmless call."""
    with enter(world.workspace.id):
        return factories.make_approval(
            world.workspace,
            run_id=world.run.id,
            risk=facts.risk,
            payload=payload,
            payload_schema=facts.input_schema,
            current={},
            evidence=[],
            facts=ActionFacts.from_json(facts.facts),
            tool_label="erp.setTerms",
        )


def approve(world, request_id, payload=None):
    approvals.decide(
        actor=world.approver, request_id=request_id, verdict="approve", payload=payload, reason="Checked with legal."
    )


@pytest.mark.parametrize("way", HIDING)
def test_what_would_change_on_the_way_is_not_put_before_a_person(world, erp, way):
    facts = world.facts("ledger", "erp.setTerms", KEY, **HIDING[way])
    assert (facts.verdict, facts.rule) == ("deny", "arguments.altered")


@pytest.mark.parametrize("way", HIDING)
def test_an_approval_of_arguments_that_hide_something_sends_nothing(world, erp, way):
    request = ask(world, HIDING[way], world.facts("ledger", "erp.setTerms", KEY, **CALL))
    approve(world, request.pk)
    response = world.call("ledger", "erp.setTerms", key=KEY, approval_id=request.pk, **HIDING[way])
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.digest_mismatch")
    assert world.events(Event.APPROVAL_DIGEST_MISMATCH)
    assert not erp.calls


@pytest.mark.parametrize("way", HIDING)
def test_an_edit_that_hides_something_sends_nothing(world, erp, way):
    request = ask(world, CALL, world.facts("ledger", "erp.setTerms", KEY, **CALL))
    approve(world, request.pk, HIDING[way])
    response = world.call("ledger", "erp.setTerms", key=KEY, approval_id=request.pk, **CALL)
    assert (response.state, response.rule) == (CallState.BLOCKED, "approval.altered")
    assert world.rule(Event.MCP_TOOL_BLOCKED) == "approval.altered"
    assert not erp.calls


def test_a_policy_that_would_take_something_out_is_not_applied_behind_an_approval(world, erp):
    request = ask(world, CALL, world.facts("ledger", "erp.setTerms", KEY, **CALL))
    approve(world, request.pk)
    services.set_dlp_policy(actor=world.admin, name="terms", fields=["vendor"], selector="erp", direction="input")
    reread_policy(world)
    response = world.call("ledger", "erp.setTerms", key=KEY, approval_id=request.pk, **CALL)
    assert response.state is CallState.BLOCKED
    assert not erp.calls


@pytest.mark.parametrize("way", HIDING)
def test_the_gateway_asks_about_what_it_would_send_and_sends_that(world, erp, way):
    """The call's own question: cleaned before it is asked, and the same call again finds its answer."""
    call_id = uuid7()
    waiting = world.call("ledger", "erp.setTerms", key=KEY, call_id=call_id, **HIDING[way])
    assert waiting.state is CallState.AWAITING_APPROVAL, waiting
    with enter(world.workspace.id):
        seen = ApprovalRequest.objects.get(pk=waiting.approval_id).payload
    approve(world, waiting.approval_id)
    response = world.call("ledger", "erp.setTerms", key=KEY, call_id=call_id, **HIDING[way])
    assert response.state is CallState.SUCCEEDED, response
    assert erp.sent == [{**seen, "idempotency_key": KEY}]
    assert seen != HIDING[way]
