"""What tools answered in a run, from the gateway's own record: what evidence is held against (T25)."""

import hashlib
from collections.abc import Iterable
from uuid import UUID

import orjson

from approvals.evidence import Answer
from audit.signed_facts import signed_facts
from audit.taxonomy import Event
from gateway.contract import CallState, ToolResult
from gateway.models import ToolCall
from workspaces import blobs


def answers(workspace_id: UUID, run_id: UUID, call_ids: Iterable[UUID]) -> dict[UUID, Answer]:
    """The answers of those of the calls that this run made and that succeeded, by call.

    Nobody signs the record, so an answer counts when a genuine event told that this tool gave it in this run.
    """
    calls = ToolCall.objects.for_workspace(workspace_id).filter(
        run_id=run_id, pk__in=call_ids, state=CallState.SUCCEEDED
    )
    ids = [str(call.pk) for call in calls]
    told = list(signed_facts(workspace_id, Event.MCP_TOOL_CALLED, ids, run_id=run_id, outcome="success"))
    found = {}
    for call in calls:
        stored = blobs.get(workspace_id, call.result_ref)
        same = {"tool": call.tool_name, "result_sha256": hashlib.sha256(stored).hexdigest()}
        # Of an event whose detail was erased, that it tells of a success is all that is left.
        if any(not facts or facts == facts | same for about, facts in told if about == str(call.pk)):
            found[call.pk] = Answer(call.tool_name, ToolResult.parse(orjson.loads(stored)).structured_content)
    return found
