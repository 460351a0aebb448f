"""Servers are looked at as two different clients in turn, so that one which shows a reviewer another tool is found out."""

import asyncio
import json

import pytest

from audit.signing import KeyRing
from gateway.alterations import Alterations
from gateway.catalog import OTHER_IDENTITY, Catalog
from gateway.database import Database
from gateway.injections import Injections
from gateway.journal import Journal
from gateway.policy import ServerPolicy
from gateway.upstream import CLIENT_INFO
from provenance.ids import uuid7
from tests import databases
from tests.fakes.mcp_server import fake_mcp, tool

FACES = [CLIENT_INFO["name"], OTHER_IDENTITY["name"]]


def policy_of(server):
    url = server.url
    return ServerPolicy(
        id=uuid7(),
        slug="up",
        url=url,
        origin=url.removesuffix("/mcp"),
        status="approved",
        secret_name="",
        slot="header:Authorization",
        environment="production",
        private_network=True,
    )


def faces_seen(server):
    """Under which names the server was asked for its tools, in order."""
    asked = [json.loads(request.body) for request in server.http.requests]
    return [client_name(message) for message in asked if message.get("method") == "tools/list"]


def client_name(message):
    """What a message says of who sends it."""
    text = json.dumps(message)
    (name,) = [face for face in FACES if f'"{face}"' in text]
    return name


async def looked_at(servers, times):
    database = Database(databases.role_url("gateway"))
    await database.open()
    journal, keys = Journal(database), KeyRing.from_settings("gateway")
    injections = Injections(journal, keys, Alterations(journal, keys))
    catalog, workspace_id = Catalog(database, injections), uuid7()
    try:
        for _ in range(times):
            for server in servers:
                catalog.forget(workspace_id, server.id)
                assert not (await catalog.listing(workspace_id, server)).problem
    finally:
        await catalog.aclose()
        await database.close()


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_server_sees_both_faces_however_many_there_are(count):
    """gateway.md 5, row 2: counted together, two servers looked at in turn would each see one of them only."""
    with fake_mcp(tool("echo")) as first, fake_mcp(tool("echo")) as second, fake_mcp(tool("echo")) as third:
        servers = [first, second, third][:count]
        asyncio.run(looked_at([policy_of(server) for server in servers], times=3))
        for server in servers:
            assert faces_seen(server) == [FACES[0], FACES[1], FACES[0]]
