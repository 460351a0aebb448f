"""How a started call ends: its result and its last event, stored together before anybody sees them."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from audit.envelope import SignedEvent
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import sql
from gateway.calls.answers import Answers
from gateway.calls.stages import Admitted, Asked, Outcome
from gateway.contract import LONGEST_SECONDS, CallRequest, CallResponse, CallState, Redaction, RetryClass
from gateway.database import Connection, one
from gateway.errors import AuditUnavailable
from gateway.events import Caller, Scribe, called_risk
from gateway.journal import Journal, Work
from gateway.policy import Snapshot, ToolSnapshot
from provenance import strict_json
from workspaces import blobs

SETTLE_TRIES = 6


class Settlement:
    """Closes calls, by what they brought, by what their verify tool says, or as abandoned."""

    def __init__(self, journal: Journal, keys: KeyRing, answers: Answers) -> None:
        self._journal = journal
        self._keys = keys
        self._answers = answers

    async def settle(self, admitted: Admitted, outcome: Outcome) -> CallResponse:
        """Store result and events; only then is there an answer.

        A call that was given up meanwhile stays what it was said to be: what the tool answered is kept beside it.
        """
        caller, call_id = admitted.asked.caller, admitted.asked.request.call_id
        ending = _Ending.of(caller.workspace_id, outcome)
        parameters = {**ending.columns, "call_id": call_id, "attempts": admitted.attempts}
        violations = admitted.scribe.violations(outcome.findings, "output")

        async def work(connection: Connection) -> tuple[bool, Sequence[SignedEvent]]:
            await ending.store(connection)
            if await one(connection, sql.SETTLE, parameters):
                return True, [_called(admitted.scribe, admitted.tool, outcome, ending.stored), *violations]
            if ending.stored and await one(connection, sql.KEEP_LATE, parameters):
                return False, [_answered_late(admitted, outcome, ending.stored), *violations]
            return False, []

        if not await self._insist(caller.workspace_id, work):
            row = await self._answers.row(caller, call_id)
            if row is not None:
                return await self._answers.stored(caller, admitted.asked.snapshot, row)
        return CallResponse(
            call_id=call_id,
            state=outcome.state,
            result=outcome.result,
            rule=outcome.rule,
            reason=outcome.reason,
            approval_id=admitted.approval.approval_id if admitted.approval else None,
            redactions=ending.redactions,
            tool=admitted.tool.facts,
            duration_ms=outcome.duration_ms,
            sent_arguments=admitted.arguments if admitted.approval and admitted.approval.is_edited else None,
        )

    async def verified(self, asked: Asked, tool: ToolSnapshot, outcome: Outcome, question: CallRequest) -> None:
        """Close a call of unknown outcome by what its verify tool said, unless somebody was faster."""
        ending = _Ending.of(asked.caller.workspace_id, outcome)
        parameters = {
            **ending.columns,
            "call_id": asked.request.call_id,
            "attempts": asked.existing["attempts"] if asked.existing else 0,
            "longest_seconds": LONGEST_SECONDS,
        }
        scribe = asked.scribe(self._keys)
        by = {"verified_by": question.tool, "verification": str(question.call_id)}

        async def work(connection: Connection) -> tuple[None, Sequence[SignedEvent]]:
            await ending.store(connection)
            if await one(connection, sql.VERIFIED, parameters) is None:
                return None, []
            violations = scribe.violations(outcome.findings, "output")
            return None, [_called(scribe, tool, outcome, ending.stored, **by), *violations]

        await self._insist(asked.caller.workspace_id, work)

    async def give_up(self, caller: Caller, snapshot: Snapshot, row: dict[str, Any]) -> None:
        """Close a call that nobody performs any more: whether it happened is not known."""
        tool = snapshot.tools.get(row["tool_name"])
        reads = tool is not None and tool.facts.retry_class == RetryClass.READ
        reason = "The gateway stopped while this call was in flight; whether it happened is not known."
        parameters = {
            "call_id": row["id"],
            "state": (CallState.FAILED if reads else CallState.INDETERMINATE).value,
            "rule": "call.abandoned",
            "reason": reason,
            "result_ref": "",
            "redactions": Jsonb([]),
            "attempts": row["attempts"],
        }
        agent = snapshot.agents.get(caller.agent_id)
        scribe = Scribe(
            keys=self._keys,
            caller=caller,
            agent_label=agent.title if agent else "",
            call_id=row["id"],
            tool_name=row["tool_name"],
            tool_id=row["tool_id"],
        )

        async def work(connection: Connection) -> tuple[None, Sequence[SignedEvent]]:
            settled = await one(connection, sql.SETTLE, parameters)
            event = scribe.event(
                Event.MCP_TOOL_CALLED, outcome="unknown", reason=reason, detail={"rule": "call.abandoned"}
            )
            return None, [event] if settled else []

        await self._journal.commit(caller.workspace_id, work)

    async def _insist(self, workspace_id: UUID, work: Work) -> Any:
        """The result of the unit: committed again and again while the database is away: what happened must be in the log."""
        for attempt in range(SETTLE_TRIES):
            try:
                return await self._journal.commit(workspace_id, work)
            except AuditUnavailable:
                if attempt == SETTLE_TRIES - 1:
                    raise
                await asyncio.sleep(2**attempt * 0.2)
        raise AuditUnavailable


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a call ends, as its row holds it."""

    stored: bytes
    blob: Sequence[Any]
    redactions: list[Redaction]
    columns: dict[str, Any]

    @classmethod
    def of(cls, workspace_id: UUID, outcome: Outcome) -> "_Ending":
        stored = strict_json.dump(outcome.result.to_json()) if outcome.result else b""
        result_ref, blob = blobs.prepare(workspace_id, stored) if stored else ("", [])
        redactions = [
            Redaction(policy=policy, field=name, count=count)
            for policy, hits in outcome.findings.fields.items()
            for name, count in sorted(hits.items())
        ]
        columns = {
            "state": outcome.state.value,
            "rule": outcome.rule,
            "reason": outcome.reason,
            "result_ref": result_ref,
            "redactions": Jsonb([[r.policy, r.field, r.count] for r in redactions]),
        }
        return cls(stored, blob, redactions, columns)

    async def store(self, connection: Connection) -> None:
        """Store the result, which the row refers to."""
        if self.stored:
            await connection.execute(blobs.INSERT_SQL, self.blob)


_ENDED = {CallState.SUCCEEDED: "success", CallState.FAILED: "failure"}


def _called(scribe: Scribe, tool: ToolSnapshot, outcome: Outcome, stored: bytes, **more: str) -> SignedEvent:
    detail: dict[str, Any] = {
        "server": tool.server.slug,
        "state": outcome.state.value,
        "duration_ms": outcome.duration_ms,
        "result_sha256": hashlib.sha256(stored).hexdigest() if stored else "",
        "size_bytes": len(stored),
        "redactions": {policy: dict(hits) for policy, hits in outcome.findings.fields.items()},
        "hidden_removed": outcome.findings.hidden,
        **more,
    }
    if outcome.rule:
        detail["rule"] = outcome.rule
    return scribe.event(
        Event.MCP_TOOL_CALLED,
        outcome=_ENDED.get(outcome.state, "unknown"),  # type: ignore[arg-type]  # one of the literals by that table
        reason=outcome.reason,
        detail=detail,
        risk=called_risk(tool.facts.effect),
    )


def _answered_late(admitted: Admitted, outcome: Outcome, stored: bytes) -> SignedEvent:
    detail = {
        "server": admitted.tool.server.slug,
        "is_error": bool(outcome.result and outcome.result.is_error),
        "duration_ms": outcome.duration_ms,
        "result_sha256": hashlib.sha256(stored).hexdigest(),
        "size_bytes": len(stored),
    }
    reason = "The call had been given up; its answer was kept and changed nothing."
    return admitted.scribe.event(Event.MCP_TOOL_ANSWERED_LATE, outcome="unknown", reason=reason, detail=detail)
