"""The gateway as a raw ASGI application: `/call` for our workers, `/mcp` for outside clients.

Not a Django view: middlewares and the ORM would cost more than the call itself. Every path here is authenticated before
its body is read, and nothing that is not listed is served.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provenance.settings")

import django
from django.apps import apps
from django.conf import settings

if not apps.ready:
    django.setup()

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from apikeys import authentication, lookup
from audit.signing import KeyRing
from gateway import denials, tokens
from gateway.alterations import Alterations
from gateway.calls import ToolGateway
from gateway.catalog import Catalog
from gateway.contract import CallRequest, FactsRequest
from gateway.database import Database
from gateway.deliveries import Deliveries
from gateway.deliveries import tickets as delivery_tickets
from gateway.deliveries.contract import LARGEST_BYTES as LARGEST_DELIVERY_BYTES
from gateway.deliveries.tickets import Ticket
from gateway.endpoint import McpEndpoint
from gateway.errors import AuditUnavailable
from gateway.events import Caller
from gateway.hindrances import hindrance
from gateway.http import (
    ClientGone,
    Message,
    Receive,
    Request,
    Scope,
    Send,
    check_host,
    check_origin,
    request_id_of,
    request_of,
    send_json,
    send_problem,
)
from gateway.injections import Injections
from gateway.journal import Journal
from gateway.model_proxy import LARGEST_REQUEST_BYTES, ModelProxy
from gateway.policy import PolicyStore
from provenance.errors import NotFound, PermissionDenied, ProvenanceError
from provenance.ids import uuid7

LARGEST_CALL_BYTES = 2**20
CHAT_COMPLETIONS = "/chat/completions"
DELIVER = "deliver/"

logger = structlog.get_logger(__name__)


class Gateway:
    """Everything of one gateway process: opened at start-up, closed at shutdown."""

    def __init__(self, conninfo: str, keys: KeyRing) -> None:
        self._keys = keys
        self.database = Database(conninfo)
        self.journal = Journal(self.database)
        self._alterations = Alterations(self.journal, keys)
        self.policy = PolicyStore(self.database, keys, self._alterations)
        injections = Injections(self.journal, keys, self._alterations)
        self.catalog = Catalog(self.database, injections)
        self.deliveries = Deliveries(self.database, injections, keys, self._alterations)
        self.calls = ToolGateway(
            database=self.database,
            policy=self.policy,
            journal=self.journal,
            catalog=self.catalog,
            keys=keys,
            alterations=self._alterations,
        )
        self.models = ModelProxy(self.database, self.policy, self.journal, keys, self._alterations)
        self.mcp = McpEndpoint(self.calls)

    @classmethod
    def from_settings(cls) -> "Gateway":
        """The gateway that this process's settings describe."""
        return cls(settings.GATEWAY_DATABASE_URL, KeyRing.from_settings("gateway"))

    async def open(self) -> None:
        """Start connecting."""
        await self.database.open()

    async def close(self) -> None:
        """Let calls that have started end, then close every connection."""
        await self.calls.drain()
        await self.catalog.aclose()
        await self.models.aclose()
        self.deliveries.close()
        await self.database.close()

    async def serve(self, request: Request, send: Send) -> None:
        """Answer one request. Raises `ProvenanceError` for what is refused before an answer began."""
        first, _, rest = request.path.lstrip("/").partition("/")
        if first == "mcp":
            async with denials.of_strangers(request, presented := _key_text(request)):
                check_host(request, settings.ALLOWED_HOSTS)
                check_origin(request, settings.ALLOWED_HOSTS)
                caller = await self._client_caller(presented, request)
            await self.mcp.serve(caller, rest, request, send)
        elif first == "call":
            async with denials.of_strangers(request, presented=""):
                # Workers reach us by an address of their own, and no browser ever does.
                check_host(request, [*settings.ALLOWED_HOSTS, urlsplit(settings.GATEWAY_URL).hostname or ""])
                check_origin(request, [])
                if rest.startswith(DELIVER):
                    ticket = delivery_tickets.check(request.bearer, settings.CALL_TOKEN)
                else:
                    caller = self._run_caller(request)
            if rest.startswith(DELIVER):
                await self._serve_delivery(ticket, rest.removeprefix(DELIVER), request, send)
            else:
                await self._serve_worker(caller, rest, request, send)
        elif request.path == "/healthz":
            await send_json(send, 200, {"status": "alive"})
        elif request.path == "/readyz":
            await self._serve_readiness(send)
        else:
            raise NotFound("There is nothing at this address.")

    async def _serve_worker(self, caller: Caller, rest: str, request: Request, send: Send) -> None:
        match request.method, rest:
            case "POST", "":
                asked = CallRequest.parse(await request.json(LARGEST_CALL_BYTES))
                await send_json(send, 200, (await self.calls.call(caller, asked)).to_json())
            case "POST", "tools":
                await request.json(LARGEST_CALL_BYTES)
                tools = await self.calls.offered(caller)
                await send_json(send, 200, {"tools": [tool.to_json() for tool in tools]})
            case "POST", "facts":
                wanted = FactsRequest.parse(await request.json(LARGEST_CALL_BYTES))
                await send_json(send, 200, (await self.calls.facts(caller, wanted)).to_json())
            case "POST", _ if rest.startswith("model/") and rest.endswith(CHAT_COMPLETIONS):
                provider = rest.removeprefix("model/").removesuffix(CHAT_COMPLETIONS)
                await self.models.pass_through(caller, provider, await request.json(LARGEST_REQUEST_BYTES), send)
            case "GET", _:
                response = await self.calls.state(caller, _call_id(rest))
                if response is None:
                    raise NotFound("No such call has reached the gateway.")
                await send_json(send, 200, response.to_json())
            case _:
                raise NotFound("There is nothing at this address.")

    async def _serve_delivery(self, ticket: Ticket, purpose: str, request: Request, send: Send) -> None:
        bring = {"sink": self.deliveries.to_sink, "digest": self.deliveries.to_readers}.get(purpose)
        if bring is None or request.method != "POST":
            raise NotFound("There is nothing at this address.")
        outcome = await bring(ticket, await request.json(LARGEST_DELIVERY_BYTES))
        await send_json(send, 200, outcome.to_json())

    async def _serve_readiness(self, send: Send) -> None:
        problem = ""
        try:
            async with self.database.outside() as anywhere:
                # Of all calls: what keeps only some of them is no reason to send the others elsewhere.
                in_the_way = await hindrance(anywhere, is_once=False)
                problem = in_the_way.reason if in_the_way else ""
        except (DatabaseError, PoolTimeout, OSError):
            problem = "The database does not answer."
        if problem:
            await send_json(send, 503, {"status": "not ready", "problems": [problem]})
        else:
            await send_json(send, 200, {"status": "ready"})

    def _run_caller(self, request: Request) -> Caller:
        claims = tokens.check(request.bearer, settings.CALL_TOKEN)
        return Caller(
            workspace_id=claims.workspace_id,
            agent_id=claims.agent_id,
            agent_version_id=claims.agent_version_id,
            environment=claims.environment,
            principal=str(claims.agent_id),
            via="run",
            on_behalf_of=claims.on_behalf_of,
            request_id=request.request_id,
            run=claims,
        )

    async def _client_caller(self, text: str, request: Request) -> Caller:
        """The agent behind a key. Tokens for somebody else's servers are no keys of ours and fail here (row 5)."""
        prefix = authentication.whole_prefix(text)
        async with self.database.outside() as anywhere:
            found = await (await anywhere.execute(lookup.FIND, {"prefix": prefix})).fetchone()
        if found is None:
            raise authentication.KeyUnknown
        place = {"workspace_id": found["workspace_id"], "key_id": found["key_id"]}
        try:
            async with self.database.scope(found["workspace_id"]) as inside:
                row = await (await inside.execute(lookup.LOAD, place)).fetchone()
                if row is None:
                    raise authentication.KeyUnknown
                key = authentication.KeyRow.of(row)
                actor = authentication.actor_of(
                    key,
                    text,
                    workspace_id=found["workspace_id"],
                    now=datetime.now(UTC),
                    request_id=request.request_id,
                    ip=request.peer,
                )
                authentication.demand_attested(row, self._keys)
                await inside.execute(lookup.TOUCH, {**place, "id": uuid7()})
        except authentication.KeyAltered as error:
            await self._alterations.record(found["workspace_id"], error.altered)
            raise
        if key.agent_id is None:
            reason = "This key is not bound to an agent. Tools are called with an agent's key."
            await denials.of_key(self.journal, self._keys, actor, request, reason)
            raise PermissionDenied(message=reason)
        return Caller(
            workspace_id=found["workspace_id"],
            agent_id=key.agent_id,
            agent_version_id=None,
            environment=key.environment,
            principal=f"{key.agent_id}:{key.id}",
            via=actor.via,
            on_behalf_of=actor.on_behalf_of,
            request_id=actor.request_id,
            ip=actor.ip,
            key_id=str(key.id),
        )


class Application:
    """The ASGI application. Without a lifespan (a test, a plain server) the gateway opens at its first request."""

    def __init__(self, make: Callable[[], Gateway] = Gateway.from_settings) -> None:
        self._make = make
        self._gateway: Gateway | None = None
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind; only HTTP and the lifespan are known here."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.gateway()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._gateway is not None:
            await self._gateway.close()
            self._gateway = None
        await send({"type": "lifespan.shutdown.complete"})

    async def gateway(self) -> Gateway:
        """The open gateway."""
        async with self._opening:
            if self._gateway is None:
                made = self._make()
                await made.open()
                self._gateway = made
        return self._gateway

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def noting(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            request = request_of(scope, receive)
            await (await self.gateway()).serve(request, noting)
        except ClientGone:
            return
        except ProvenanceError as error:
            if began:
                # The server closes the connection, so that half an answer cannot pass for a whole one.
                raise
            await send_problem(send, error, request_id_of(scope))
        except (DatabaseError, PoolTimeout, TimeoutError, OSError) as error:
            logger.warning("gateway.database_unavailable", error=type(error).__name__)
            if began:
                raise
            await send_problem(send, AuditUnavailable(), request_id_of(scope))


def _call_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("No such call has reached the gateway.") from None


def _key_text(request: Request) -> str:
    return request.headers.get("x-api-key") or request.bearer


application = Application()
