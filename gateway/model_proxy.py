"""Model calls of workers: passed through to the provider with its key, so that no worker holds a credential (T02).

The pinned provider and model of the running agent version are the only ones it can reach. The engine records
`model.called` with tokens and cost; here stands that something left, and whereto.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2

from audit.envelope import EventContext, ObjectFacts, SignedEvent, build
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import credentials, denials, sql
from gateway.alterations import Alterations
from gateway.calls import judging
from gateway.contract import FENCED, HALTED
from gateway.credentials import Credential, Halted
from gateway.database import Database, one
from gateway.events import Caller
from gateway.hindrances import hindrance
from gateway.http import Refused, Send, send_bytes, send_stream
from gateway.journal import Journal
from gateway.policy import PolicyStore, ProviderSnapshot, Snapshot
from provenance import strict_json
from provenance.dlp.secrets import SecretCutter, StreamCutter
from provenance.egress import Egress, EgressRefused
from secrets_vault.references import NotBound

SLOT = "header:Authorization"
LARGEST_REQUEST_BYTES = 4 * 2**20
LARGEST_ANSWER_BYTES = 16 * 2**20
EXCHANGE_SECONDS = 300.0
LONGEST_NAME = 200
# What a provider answers besides the body that a client needs; nothing that sets or tells state.
PASSED_HEADERS = ("content-type", "retry-after", "x-request-id", "x-scripted", "openai-processing-ms")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call that may leave: whereto, with what, under which credential."""

    provider: ProviderSnapshot
    body: bytes
    credential: Credential | None


class ModelProxy:
    """The model calls of this process: one client per workspace and provider address."""

    def __init__(
        self, database: Database, policy: PolicyStore, journal: Journal, keys: KeyRing, alterations: Alterations
    ) -> None:
        self._alterations = alterations
        self._database = database
        self._policy = policy
        self._journal = journal
        self._keys = keys
        self._clients: dict[tuple[UUID, str, bool], httpx2.AsyncClient] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()

    async def pass_through(self, caller: Caller, provider_name: str, body: Any, send: Send) -> None:
        """Send the request on and stream the answer back, the provider's key cut out of it. Raises `Refused`."""
        try:
            call = await self._admit(caller, provider_name, body)
        except Refused as refusal:
            await self._deny(caller, provider_name, refusal)
            raise
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        cutter = SecretCutter([])
        if call.credential:
            credential, value = call.credential.opened()
            headers |= credential
            cutter = SecretCutter([value])
        client = self._client(caller.workspace_id, call.provider)
        url = f"{call.provider.base_url.rstrip('/')}/chat/completions"
        try:
            async with client.stream("POST", url, content=call.body, headers=headers) as response:
                await _relay(response, StreamCutter(cutter), send)
        except EgressRefused as error:
            await self._record(caller, call.provider, Event.EGRESS_BLOCKED, rule=error.rule)
            raise Refused(502, f"egress_{error.rule}", error.message) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise Refused(
                502, "provider_unreachable", f"The model provider did not answer ({type(error).__name__})."
            ) from None

    async def _admit(self, caller: Caller, provider_name: str, body: Any) -> ModelCall:
        """Check standing, halts and pinning, and make `egress.requested` durable before anything leaves."""
        snapshot = await self._policy.knowing(caller.workspace_id, caller.agent_id, caller.agent_version_id)
        provider = _pinned_provider(snapshot, caller, provider_name, body)
        try:
            async with self._alterations.of_secrets(caller.workspace_id):
                credential = await self._credential(caller, provider)
        except NotBound as error:
            raise Refused(403, error.code, error.message) from None
        except Halted as error:
            raise Refused(403, HALTED, error.message) from None
        await self._record(caller, provider, Event.EGRESS_REQUESTED, secret=credential.name if credential else "")
        return ModelCall(provider, strict_json.dump(body), credential)

    async def _credential(self, caller: Caller, provider: ProviderSnapshot) -> Credential | None:
        async with self._database.scope(caller.workspace_id) as connection:
            standing = None
            if caller.run:
                standing = await one(connection, sql.STANDING, judging.standing_of(caller.run))
                if not standing or not judging.stands(caller.run, standing) or standing["run_status"] != "running":
                    raise Refused(403, FENCED, "The run is held by another worker, or it does not run.")
            if in_the_way := await hindrance(connection, is_once=False):
                raise Refused(503, in_the_way.rule, in_the_way.reason)
            return await credentials.load(
                connection,
                self._keys,
                caller.workspace_id,
                secret_name=provider.secret_name,
                origin=provider.origin,
                slot=SLOT,
                scopes=judging.scopes_of(caller, standing, provider=provider.id),
            )

    async def _deny(self, caller: Caller, provider_name: str, refusal: Refused) -> None:
        snapshot = await self._policy.current(caller.workspace_id)
        agent, _version = judging.who(snapshot, caller)
        known = snapshot.providers.get(provider_name)
        # The name is what a worker wrote into the path: erasable, unless there is such a provider.
        target = ObjectFacts(
            type="model_provider", id=str(known.id) if known else "unknown", label=provider_name[:LONGEST_NAME]
        )
        label = agent.title if agent else ""
        await denials.of_caller(self._journal, self._keys, caller, label, target=target, refusal=refusal)

    async def _record(
        self, caller: Caller, provider: ProviderSnapshot, event: Event, *, rule: str = "", secret: str = ""
    ) -> None:
        agent, _version = judging.who(await self._policy.current(caller.workspace_id), caller)

        def about(kind: Event, detail: dict[str, Any]) -> SignedEvent:
            return build(
                keys=self._keys,
                actor=caller.actor(agent.title if agent else ""),
                event=kind,
                target=ObjectFacts(type="model_provider", id=str(provider.id), label=provider.name),
                workspace_id=caller.workspace_id,
                detail=detail,
                context=EventContext(
                    run_id=caller.run_id,
                    step=caller.run.step if caller.run else "",
                    workflow_version=caller.run.workflow_version if caller.run else "",
                    agent_version=str(caller.agent_version_id or ""),
                    request_id=caller.request_id,
                    environment=caller.environment,
                ),
                outcome="blocked" if rule else "success",
            )

        events = [about(event, {"origin": provider.origin, "decision": rule or "allow"})]
        if secret:
            events.append(about(Event.SECRET_INJECTED, {"secret": secret, "origin": provider.origin}))
        await self._journal.record(caller.workspace_id, events)

    def _client(self, workspace_id: UUID, provider: ProviderSnapshot) -> httpx2.AsyncClient:
        key = (workspace_id, provider.base_url, provider.private_network)
        if key not in self._clients:
            # A model on the own machine or network is ordinary, but its record must say so (T20).
            exceptions = [provider.base_url] if provider.private_network else []
            egress = Egress.to(*exceptions, total_seconds=EXCHANGE_SECONDS, max_response_bytes=LARGEST_ANSWER_BYTES)
            self._clients[key] = egress.async_client()
        return self._clients[key]


def _pinned_provider(snapshot: Snapshot, caller: Caller, provider_name: str, body: Any) -> ProviderSnapshot:
    agent = snapshot.agents.get(caller.agent_id)
    version = agent.version(caller.agent_version_id) if agent else None
    provider = snapshot.providers.get(provider_name)
    if agent is None or version is None or provider is None or provider.id != version.provider_id:
        raise Refused(404, "provider_unknown", "This agent has no such model provider.")
    if agent.status != "active":
        raise Refused(403, "agent_inactive", f"The agent is {agent.status}.")
    if not isinstance(body, dict) or body.get("model") != version.model:
        raise Refused(403, "model_not_pinned", f"This agent version is pinned to the model {version.model}.")
    return provider


async def _relay(response: httpx2.Response, cutter: StreamCutter, send: Send) -> None:
    headers = {name: response.headers[name] for name in PASSED_HEADERS if name in response.headers}
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        await send_stream(send, response.status_code, headers, _cut(response, cutter))
        return
    body = b"".join([chunk async for chunk in _cut(response, cutter)])
    await send_bytes(send, response.status_code, body, headers)


async def _cut(response: httpx2.Response, cutter: StreamCutter) -> AsyncIterator[bytes]:
    async for chunk in response.aiter_raw():
        yield cutter.feed(chunk)
    yield cutter.finish()
