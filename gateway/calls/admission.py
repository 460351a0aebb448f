"""From a call that was asked for to one that has started: look, judge, and commit `started` with all it rests on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from audit.attestation import RowAltered, altered_rows
from audit.envelope import SignedEvent
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import credentials, sql
from gateway.alterations import Alterations
from gateway.calls import asking, consent, judging
from gateway.calls.answers import Answers
from gateway.calls.consent import Approved, Pending
from gateway.calls.parking import Parking
from gateway.calls.stages import Admitted, Asked, NotStarted
from gateway.catalog import Catalog
from gateway.contract import FENCED, HALTED, LONGEST_SECONDS, OVERTAKEN, CallRequest, CallResponse, CallState
from gateway.credentials import Credential, Halted
from gateway.database import Connection, Database, one
from gateway.decision import UNAVAILABLE, Allow, AskApproval, Decision, Deny, Facts, decide, may_verify
from gateway.events import Caller, Scribe
from gateway.hindrances import hindrance
from gateway.journal import Journal
from gateway.policy import PolicyStore, ToolSnapshot
from gateway.threads import off_loop
from provenance import strict_json
from provenance.dlp.engine import Findings
from secrets_vault.references import NotBound
from workspaces import blobs

# An outside client's call must be sent this soon after it was admitted; a run's by the end of its lease.
START_SECONDS = 20.0


class Admission:
    """Decides on calls and starts those that may go on; hands the others to `Parking`."""

    def __init__(
        self,
        *,
        database: Database,
        policy: PolicyStore,
        journal: Journal,
        catalog: Catalog,
        keys: KeyRing,
        answers: Answers,
        parking: Parking,
        alterations: Alterations,
    ) -> None:
        self._alterations = alterations
        self._database = database
        self._policy = policy
        self._journal = journal
        self._catalog = catalog
        self._keys = keys
        self._answers = answers
        self._parking = parking
        self._performer = uuid4()

    async def gather(self, caller: Caller, request: CallRequest) -> Asked:
        """The call with everything that is known about it."""
        snapshot = await self._policy.knowing(caller.workspace_id, caller.agent_id, caller.agent_version_id)
        agent, version = judging.who(snapshot, caller)
        place = {"call_id": request.call_id, "agent_id": caller.agent_id, "run_id": caller.run_id}
        async with self._database.scope(caller.workspace_id) as connection:
            existing = await one(connection, sql.CALL, {**place, "longest_seconds": LONGEST_SECONDS})
            made = await one(connection, sql.CALLS_MADE, place)
            standing = None
            if caller.run:
                standing = await one(connection, sql.STANDING, judging.standing_of(caller.run))
        return Asked(
            caller=caller,
            request=request,
            snapshot=snapshot,
            agent=agent,
            version=version,
            tool=snapshot.tools.get(request.tool),
            request_digest=judging.request_digest(caller, request),
            standing=standing,
            existing=existing,
            calls_made=made["made"] if made else 0,
        )

    async def admit(self, asked: Asked) -> Admitted | CallResponse:
        """Start the call, or say why it does not start now."""
        if asked.caller.run and not judging.stands(asked.caller.run, asked.standing):
            reason = "The run is held by another worker, has ended, or is not what the token says of it."
            return await self._parking.refuse(asked, Deny(FENCED, reason), keep=False)
        # Before anybody is asked and before any digest: what a person agrees to is what will be sent (T05).
        arguments, findings = await off_loop(judging.would_send, asked.snapshot, asked.tool, asked.request.arguments)
        agreed = await self._consent(asked, arguments)
        if isinstance(agreed, Pending):
            return await self._parking.wait(asked, agreed.approval_id, "A person has not decided yet.")
        if isinstance(agreed, Deny):
            return await self._parking.refuse(asked, agreed)
        if agreed is None:
            return await self._judge(asked, None, arguments, findings)
        sent, taken_out = await off_loop(judging.would_send, asked.snapshot, asked.tool, agreed.arguments)
        if taken_out.withheld or sent != agreed.arguments:
            return await self._parking.refuse(asked, consent.altered(), findings=findings)
        return await self._judge(asked, agreed, agreed.arguments, findings)

    async def admit_verification(self, asked: Asked) -> Admitted | CallResponse:
        """Start the read that says what became of another call, or say why it is not asked."""
        if asked.caller.run and not judging.stands(asked.caller.run, asked.standing):
            reason = "The run is held by another worker, has ended, or is not what the token says of it."
            return await self._parking.refuse(asked, Deny(FENCED, reason), keep=False)
        arguments, findings = await off_loop(judging.would_send, asked.snapshot, asked.tool, asked.request.arguments)
        verdict = await self._decide(asked, await off_loop(_facts, asked, arguments), may_verify)
        if not findings.is_clean:
            # Asked about another key than the one that was sent, the tool would say that nothing happened.
            verdict = Deny("dlp.blocked", "A policy withholds the key that the question is about.")
        if asked.tool is None or not isinstance(verdict, Allow):
            denial = verdict if isinstance(verdict, Deny) else Deny("tool.unknown", UNAVAILABLE)
            return await self._parking.refuse(asked, denial, keep=False)
        return await self._started(asked, asked.tool, arguments, None, findings)

    async def _consent(self, asked: Asked, arguments: dict[str, Any]) -> consent.Consent | None:
        """What the named approval says of the call with these arguments; None when the call names none."""
        approval_id = asked.request.approval_id or (asked.existing["approval_id"] if asked.existing else None)
        if approval_id is None or asked.agent is None or asked.tool is None:
            return None
        async with self._database.scope(asked.caller.workspace_id) as connection:
            await connection.execute(sql.ONE_MOMENT)
            request = await one(connection, sql.APPROVAL, {"approval_id": approval_id})
            rows = await (await connection.execute(sql.APPROVAL_DECISIONS, {"approval_id": approval_id})).fetchall()
            whole = [
                (type_, row)
                for type_, statement in sql.APPROVAL_ROWS.items()
                for row in await (await connection.execute(statement, {"approval_id": approval_id})).fetchall()
            ]
        # One that is not approved lets nothing happen, so nobody gains by having made it look like that.
        if request and request["status"] == "approved" and (altered := altered_rows(whole, self._keys)):
            await self._alterations.record(asked.caller.workspace_id, altered)
            return consent.not_as_signed()
        started = asked.existing and asked.existing["state"] in {CallState.STARTED, CallState.INDETERMINATE}
        return consent.consent(
            request,
            rows,
            facts=judging.action_facts(asked.snapshot, asked.caller, asked.agent, asked.tool, asked.request.call_key),
            arguments=arguments,
            call_id=asked.request.call_id,
            run_id=asked.caller.run_id,
            # The same call sent again under the same key is what was approved, not a second call (T05).
            consumed_by_this_call=bool(started and asked.existing and asked.existing["approval_id"] == approval_id),
            conflicted=frozenset(asking.conflicted_user_ids(asked.caller, asked.standing)),
            keys=self._keys,
        )

    async def _judge(
        self, asked: Asked, agreed: Approved | None, arguments: dict[str, Any], findings: Findings
    ) -> Admitted | CallResponse:
        """Decide on what would be sent, the approver's edit included, and start, ask or refuse."""
        verdict = await self._decide(asked, await off_loop(_facts, asked, arguments), decide)
        if isinstance(verdict, Deny) or asked.agent is None or asked.tool is None:
            denial = verdict if isinstance(verdict, Deny) else Deny("tool.unknown", UNAVAILABLE)
            return await self._parking.refuse(asked, denial, findings=findings)
        if findings.withheld:
            return await self._parking.refuse(asked, judging.NOT_UNDERSTOOD, findings=findings)
        if isinstance(verdict, AskApproval) and agreed is None:
            return await self._parking.ask_person(asked, asked.agent, asked.tool, verdict, arguments)
        if isinstance(verdict, AskApproval) and agreed and agreed.risk < verdict.risk:
            return await self._parking.refuse(asked, consent.understated(agreed, verdict), findings=findings)
        return await self._started(asked, asked.tool, arguments, agreed, findings)

    async def _decide(self, asked: Asked, facts: Facts, by: Callable[[Facts], Decision]) -> Decision:
        """The decision, with a look at what the server offers now when it could be anything but no."""
        verdict = by(facts)
        if isinstance(verdict, Deny) or asked.tool is None or facts.tool is None:
            return verdict
        listing = await self._catalog.listing(asked.caller.workspace_id, asked.tool.server)
        observed = listing.pins.get(asked.tool.name)
        verdict = by(replace(facts, tool=replace(facts.tool, observed_pin=observed, unverified=listing.problem)))
        if isinstance(verdict, Deny) and verdict.rule in {"pin.changed", "pin.missing"}:
            await asking.quarantine(asked.caller.workspace_id, asked.tool.id, listing.definitions.get(asked.tool.name))
            self._policy.forget(asked.caller.workspace_id)
        return verdict

    async def _started(
        self, asked: Asked, tool: ToolSnapshot, arguments: dict[str, Any], agreed: Approved | None, findings: Findings
    ) -> Admitted | CallResponse:
        """The call, started; or why the last moment was against it."""
        try:
            async with self._alterations.of_secrets(asked.caller.workspace_id):
                return await self._start(asked, tool, arguments, agreed, findings)
        except NotBound as error:
            return await self._parking.refuse(asked, Deny(error.code.replace("_", ".", 1), str(error)))
        except Halted as error:
            return await self._parking.refuse(asked, Deny(HALTED, error.message), keep=False)
        except RowAltered as error:
            await self._alterations.record(asked.caller.workspace_id, error.altered)
            return await self._parking.refuse(asked, consent.not_as_signed())
        except NotStarted:
            return await self._overtaken(asked)

    async def _start(
        self, asked: Asked, tool: ToolSnapshot, arguments: dict[str, Any], agreed: Approved | None, findings: Findings
    ) -> Admitted:
        """Commit `started` with everything it rests on. Raises `NotStarted` and `NotBound`; then nothing was stored."""
        sent = dict(arguments)
        if tool.facts.idempotency_argument:
            sent[tool.facts.idempotency_argument] = asked.request.call_key
        scribe = asked.scribe(self._keys, digest=agreed.digest if agreed else "")
        arguments_ref, blob = blobs.prepare(asked.caller.workspace_id, strict_json.dump(sent))
        parameters = {**_start_columns(asked, agreed), "arguments_ref": arguments_ref, "performer": self._performer}

        async def work(connection: Connection) -> tuple[tuple[Credential | None, int, float], Sequence[SignedEvent]]:
            credential = await _credential(connection, self._keys, asked, tool)
            await connection.execute(blobs.INSERT_SQL, blob)
            asked_at = time.monotonic()
            started = await one(connection, sql.START, parameters)
            if started is None:
                raise NotStarted
            events = [_requested(asked, scribe, tool, sent, attempts=started["attempts"], agreed=agreed)]
            if credential:
                injected = {"secret": credential.name, "origin": tool.server.origin}
                events.append(scribe.event(Event.SECRET_INJECTED, detail=injected))
            if agreed and not agreed.is_consumed:
                events.append(await asking.consume(connection, scribe, agreed, self._keys))
            events += scribe.violations(findings, "input")
            return (credential, started["attempts"], asked_at + started["seconds_left"]), events

        credential, attempts, send_by = await self._journal.commit(asked.caller.workspace_id, work)
        return Admitted(
            asked=asked,
            tool=tool,
            arguments=sent,
            credential=credential,
            scribe=scribe,
            approval=agreed,
            attempts=attempts,
            send_by=send_by,
        )

    async def _overtaken(self, asked: Asked) -> CallResponse:
        """Somebody was faster, a halt, a lost lease or a used approval came between, or the database is in the way."""
        self._policy.forget(asked.caller.workspace_id)
        row = await self._answers.row(asked.caller, asked.request.call_id)
        if row and row["state"] in {CallState.STARTED, CallState.SUCCEEDED, CallState.FAILED}:
            return await self._answers.stored(asked.caller, asked.snapshot, row)
        async with self._database.scope(asked.caller.workspace_id) as connection:
            in_the_way = await hindrance(connection, is_once=not asked.may_repeat)
        if in_the_way:
            return await self._parking.refuse(asked, in_the_way, keep=False)
        reason = "Something changed while this call was being admitted: the lease, a halt or the approval. Ask again."
        return await self._parking.refuse(asked, Deny(OVERTAKEN, reason), keep=False)


def _facts(asked: Asked, arguments: dict[str, Any]) -> Facts:
    """The facts of a decision on sending these arguments."""
    facts = judging.facts_of(
        asked.snapshot,
        asked.caller,
        asked.agent,
        asked.version,
        asked.tool,
        now=datetime.now(UTC),
        arguments=arguments,
        call_key=asked.request.call_key,
        standing=asked.standing,
    )
    halts = list(facts.halts)
    if asked.standing and asked.standing["run_status"] != "running":
        halts.append(f"The run is {asked.standing['run_status']}.")
    return replace(facts, calls_made=asked.calls_made, halts=halts)


def _start_columns(asked: Asked, agreed: Approved | None) -> dict[str, Any]:
    return {
        **asked.columns(),
        "digest": agreed.digest if agreed else "",
        "approval_id": agreed.approval_id if agreed else None,
        "edited": bool(agreed and agreed.is_edited),
        "token_id": asked.caller.run.token_id if asked.caller.run else None,
        "start_seconds": START_SECONDS,
        "epoch": asked.snapshot.epoch,
        "may_repeat": asked.may_repeat,
        "longest_seconds": LONGEST_SECONDS,
    }


async def _credential(connection: Connection, keys: KeyRing, asked: Asked, tool: ToolSnapshot) -> Credential | None:
    server = tool.server
    return await credentials.load(
        connection,
        keys,
        asked.caller.workspace_id,
        secret_name=server.secret_name,
        origin=server.origin,
        slot=server.slot,
        scopes=judging.scopes_of(asked.caller, asked.standing, server=server.id, tool=tool.id),
    )


def _requested(
    asked: Asked, scribe: Scribe, tool: ToolSnapshot, sent: dict[str, Any], *, attempts: int, agreed: Approved | None
) -> SignedEvent:
    detail: dict[str, Any] = {
        "server": tool.server.slug,
        "decision": "approved" if agreed else "allow",
        "effect": tool.facts.effect,
        "arguments": sent,
        "attempt": attempts,
    }
    if agreed:
        detail |= {"approval_id": str(agreed.approval_id), "edited": agreed.is_edited}
    if asked.verifies:
        detail["verifies"] = str(asked.verifies)
    return scribe.event(Event.MCP_TOOL_REQUESTED, outcome="pending", detail=detail)
