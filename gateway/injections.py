"""Which credential a look at a server's tools sends: durable in the log before the byte leaves, told once an hour.

A server in use is looked at every minute, and an event for each look would bury the log. So an event stands for all looks
of one process within an hour that send the same version of the same secret to the same origin. Deliveries of the log
itself are told like that too: an event for each would be one more event to deliver, without end. A call has its own event
each time (`gateway.calls.admission`).
"""

import time
from uuid import UUID

from audit.envelope import ObjectFacts, build
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.alterations import Alterations
from gateway.credentials import Credential
from gateway.journal import Journal
from gateway.policy import ServerPolicy
from provenance.actor import Actor

TELL_AGAIN_SECONDS = 3600.0

Use = tuple[UUID, str, str, str, int]


class Injections:
    """What this process has told about the credentials of its looks."""

    def __init__(self, journal: Journal, keys: KeyRing, alterations: Alterations) -> None:
        self.alterations = alterations
        self._journal = journal
        self._keys = keys
        self._told: dict[Use, float] = {}

    async def record(self, workspace_id: UUID, server: ServerPolicy, credential: Credential) -> None:
        """Make sure that the log says so. `AuditUnavailable` when it cannot; then nothing may be sent."""
        target = ObjectFacts(type="mcp_server", id=str(server.id), label=server.slug)
        await self.tell(Actor.system("gateway.catalog", workspace_id), target, server.origin, credential, "tools/list")

    async def tell(self, actor: Actor, target: ObjectFacts, origin: str, credential: Credential, purpose: str) -> None:
        """The same for whatever is used again and again: `target` is what the secret is sent for."""
        workspace_id = credential.workspace_id
        use = (workspace_id, target.id, origin, credential.name, credential.sealed.number)
        told_at = self._told.get(use)
        if told_at is not None and time.monotonic() - told_at < TELL_AGAIN_SECONDS:
            return
        injected = build(
            keys=self._keys,
            actor=actor,
            event=Event.SECRET_INJECTED,
            target=target,
            workspace_id=workspace_id,
            detail={
                "secret": credential.name,
                "version": credential.sealed.number,
                "origin": origin,
                "purpose": purpose,
                "covers_seconds": int(TELL_AGAIN_SECONDS),
            },
        )
        await self._journal.record(workspace_id, [injected])
        self._told[use] = time.monotonic()
