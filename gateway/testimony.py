"""What tools answered in a run, from the gateway's own record: what evidence is held against (T25)."""

from collections.abc import Iterable
from uuid import UUID

import orjson

from approvals.evidence import Answer
from gateway.contract import CallState, ToolResult
from gateway.models import ToolCall
from workspaces import blobs


def answers(workspace_id: UUID, run_id: UUID, call_ids: Iterable[UUID]) -> dict[UUID, Answer]:
    """The answers of those of the calls that this run made and that succeeded, by call."""
    calls = ToolCall.objects.for_workspace(workspace_id).filter(
        run_id=run_id, pk__in=call_ids, state=CallState.SUCCEEDED
    )
    return {call.pk: Answer(call.tool_name, _content(call)) for call in calls}


def _content(call: ToolCall) -> object:
    stored = orjson.loads(blobs.get(call.workspace_id, call.result_ref))
    return ToolResult.parse(stored).structured_content
