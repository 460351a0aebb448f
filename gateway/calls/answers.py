"""What a caller is told: now, or from what was stored when the call ended."""

from typing import Any
from uuid import UUID

from gateway import sql
from gateway.calls.stages import Asked
from gateway.contract import LONGEST_SECONDS, CallResponse, CallState, Redaction, ToolResult
from gateway.database import Database, one
from gateway.decision import UNAVAILABLE, Deny
from gateway.events import Caller
from gateway.policy import Snapshot
from provenance import strict_json
from workspaces import blobs


class Answers:
    """The calls that were asked for before, read back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def row(self, caller: Caller, call_id: UUID) -> dict[str, Any] | None:
        """The row of `sql.CALL`; None when this id never reached the gateway."""
        async with self._database.scope(caller.workspace_id) as connection:
            return await one(connection, sql.CALL, {"call_id": call_id, "longest_seconds": LONGEST_SECONDS})

    async def stored(self, caller: Caller, snapshot: Snapshot, row: dict[str, Any]) -> CallResponse:
        """The answer of a call that was settled before, or word that it is still in flight."""
        tool = snapshot.tools.get(row["tool_name"])
        result = await self._blob(caller.workspace_id, row["result_ref"])
        late = await self._blob(caller.workspace_id, row["late_result_ref"])
        arguments = await self._blob(caller.workspace_id, row["arguments_ref"]) if row["edited"] else None
        said = shown(Deny(row["rule"], row["reason"])) if row["state"] == CallState.BLOCKED else None
        return CallResponse(
            call_id=row["id"],
            state=CallState(row["state"]),
            result=ToolResult.parse(result) if result is not None else None,
            rule=said.rule if said else row["rule"],
            reason=said.reason if said else row["reason"],
            approval_id=row["approval_id"],
            redactions=[Redaction(policy=policy, field=name, count=count) for policy, name, count in row["redactions"]],
            tool=tool.facts if tool and row["state"] != CallState.BLOCKED else None,
            duration_ms=row["duration_ms"],
            retry_after_seconds=row["seconds_left"] if row["state"] == CallState.STARTED else None,
            sent_arguments=arguments,
            late_result=ToolResult.parse(late) if late is not None else None,
        )

    async def _blob(self, workspace_id: UUID, ref: str) -> Any:
        if not ref:
            return None
        async with self._database.scope(workspace_id) as connection:
            row = await (await connection.execute(blobs.SELECT_SQL, (workspace_id, bytes.fromhex(ref)))).fetchone()
        if row is None:
            return None
        return strict_json.parse(blobs.unpack(workspace_id, ref, row["codec"], row["size_bytes"], bytes(row["sealed"])))


def answer(asked: Asked, state: CallState, **more: Any) -> CallResponse:
    """The answer to a call that has not started; a blocked one says nothing about its tool."""
    facts = asked.tool.facts if asked.tool and state is not CallState.BLOCKED else None
    return CallResponse(call_id=asked.request.call_id, state=state, tool=facts, **more)


def shown(denial: Deny) -> Deny:
    """What the caller may know: an unknown tool and a forbidden one look the same."""
    return Deny("tool.unavailable", UNAVAILABLE) if denial.is_hidden else denial
