"""Look at what a server offers and store it for review.

Runs where the gateway's connection is at home (front, gateway, setup): only the gateway's role can open the credential
that the server wants. The web role of a split installation has none and says so.
"""

import asyncio
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from audit.signing import KeyRing
from gateway.alterations import Alterations
from gateway.catalog import egress_to, fetch_definitions
from gateway.database import Database
from gateway.injections import Injections
from gateway.journal import Journal
from gateway.models import McpServer, Tool
from gateway.policy import ServerPolicy
from gateway.services import record_listing
from gateway.upstream import Upstream
from provenance.actor import Actor
from provenance.errors import NotFound, Unavailable
from provenance.permissions import Permission


class DiscoveryElsewhere(Unavailable):
    """This process holds no gateway connection; discover tools on a host that runs the gateway."""

    code = "discovery_elsewhere"


def discover_tools(*, actor: Actor, server_id: UUID) -> list[Tool]:
    """Ask a server for its tools and store them, unreviewed. A changed definition is quarantined.

    Raises `UpstreamError` or `NotBound` when the server or its credential cannot be used; then nothing is stored. The
    server and its secret must be committed: the gateway looks with a connection of its own.
    """
    actor.require(Permission.GATEWAY_WRITE)
    if not settings.GATEWAY_DATABASE_URL:
        raise DiscoveryElsewhere
    with transaction.atomic():
        server = McpServer.objects.for_actor(actor).filter(pk=server_id).first()
    if server is None:
        raise NotFound("There is no such server here.")
    listing = asyncio.run(_listing(server))
    return record_listing(actor=actor, server_id=server_id, listing=listing)


async def _listing(server: McpServer) -> list[dict[str, Any]]:
    policy = ServerPolicy(
        id=server.pk,
        slug=server.slug,
        url=server.url,
        origin=server.origin,
        status=server.status,
        secret_name=server.secret_name,
        slot=server.slot,
        environment=server.environment,
        private_network=server.private_network,
    )
    database = Database(settings.GATEWAY_DATABASE_URL)
    # Signed as gateway, in front and set-up too: the connection is the gateway's.
    journal, keys = Journal(database), KeyRing.from_settings("gateway")
    injections = Injections(journal, keys, Alterations(journal, keys))
    upstream = Upstream(policy.url, egress_to(policy))
    await database.open()
    try:
        return await fetch_definitions(database, injections, server.workspace_id, policy, upstream)
    finally:
        await upstream.aclose()
        await database.close()
