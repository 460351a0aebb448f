"""The calls that do not start now: refused, or waiting for a person."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from audit.envelope import SignedEvent
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import sql
from gateway.calls import asking, consent, judging
from gateway.calls.answers import answer, shown
from gateway.calls.stages import Asked
from gateway.contract import NOT_NOW, CallResponse, CallState
from gateway.database import Connection
from gateway.decision import AskApproval, Deny
from gateway.events import Scribe
from gateway.journal import Journal
from gateway.policy import AgentSnapshot, ToolSnapshot
from provenance.dlp.engine import Findings

# The state of the world, not of the call: with the same id it may be tried again when the world has changed.
PASSING_RULES = NOT_NOW | {"pin.unverified"}

PENDING = "approval.pending"


class Parking:
    """Keeps what was said to a call that did not start, so that the same id gets the same answer."""

    def __init__(self, journal: Journal, keys: KeyRing) -> None:
        self._journal = journal
        self._keys = keys

    async def refuse(
        self, asked: Asked, denial: Deny, *, keep: bool = True, findings: Findings | None = None
    ) -> CallResponse:
        """Record the refusal with its rule; the caller is shown as much of it as it may know."""
        parameters = _columns(
            asked,
            CallState.BLOCKED,
            rule=denial.rule,
            reason=denial.reason,
            approval_id=asked.request.approval_id,
        )
        scribe = asked.scribe(self._keys)

        async def work(connection: Connection) -> tuple[None, Sequence[SignedEvent]]:
            if keep and denial.rule not in PASSING_RULES:
                await connection.execute(sql.PARK, parameters)
            return None, _refusal_events(scribe, asked, denial, findings)

        await self._journal.commit(asked.caller.workspace_id, work)
        said = shown(denial)
        return answer(asked, CallState.BLOCKED, rule=said.rule, reason=said.reason)

    async def ask_person(
        self,
        asked: Asked,
        agent: AgentSnapshot,
        tool: ToolSnapshot,
        verdict: AskApproval,
        arguments: dict[str, Any],
    ) -> CallResponse:
        """Ask for exactly this call, with the arguments as they would be sent. Asking again finds the open request."""
        caller, request = asked.caller, asked.request
        scribe = asked.scribe(self._keys)

        def waiting(approval_id: UUID) -> tuple[dict[str, Any], Sequence[SignedEvent]]:
            return _waiting_columns(asked, approval_id, verdict.reason), [_asked_for(scribe, approval_id, verdict)]

        approval = await asking.ask(
            caller=caller,
            agent=agent,
            tool=tool,
            verdict=verdict,
            call_id=request.call_id,
            arguments=arguments,
            facts=judging.action_facts(asked.snapshot, caller, agent, tool, request.call_key),
            conflicted_user_ids=asking.conflicted_user_ids(caller, asked.standing),
            waiting=waiting,
        )
        if isinstance(approval, Deny):
            return await self.refuse(asked, approval)
        return _pending(asked, approval, verdict.reason)

    async def wait(self, asked: Asked, approval_id: UUID, reason: str) -> CallResponse:
        """Remember that the call waits for a person."""
        parameters = _waiting_columns(asked, approval_id, reason)

        async def work(connection: Connection) -> tuple[None, Sequence[SignedEvent]]:
            await connection.execute(sql.PARK, parameters)
            return None, []

        await self._journal.commit(asked.caller.workspace_id, work)
        return _pending(asked, approval_id, reason)


def _pending(asked: Asked, approval_id: UUID, reason: str) -> CallResponse:
    return answer(asked, CallState.AWAITING_APPROVAL, rule=PENDING, reason=reason, approval_id=approval_id)


def _waiting_columns(asked: Asked, approval_id: UUID, reason: str) -> dict[str, Any]:
    return _columns(asked, CallState.AWAITING_APPROVAL, rule=PENDING, reason=reason, approval_id=approval_id)


def _asked_for(scribe: Scribe, approval_id: UUID, verdict: AskApproval) -> SignedEvent:
    detail = {"rule": PENDING, "approval_id": str(approval_id)}
    return scribe.event(Event.MCP_TOOL_REQUESTED, outcome="pending", reason=verdict.reason, detail=detail)


def _columns(asked: Asked, state: CallState, *, rule: str, reason: str, approval_id: UUID | None) -> dict[str, Any]:
    return {
        **asked.columns(),
        "state": state.value,
        "rule": rule,
        "reason": reason,
        "digest": "",
        "arguments_ref": "",
        "approval_id": approval_id,
    }


def _refusal_events(scribe: Scribe, asked: Asked, denial: Deny, findings: Findings | None) -> list[SignedEvent]:
    rule = {"rule": denial.rule}
    # Arguments that name a secret are not repeated in the log.
    detail = rule if denial.rule == "arguments.secret_reference" else {**rule, "arguments": asked.request.arguments}
    events = [scribe.event(Event.MCP_TOOL_BLOCKED, outcome="blocked", reason=denial.reason, detail=detail)]
    if denial.rule in {consent.MISMATCH, consent.UNPROVEN}:
        events.append(
            scribe.event(Event.APPROVAL_DIGEST_MISMATCH, outcome="blocked", reason=denial.reason, detail=rule)
        )
    if denial.rule in {"arguments.secret_reference", "dlp.blocked"}:
        violation = {**rule, "direction": "input", "action": "block"}
        events.append(scribe.event(Event.POLICY_VIOLATION, outcome="blocked", detail=violation))
    return [*events, *(scribe.violations(findings, "input") if findings else ())]
