"""A person is asked about a call in the transaction that stores the call: a crash leaves both or neither."""

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from audit.taxonomy import Event
from gateway import sql
from gateway.contract import CallRequest, CallState
from gateway.models import ToolCall
from provenance.ids import uuid7

CALL = {"vendor": "V-1", "terms": "NET60"}
# What the kernel does to a process that runs out of memory there, seen from the database.
CRASH = "SELECT pg_terminate_backend(pg_backend_pid())"


def stored(world):
    with transaction.atomic():
        requests = ApprovalRequest.objects.for_workspace(world.workspace.id).count()
        return requests, ToolCall.objects.for_workspace(world.workspace.id).count()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_between_the_question_and_the_call_leaves_no_question(world, erp, monkeypatch):
    """HOUSE: one write, one transaction. An orphan would be shown to a person, and a retry would ask a second time."""
    call_id = uuid7()
    asked = CallRequest(call_id=call_id, call_key="run:update:1", tool="erp.setTerms", arguments=CALL)
    with monkeypatch.context() as crashing:
        crashing.setattr(sql, "PARK", CRASH)
        with world.http("ledger") as client:
            assert client.post("/call", json=asked.to_json()).status_code >= 500
    assert stored(world) == (0, 0)
    assert not world.events(Event.APPROVAL_REQUESTED)
    waiting = world.call("ledger", "erp.setTerms", call_id=call_id, key="run:update:1", **CALL)
    assert waiting.state is CallState.AWAITING_APPROVAL, waiting
    assert stored(world) == (1, 1)
    (question,) = world.events(Event.APPROVAL_REQUESTED)
    assert question.object_id == str(waiting.approval_id)
    (requested,) = world.events(Event.MCP_TOOL_REQUESTED)
    assert (requested.outcome, requested.object_id) == ("pending", str(call_id))
