"""What the gateway's doors refuse, in the log: strangers are counted per source and minute, callers we know are named."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from django.db import connection

from apikeys import keytext
from apikeys.authentication import KeyEnded
from audit.envelope import EventContext, ObjectFacts, build
from audit.services import record_anonymous
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.events import Caller
from gateway.http import Refused, Request
from gateway.journal import Journal
from provenance.actor import Actor
from provenance.db import workspace_of
from provenance.errors import Unauthenticated


@asynccontextmanager
async def of_strangers(request: Request, presented: str) -> AsyncIterator[None]:
    """Count whatever is refused inside, before it is known who asks: aggregated, so that nobody fills the log (T26).

    `presented` is the text of a key ("" where none is taken): one that was good once is counted by itself, so that
    guesses do not drown that it is used.
    """
    try:
        yield
    except (Unauthenticated, Refused) as error:
        code = error.code
        peer = request.peer or "unknown"
        source = f"key {keytext.prefix_of(presented)}" if isinstance(error, KeyEnded) else peer
        facts = {"code": code, "address": peer, "door": door_of(request)}
        await asyncio.to_thread(_count, source, error.message, facts)
        raise


async def of_key(journal: Journal, keys: KeyRing, actor: Actor, request: Request, reason: str) -> None:
    """Record that a good key may not come in here."""
    target = ObjectFacts(type="route", id=door_of(request))
    workspace_id = workspace_of(actor)
    denied = build(
        keys=keys,
        actor=actor,
        event=Event.AUTHZ_DENIED,
        target=target,
        workspace_id=workspace_id,
        reason=reason,
        detail={"method": request.method, "path": request.path[:500]},
        outcome="blocked",
    )
    await journal.record(workspace_id, [denied])


async def of_caller(
    journal: Journal, keys: KeyRing, caller: Caller, label: str, *, target: ObjectFacts, refusal: Refused
) -> None:
    """Record that an agent was refused something that is not a tool call; those have events of their own."""
    run = caller.run
    denied = build(
        keys=keys,
        actor=caller.actor(label),
        event=Event.AUTHZ_DENIED,
        target=target,
        workspace_id=caller.workspace_id,
        reason=refusal.message,
        detail={"rule": refusal.code},
        context=EventContext(
            run_id=caller.run_id,
            step=run.step if run else "",
            workflow_version=run.workflow_version if run else "",
            agent_version=str(caller.agent_version_id or ""),
            request_id=caller.request_id,
            environment=caller.environment,
        ),
        outcome="blocked",
    )
    await journal.record(caller.workspace_id, [denied])


def door_of(request: Request) -> str:
    """`/mcp` or `/call`: signed for ever, so without what a caller can write into a path."""
    return f"/{request.path.lstrip('/').partition('/')[0]}"


def _count(source: str, reason: str, facts: Mapping[str, Any]) -> None:
    try:
        record_anonymous(event=Event.AUTHZ_DENIED, source=source, reason=reason, detail=facts)
    finally:
        connection.close()
