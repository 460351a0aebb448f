"""Waking what waits for a person. The port `approvals.origins` calls these once a decision has committed."""

from uuid import UUID

from provenance.db import enter
from workflows import doorbell, sql
from workflows.models import Call, Token


def wake_step(workspace_id: UUID, step_id: UUID) -> None:
    """Let the token of an approval step go on. A wake-up that is lost is found by the sweeper."""
    with enter(workspace_id):
        _wake_tokens_of(workspace_id, step_id)


def wake_call(workspace_id: UUID, call_id: UUID) -> None:
    """Let the token go on that waits for a decision about a single call. An outside client's call has none."""
    with enter(workspace_id):
        calls = Call.objects.for_workspace(workspace_id).filter(pk=call_id)
        if step_id := calls.values_list("step_id", flat=True).first():
            _wake_tokens_of(workspace_id, step_id)


def _wake_tokens_of(workspace_id: UUID, step_id: UUID) -> None:
    tokens = Token.objects.for_workspace(workspace_id).filter(step_id=step_id)
    for token_id in tokens.values_list("pk", flat=True):
        wake_token(workspace_id, token_id)


def wake_token(workspace_id: UUID, token_id: UUID) -> None:
    """Make a waiting token ready and ring for it. Nothing happens when it does not wait. Inside the workspace."""
    if row := sql.one(sql.WAKE, token_id=token_id):
        doorbell.ring_on_commit(workspace_id, token_id, row[0])
