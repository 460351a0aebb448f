"""The rare acts of the gateway that change governed rows: ask a person, use an approval up, quarantine a tool.

Asking and quarantining go through the ordinary services, on connections of `prov_gateway` in threads of their own: in the
one-process front Django's own connection belongs to the web. Using an approval up is one statement within the commit
that starts the call (T03).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections, connection, connections
from psycopg.conninfo import conninfo_to_dict

from approvals.digest import ActionFacts
from approvals.models import ApprovalRequest
from approvals.rules import users_among
from approvals.services import request_approval
from audit import envelope
from audit.attestation import Altered, LoadedRow, RowAltered, told_problem
from audit.envelope import ObjectFacts, SignedEvent
from audit.governed import GUARD_COLUMNS, state_commitment
from audit.services import record_altered, signing_as
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import services, sql
from gateway.calls.consent import Approved
from gateway.calls.stages import NotStarted
from gateway.database import Connection
from gateway.decision import AskApproval, Deny
from gateway.events import Caller, Scribe
from gateway.models import ToolCall
from gateway.policy import AgentSnapshot, ToolSnapshot
from provenance.actor import Actor
from provenance.db import enter
from provenance.errors import ProvenanceError
from provenance.permissions import Permission
from provenance.postgres.base import DatabaseWrapper

T = TypeVar("T")

Waiting = Callable[[UUID], tuple[Mapping[str, Any], Sequence[SignedEvent]]]
"""From the id of an approval: the parameters of `sql.PARK` and the events of the call that waits for it."""

SLA_MINUTES = 120
MOST_OPEN_ASKS = 20


async def ask(
    *,
    caller: Caller,
    agent: AgentSnapshot,
    tool: ToolSnapshot,
    verdict: AskApproval,
    call_id: UUID,
    arguments: dict[str, Any],
    facts: ActionFacts,
    conflicted_user_ids: Sequence[UUID],
    waiting: Waiting,
) -> UUID | Deny:
    """The request that asks a person for exactly this call; a refusal when the agent has too many open ones (T26).

    It is stored together with the call that waits for it: a crash leaves both or neither, and never a person with a
    question that no call waits for.
    """
    actor = caller.actor(agent.title)
    asking = replace(actor, permissions=frozenset({Permission.APPROVALS_WRITE}))

    def work() -> UUID | Deny:
        if _open_asks(caller) >= MOST_OPEN_ASKS:
            return Deny("limit.asks", f"This agent waits for {MOST_OPEN_ASKS} approvals already.")
        request = request_approval(
            actor=asking,
            origin="tool_call",
            origin_id=call_id,
            run_id=caller.run_id,
            title=f"{agent.title}: {tool.title or tool.name}"[:200],
            rationale="",
            risk=verdict.risk.value,
            sla_minutes=SLA_MINUTES,
            payload=arguments,
            payload_schema=tool.offered_schema,
            current={},
            evidence=[],
            facts=facts,
            agent_label=agent.title,
            tool_label=tool.full_name,
            conflicted_user_ids=conflicted_user_ids,
        )
        _park(waiting(request.pk))
        return request.pk

    try:
        return await _in_thread(caller.workspace_id, work)
    except ProvenanceError as error:
        return Deny("approval.not_askable", error.message)


async def quarantine(workspace_id: UUID, tool_id: UUID, observed: dict[str, Any] | None) -> None:
    """Stop a tool whose definition is no longer the reviewed one. One that was altered is stopped by that, and told."""
    actor = Actor.system("gateway.catalog", workspace_id, permissions=[Permission.GATEWAY_WRITE])

    def work() -> None:
        services.quarantine_tool(actor=actor, tool_id=tool_id, observed=observed)

    with suppress(RowAltered):
        await _in_thread(workspace_id, work)


async def consume(connection: Connection, scribe: Scribe, approved: Approved, keys: KeyRing) -> SignedEvent:
    """Use the approval up, once, inside the transaction that starts its call. Raises `NotStarted` when it is used.

    And `RowAltered` when it was changed past the platform since people decided: the event signs all of the row.
    """
    parameters = {"approval_id": approved.approval_id, "digest": approved.digest}
    row = await (await connection.execute(sql.CONSUME, parameters)).fetchone()
    if row is None:
        raise NotStarted
    values = {name: value for name, value in row.items() if name not in GUARD_COLUMNS | {"told"}}
    rev = row["audit_rev"] - 1
    former = LoadedRow.of(
        ApprovalRequest.object_type(),
        {**values, "consumed_at": None, "audit_rev": rev, "audit_salt": row["audit_salt"]},
    )
    if problem := told_problem(former, row["told"], keys):
        raise RowAltered(Altered(former, problem))
    target = ObjectFacts(
        type=former.type,
        id=former.id,
        rev=row["audit_rev"],
        op="update",
        changed=("consumed_at",),
        state=state_commitment(bytes(row["audit_salt"]), row["audit_rev"], values),
        label=row["title"],
    )
    return scribe.event(Event.APPROVAL_CONSUMED, target=target, detail={"approval_id": str(row["id"])})


def conflicted_user_ids(caller: Caller, standing: Mapping[str, Any] | None) -> list[UUID]:
    """The users who count as having asked and therefore may not decide (T22): starter, key's owner, publisher."""
    named = [standing["on_behalf_of"], standing["started_by_id"], standing["published_by"]] if standing else []
    return users_among(caller.on_behalf_of, *named)


def _park(waiting: tuple[Mapping[str, Any], Sequence[SignedEvent]]) -> None:
    parameters, events = waiting
    with connection.cursor() as cursor:
        cursor.execute(sql.PARK, parameters)
        cursor.execute(*envelope.storing(events))


def _open_asks(caller: Caller) -> int:
    calls = ToolCall.objects.for_workspace(caller.workspace_id)
    return calls.filter(agent_id=caller.agent_id, state="awaiting_approval").count()


def _sign_in() -> None:
    """Give this thread a Django connection of its own, signed in as the gateway."""
    url = conninfo_to_dict(settings.GATEWAY_DATABASE_URL)
    configured = dict(connections.settings["default"])
    options = {name: value for name, value in configured["OPTIONS"].items() if name not in {"pool", "assume_role"}}
    configured |= {
        "NAME": url.get("dbname", ""),
        "USER": url.get("user", ""),
        "PASSWORD": url.get("password", ""),
        "HOST": url.get("host", ""),
        "PORT": str(url.get("port", "")),
        "OPTIONS": options,
        "CONN_HEALTH_CHECKS": True,
    }
    connections["default"] = DatabaseWrapper(configured, alias="default")


_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="gateway-orm", initializer=_sign_in)


async def _in_thread(workspace_id: UUID, work: Callable[[], T]) -> T:
    def run() -> T:
        try:
            with signing_as("gateway"):
                try:
                    with enter(workspace_id):
                        return work()
                except RowAltered as error:
                    record_altered(error.altered, by="gateway")
                    raise
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_THREADS, copy_context().run, run)
