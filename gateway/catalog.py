"""What servers offer right now: looked at before their tools are used, again every minute, each time as somebody else.

A definition that differs from the reviewed one is a rug pull until a person says otherwise (gateway.md 5, row 2).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gateway import credentials, pins
from gateway.contract import EXCHANGE_SECONDS
from gateway.credentials import Halted
from gateway.database import Database
from gateway.errors import AuditUnavailable, UpstreamError
from gateway.injections import Injections
from gateway.policy import ServerPolicy
from gateway.upstream import CLIENT_INFO, Upstream
from provenance.egress import Egress, EgressRefused
from provenance.tool_names import is_tool_name
from secrets_vault.references import NotBound
from workspaces import control

LOOK_AGAIN_SECONDS = 60.0
# Until then the old listing counts while a new one is fetched, so that no call waits for it.
LONGEST_SECONDS = 120.0
LARGEST_RESULT_BYTES = 8 * 2**20
OTHER_IDENTITY: Mapping[str, str] = {"name": "mcp-client", "version": "2.3.0"}


@dataclass(slots=True)
class Listing:
    """The definitions of a server by name, with their pins; or why they could not be had."""

    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    looked_at: float = field(default_factory=time.monotonic)


class Catalog:
    """Connections to servers and what they were last seen to offer, per workspace and server."""

    def __init__(self, database: Database, injections: Injections) -> None:
        self._database = database
        self._injections = injections
        self._upstreams: dict[tuple[UUID, str, str], Upstream] = {}
        self._listings: dict[tuple[UUID, UUID], Listing] = {}
        self._looking: dict[tuple[UUID, UUID], asyncio.Task[Listing]] = {}
        self._looks: Counter[tuple[UUID, UUID]] = Counter()

    async def aclose(self) -> None:
        """Stop looking and close every connection."""
        for task in self._looking.values():
            task.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        for upstream in self._upstreams.values():
            await upstream.aclose()

    def upstream(self, workspace_id: UUID, server: ServerPolicy, identity: Mapping[str, str] = CLIENT_INFO) -> Upstream:
        """The connection of one workspace to one address. Another workspace or address never shares it."""
        key = (workspace_id, server.url, identity["name"])
        if key not in self._upstreams:
            self._upstreams[key] = Upstream(server.url, egress_to(server), identity)
        return self._upstreams[key]

    async def listing(self, workspace_id: UUID, server: ServerPolicy) -> Listing:
        """What the server offers, as of at most two minutes ago. Waits for an answer only when nothing newer is known."""
        key = (workspace_id, server.id)
        known = self._listings.get(key)
        age = time.monotonic() - known.looked_at if known and not known.problem else LONGEST_SECONDS
        if known and age < LOOK_AGAIN_SECONDS:
            return known
        if key not in self._looking:
            self._looking[key] = asyncio.create_task(self._look(workspace_id, server))
        if known and age < LONGEST_SECONDS:
            return known
        return await asyncio.shield(self._looking[key])

    def forget(self, workspace_id: UUID, server_id: UUID) -> None:
        """Look again before the next call."""
        self._listings.pop((workspace_id, server_id), None)

    async def _look(self, workspace_id: UUID, server: ServerPolicy) -> Listing:
        key = (workspace_id, server.id)
        # Counted for each server: with one count for all, two servers looked at in turn would each see one face only.
        self._looks[key] += 1
        identity = OTHER_IDENTITY if self._looks[key] % 2 == 0 else CLIENT_INFO
        try:
            found = await fetch_definitions(
                self._database, self._injections, workspace_id, server, self.upstream(workspace_id, server, identity)
            )
            usable = {tool["name"]: tool for tool in found if is_tool_name(tool.get("name"))}
            listing = Listing(definitions=usable, pins={name: pins.pin(tool) for name, tool in usable.items()})
        except (UpstreamError, NotBound, Halted, EgressRefused, AuditUnavailable) as error:
            listing = Listing(problem=str(error))
        finally:
            self._looking.pop(key, None)
        self._listings[key] = listing
        return listing


def egress_to(server: ServerPolicy) -> Egress:
    """The door to one server: nothing private, except where a reviewer allowed exactly its host and port."""
    limits = {"total_seconds": EXCHANGE_SECONDS, "max_response_bytes": LARGEST_RESULT_BYTES}
    return Egress.to(server.url, **limits) if server.private_network else Egress(**limits)  # type: ignore[arg-type]  # one dict for both limits


async def fetch_definitions(
    database: Database, injections: Injections, workspace_id: UUID, server: ServerPolicy, upstream: Upstream
) -> list[dict[str, Any]]:
    """Every definition exactly as the server gives it now.

    Raises `UpstreamError`, `NotBound`, `Halted` or `EgressRefused`, and `AuditUnavailable` when the log cannot say which
    credential is sent.
    """
    alterations = injections.alterations
    async with alterations.of_secrets(workspace_id), database.scope(workspace_id) as connection:
        credential = await credentials.load(
            connection,
            alterations.keys,
            workspace_id,
            secret_name=server.secret_name,
            origin=server.origin,
            slot=server.slot,
            scopes=control.scopes_of(workspace_id, environment=server.environment, server=server.id),
        )
    if credential:
        await injections.record(workspace_id, server, credential)
    headers = credential.opened()[0] if credential else {}
    return await upstream.list_tools(credentials=headers)
