"""Asking a person: exactly one call, with a deadline, by those who may ask (M093, M097, M100)."""

from datetime import timedelta

import pytest

from approvals import services
from approvals.digest import action_digest
from approvals.errors import NotWithdrawable, PayloadRefused
from approvals.models import ApprovalRequest
from audit.taxonomy import Event
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.ids import uuid7
from secrets_vault.references import ReferenceInArguments
from tests import factories


def test_a_request_waits_until_its_sla_and_is_recorded(workspace, approval, events):
    assert approval.is_open
    assert approval.due_at - approval.requested_at == timedelta(minutes=120)
    assert approval.digest == action_digest(factories.action_facts(workspace), factories.VENDOR_PAYLOAD)
    (event,) = events(Event.APPROVAL_REQUESTED)
    assert (event.object_id, event.outcome, event.risk, event.kid) == (str(approval.pk), "pending", "high", "worker-1")
    assert event.signed["context"]["action_digest"] == approval.digest


def test_asking_again_for_the_same_call_returns_the_open_request(workspace, approval, events):
    again = factories.make_approval(workspace, origin_id=approval.origin_id)
    assert again.pk == approval.pk
    assert len(events(Event.APPROVAL_REQUESTED)) == 1


def test_asking_for_another_call_supersedes_the_open_request(workspace, approval, events):
    payload = {**factories.VENDOR_PAYLOAD, "payment_terms": "NET90"}
    other = factories.make_approval(workspace, origin_id=approval.origin_id, payload=payload)
    assert other.pk != approval.pk
    assert approval.fresh().status == "superseded"
    assert [event.object_id for event in events(Event.APPROVAL_SUPERSEDED)] == [str(approval.pk)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"sla_minutes": 0}, Invalid),
        ({"sla_minutes": 10_081}, Invalid),
        ({"sla_minutes": True}, Invalid),
        ({"risk": "enormous"}, Invalid),
        ({"origin": "webhook"}, Invalid),
        ({"title": "  "}, Invalid),
        ({"title": "x" * 201}, Invalid),
        ({"rationale": "nul\0"}, Invalid),
        ({"current": {"a": "\ud800"}}, Invalid),
        ({"evidence": [{"label": "a", "value": "b", "tone": "green"}]}, Invalid),
        ({"evidence": [{"label": "a", "value": "b", "tone": "rose"}] * 51}, Invalid),
        ({"evidence": [{"label": "a", "value": "b", "tone": "rose", "html": "<b>"}]}, Invalid),
        ({"payload_schema": {"$ref": "http://127.0.0.1:9/x"}}, Invalid),
        ({"payload": {"vendor_id": "V-1"}}, PayloadRefused),
        ({"payload": {**factories.VENDOR_PAYLOAD, "reference": "x" * 21}}, PayloadRefused),
        ({"payload": {**factories.VENDOR_PAYLOAD, "reference": "secret://erp"}}, ReferenceInArguments),
    ],
)
def test_a_request_that_could_not_be_decided_well_is_refused(workspace, change, error):
    with pytest.raises(error):
        factories.make_approval(workspace, **change)
    assert not ApprovalRequest.objects.for_workspace(workspace.id).exists()


def test_facts_of_another_workspace_are_refused(workspace, other_workspace):
    with pytest.raises(Invalid, match="another workspace"):
        factories.make_approval(workspace, facts=factories.action_facts(other_workspace))


def test_asking_needs_the_permission(workspace, viewer):
    with pytest.raises(PermissionDenied):
        factories.make_approval(workspace, actor=viewer)


def test_a_request_can_be_withdrawn_and_says_why(approval, editor, events):
    services.withdraw(actor=editor, request_id=approval.pk, reason="The run was canceled.")
    assert approval.fresh().status == "withdrawn"
    assert approval.fresh().closing_reason == "The run was canceled."
    assert len(events(Event.APPROVAL_WITHDRAWN)) == 1


def test_a_closed_request_cannot_be_withdrawn(approval, editor):
    services.withdraw(actor=editor, request_id=approval.pk, reason="The run was canceled.")
    with pytest.raises(NotWithdrawable, match="withdrawn"):
        services.withdraw(actor=editor, request_id=approval.pk, reason="Again.")


def test_an_agent_withdraws_only_what_it_asked_for(workspace, approval):
    other = factories.make_approval(workspace, actor=factories.agent_actor(workspace))
    services.withdraw(actor=factories.agent_actor(workspace), request_id=other.pk, reason="No longer needed.")
    from dataclasses import replace

    stranger = replace(factories.agent_actor(workspace), id="agent-other")
    with pytest.raises(PermissionDenied):
        services.withdraw(actor=stranger, request_id=approval.pk, reason="No longer needed.")


def test_another_tenant_finds_no_request(approval, stranger):
    from provenance.db import scope

    with scope(stranger.workspace_id), pytest.raises(NotFound):
        services.withdraw(actor=stranger, request_id=approval.pk, reason="Theirs.")


def test_two_requests_of_different_origins_wait_side_by_side(workspace):
    first, second = factories.make_approval(workspace), factories.make_approval(workspace, origin_id=uuid7())
    assert first.is_open
    assert second.is_open
