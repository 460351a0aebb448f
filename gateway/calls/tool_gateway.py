"""The questions that `/call` and `/mcp` ask, each answered by the rooms beside this one."""

import asyncio
from typing import Any
from uuid import UUID

from audit.signing import KeyRing
from gateway import sql
from gateway.alterations import Alterations
from gateway.calls import judging, offers
from gateway.calls.admission import Admission
from gateway.calls.answers import Answers
from gateway.calls.parking import Parking
from gateway.calls.performance import perform
from gateway.calls.settlement import Settlement
from gateway.calls.stages import Admitted, Asked
from gateway.calls.verification import Verification
from gateway.catalog import Catalog
from gateway.contract import (
    LONGEST_SECONDS,
    CallRequest,
    CallResponse,
    CallState,
    FactsRequest,
    FactsResponse,
    OfferedTool,
)
from gateway.database import Database, one
from gateway.decision import Deny
from gateway.errors import RunFenced
from gateway.events import Caller
from gateway.journal import Journal
from gateway.policy import PolicyStore, Snapshot
from gateway.threads import off_loop


class ToolGateway:
    """The calls of this process."""

    def __init__(
        self,
        *,
        database: Database,
        policy: PolicyStore,
        journal: Journal,
        catalog: Catalog,
        keys: KeyRing,
        alterations: Alterations,
    ) -> None:
        self._database = database
        self._policy = policy
        self._catalog = catalog
        self._answers = Answers(database)
        self._parking = Parking(journal, keys)
        self._settlement = Settlement(journal, keys, self._answers)
        self._admission = Admission(
            database=database,
            policy=policy,
            journal=journal,
            catalog=catalog,
            keys=keys,
            answers=self._answers,
            parking=self._parking,
            alterations=alterations,
        )
        self._verification = Verification(
            admission=self._admission, settlement=self._settlement, answers=self._answers, catalog=catalog
        )
        self._performing: dict[UUID, asyncio.Task[CallResponse]] = {}
        self._verifying: dict[UUID, asyncio.Task[CallResponse]] = {}

    async def drain(self) -> None:
        """Wait for the calls that have started; their outcome belongs in the log."""
        if started := [*self._performing.values(), *self._verifying.values()]:
            await asyncio.wait(started, timeout=LONGEST_SECONDS)

    async def call(self, caller: Caller, request: CallRequest) -> CallResponse:
        """Perform one call, or say why not. The same id again gives the same answer."""
        if (running := self._performing.get(request.call_id)) is not None and await self._is_own(caller, request):
            return await asyncio.shield(running)
        asked = await self._admission.gather(caller, request)
        if (known := await self._known(asked)) is not None:
            return known
        admitted = await self._admission.admit(asked)
        if isinstance(admitted, CallResponse):
            return admitted
        # A task of its own: once started, a call goes on when its caller hangs up (T04).
        task = asyncio.create_task(self._perform_and_settle(admitted))
        self._performing[request.call_id] = task
        task.add_done_callback(lambda _: self._performing.pop(request.call_id, None))
        response = await asyncio.shield(task)
        if _is_asked_about(response):
            return await self._verified(caller, request)
        return response

    async def state(self, caller: Caller, call_id: UUID) -> CallResponse | None:
        """What became of a call of this caller; None when it never reached the gateway."""
        row = await self._answers.row(caller, call_id)
        if row is None or row["agent_id"] != caller.agent_id or row["run_id"] != caller.run_id:
            return None
        snapshot = await self._policy.current(caller.workspace_id)
        if row["state"] == CallState.STARTED and row["is_abandoned"] and call_id not in self._performing:
            await self._settlement.give_up(caller, snapshot, row)
            row = await self._answers.row(caller, call_id) or row
        return await self._answers.stored(caller, snapshot, row)

    async def waiting_call(self, caller: Caller, tool: str, arguments: dict[str, Any]) -> CallRequest | None:
        """The call of an outside client that waits for a person and is the same as this one."""
        async with self._database.scope(caller.workspace_id) as connection:
            place = {"agent_id": caller.agent_id, "tool_name": tool}
            rows = await (await connection.execute(sql.WAITING, place)).fetchall()
        for row in rows:
            asked = CallRequest(call_id=row["id"], call_key=row["call_key"], tool=tool, arguments=arguments)
            if judging.request_digest(caller, asked) == row["request_digest"]:
                return asked
        return None

    async def offered(self, caller: Caller) -> list[OfferedTool]:
        """The tools that the agent may be shown: granted, requested, approved and not denied by its trust level."""
        await self._demand_standing(caller)
        return offers.offered(await self._known_policy(caller), caller)

    async def offered_tool(self, caller: Caller, full_name: str) -> OfferedTool | None:
        """One of those tools; None when the agent may not be shown it."""
        await self._demand_standing(caller)
        return offers.one(await self._known_policy(caller), caller, full_name)

    async def facts(self, caller: Caller, request: FactsRequest) -> FactsResponse:
        """What an approval step needs to ask for exactly this call. Performs and stores nothing."""
        await self._demand_standing(caller)
        return await off_loop(offers.facts, await self._known_policy(caller), caller, request)

    async def _demand_standing(self, caller: Caller) -> None:
        """Raise `RunFenced` when a worker asks for a run that it does not hold: what a run may do ends with it."""
        if caller.run is None:
            return
        async with self._database.scope(caller.workspace_id) as connection:
            standing = await one(connection, sql.STANDING, judging.standing_of(caller.run))
        if not judging.stands(caller.run, standing):
            raise RunFenced

    async def _known_policy(self, caller: Caller) -> Snapshot:
        return await self._policy.knowing(caller.workspace_id, caller.agent_id, caller.agent_version_id)

    async def _is_own(self, caller: Caller, request: CallRequest) -> bool:
        row = await self._answers.row(caller, request.call_id)
        return row is not None and row["request_digest"] == judging.request_digest(caller, request)

    async def _known(self, asked: Asked) -> CallResponse | None:
        """The answer when this id was used before; None when the call may go on."""
        row = asked.existing
        if row is None:
            return None
        if row["request_digest"] != asked.request_digest:
            reused = Deny("call.reused_id", "This call id was used for another call.")
            return await self._parking.refuse(asked, reused, keep=False)
        match row["state"]:
            case CallState.AWAITING_APPROVAL:
                return None
            case CallState.STARTED | CallState.INDETERMINATE:
                return await self._unsettled(asked, row)
            case _:
                return await self._answers.stored(asked.caller, asked.snapshot, row)

    async def _unsettled(self, asked: Asked, row: dict[str, Any]) -> CallResponse | None:
        """A call without an outcome: in flight, or asked about; None when it may be sent again under its key."""
        if row["is_abandoned"] and asked.may_repeat:
            return None
        known = await self.state(asked.caller, asked.request.call_id)
        if known and _is_asked_about(known):
            return await self._verified(asked.caller, asked.request)
        return known

    async def _verified(self, caller: Caller, request: CallRequest) -> CallResponse:
        """What the verify tool says of a call of unknown outcome. Who asks at the same time shares the question."""
        if (task := self._verifying.get(request.call_id)) is None:
            # A task of its own, as for a call: the question is a call that has started.
            task = asyncio.create_task(self._ask_and_settle(caller, request))
            self._verifying[request.call_id] = task
            task.add_done_callback(lambda _: self._verifying.pop(request.call_id, None))
        return await asyncio.shield(task)

    async def _ask_and_settle(self, caller: Caller, request: CallRequest) -> CallResponse:
        return await self._verification.settled(await self._admission.gather(caller, request))

    async def _perform_and_settle(self, admitted: Admitted) -> CallResponse:
        return await self._settlement.settle(admitted, await perform(self._catalog, admitted))


def _is_asked_about(response: CallResponse) -> bool:
    return response.state is CallState.INDETERMINATE and response.tool is not None and response.tool.is_verifiable
