"""Whole runs through the real gateway, example servers and scripted model: what the demo shows, watched from inside."""

import json

import pytest
import yaml
from django.db import transaction

from approvals.errors import NotOpen
from approvals.models import ApprovalRequest
from audit.taxonomy import Event
from provenance.db import enter
from tests.gateway.world import detail, unguarded
from tests.workflows.company import EXAMPLES, FINANCE_INPUT, RESEARCH_INPUT
from workflows import selectors, services
from workflows.models import Budget, Message

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_finance_run_waits_for_a_person_and_sends_exactly_what_the_person_approved(company):
    run = company.drive(company.start("vendor-terms", FINANCE_INPUT))
    assert (run.status, run.waiting_on) == ("waiting", ["approval"]), run.failure_reason
    request = company.request(run)
    assert (request.risk, request.sla_minutes, request.status) == ("high", 120, "pending")
    assert request.current["payment_terms"] == "NET30"
    assert request.payload["payment_terms"] == "NET60"
    # T22: who started the run and who published the workflow are the same person here, and may not decide.
    assert [str(person) for person in request.conflicted_user_ids] == [company.operator.id]
    # T25: at least one item was found by the platform, and none that was not is emerald.
    verified = [item for item in request.evidence if "found by the platform" in item.get("note", "")]
    assert verified
    assert all(item in verified for item in request.evidence if item["tone"] == "emerald")
    assert not company.ledger()

    company.decide(run, effective_from="2027-01-01")
    done = company.drive(run)
    assert done.status == "succeeded", done.failure_reason
    (change,) = company.ledger()
    assert (change["vendor_id"], change["payment_terms"], change["effective_from"]) == (
        "V-10233",
        "NET60",
        "2027-01-01",
    )
    assert change["idempotency_key"] == company.calls(run)[-1].call_key
    assert len(company.world.events(Event.APPROVAL_CONSUMED)) == 1
    assert len(company.world.events(Event.RUN_RESUMED)) == 1
    assert not [event for event in company.world.events() if event.kid not in {"web-1", "worker-1", "gateway-1"}]
    _nothing_of_the_prompt_leaves(company, run)
    _tokens_are_accounted_for(company, run)


def _nothing_of_the_prompt_leaves(company, run):
    """M080: whoever reads a run sees calls and answers, never the agent's instructions."""
    prompt = yaml.safe_load((EXAMPLES / "agents/ledger-ops.yaml").read_text("utf-8"))["system_prompt"]
    with transaction.atomic():
        detail = selectors.run_detail(company.operator, run.pk)
        assert Message.objects.filter(step__run_id=run.pk).exists()
    assert prompt.splitlines()[0] not in str(detail)


def _tokens_are_accounted_for(company, run):
    """M159: what models reported is what the budget lost, and nothing stays reserved."""
    used = sum(call.tokens_in + call.tokens_out for call in company.calls(run, "model"))
    with transaction.atomic():
        budget = Budget.objects.get(run_id=run.pk)
    assert (budget.spent, budget.reserved) == (used, 0)
    assert used > 0


def test_a_rejected_request_ends_the_run_and_changes_nothing(company):
    run = company.drive(company.start("vendor-terms", FINANCE_INPUT))
    company.decide(run, verdict="reject")
    ended = company.drive(run)
    assert (ended.status, ended.failure_code) == ("failed", "approval_rejected")
    assert not company.ledger()


def test_a_run_that_is_canceled_while_it_waits_withdraws_its_request(company):
    run = company.drive(company.start("vendor-terms", FINANCE_INPUT))
    with enter(run.workspace_id):
        services.cancel_run(actor=company.operator, run_id=run.pk, reason="Another contract came.")
    assert company.fresh(run).status == "canceled"
    assert company.request(run).status == "withdrawn"
    with pytest.raises(NotOpen):
        company.decide(run)
    assert not company.ledger()


def test_a_decision_that_no_person_made_stops_the_run(company, as_role):
    """T01: a row that says approved, without a decision signed by web, authorizes nothing."""
    run = company.drive(company.start("vendor-terms", FINANCE_INPUT))
    request = company.request(run)
    with unguarded("approvals_approvalrequest") as owner:
        owner.execute(
            "UPDATE approvals_approvalrequest SET status = 'approved', decided_at = now(), approve_count = 1, "
            "approved_digest = digest WHERE id = %s",
            [request.pk],
        )
        owner.execute("UPDATE workflows_token SET state = 'ready', dispatch_no = 99 WHERE run_id = %s", [run.pk])
    ended = company.drive(run)
    assert ended.status == "failed", ended.status
    assert not company.ledger()


def test_the_research_run_is_refused_the_unlisted_tool_and_ends_with_a_draft(company):
    run = company.drive(company.start("account-research", RESEARCH_INPUT))
    assert run.status == "succeeded", run.failure_reason
    calls = {call.target: call for call in company.calls(run)}
    assert calls["crm.updateAccount"].status == "blocked"
    assert calls["crm.updateAccount"].rule == "tool.unavailable"
    # People see the rule that the agent itself is not told (M058).
    with transaction.atomic():
        steps = selectors.run_detail(company.world.admin, run.pk).steps
    assert {call.rule for step in steps for call in step.calls if call.status == "blocked"} == {"grant.missing"}
    assert {name for name, call in calls.items() if call.status == "succeeded"} >= {"crm.getAccount"}
    assert calls["crm.getAccount"].redactions
    with transaction.atomic():
        assert not ApprovalRequest.objects.filter(run_id=run.pk).exists()
        detail = selectors.run_detail(company.operator, run.pk)
    assert detail.output["account_id"] == RESEARCH_INPUT["account_id"]
    (blocked,) = company.world.events(Event.MCP_TOOL_BLOCKED)
    assert json.loads(blocked.body)["context"]["run_id"] == str(run.pk)


def test_a_malformed_tool_call_goes_back_to_the_model_and_not_to_the_tool(company):
    written = yaml.safe_load((EXAMPLES / "agents/ledger-ops.yaml").read_text("utf-8"))
    company.change_agent("ledger-ops", {**written, "model": "scripted-fault-malformed-arguments-2026-11-01"})
    run = company.drive(company.start("vendor-terms", FINANCE_INPUT))
    assert (run.status, run.waiting_on) == ("waiting", ["approval"]), run.failure_reason
    malformed = [detail(event)["malformed"] for event in company.world.events(Event.RUN_DECISION_RECORDED)]
    assert malformed[0]
    assert not any(malformed[1:])
    assert {call.status for call in company.calls(run)} == {"succeeded"}


def test_a_run_whose_token_budget_is_too_small_stops_before_the_model_is_asked(company):
    source = (EXAMPLES / "workflows/account-research.yaml").read_text("utf-8")
    company.publish(source.replace("limits:\n", "limits:\n  tokens: 100\n"))
    run = company.drive(company.start("account-research", RESEARCH_INPUT))
    assert (run.status, run.failure_code) == ("failed", "budget_exceeded")
    assert not company.world.events(Event.MODEL_CALLED)
    assert len(company.world.events(Event.MODEL_BUDGET_EXCEEDED)) == 1
