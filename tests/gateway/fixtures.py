"""A workspace behind a running gateway, for the tests of the gateway and for those who attack it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import factories
from tests.examples.processes import example_servers
from tests.fakes.mcp_server import FakeMcp, fake_mcp, text, tool
from tests.gateway.world import World, world_of

TERMS = {"vendor": {"type": "string"}, "terms": {"enum": ["NET30", "NET60"]}, "idempotency_key": {"type": "string"}}


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    """A committed workspace behind a running gateway."""
    with world_of(factories.make_workspace()) as made:
        yield made


@pytest.fixture
def fake() -> Iterator[FakeMcp]:
    """An MCP server that answers as the test says, with one tool that takes a text."""
    with fake_mcp(tool("echo", {"text": {"type": "string"}})) as server:
        yield server


@pytest.fixture
def echo(world: World, fake: FakeMcp) -> World:
    """The world with agent `helper`, which may call `up.echo`."""
    world.add_server("up", fake.url)
    world.review("up.echo")
    world.add_agent("helper", ["up.echo"])
    world.grant("helper", "up.echo")
    return world


@pytest.fixture
def erp(world: World) -> Iterator[FakeMcp]:
    """A tool that writes in production: it asks a person at medium trust."""
    with fake_mcp(tool("setTerms", TERMS), tool("getTerms", {"vendor": {"type": "string"}})) as server:
        world.add_server("erp", server.url, access="write")
        world.review("erp.setTerms", "write", retry_class="idempotent", idempotency_argument="idempotency_key")
        world.review("erp.getTerms")
        world.add_agent("ledger", ["erp.setTerms", "erp.getTerms"], trust="medium")
        world.grant("ledger", "erp.setTerms")
        world.grant("ledger", "erp.getTerms")
        world.approver = factories.make_member(world.workspace, roles={"approver"})
        server.reply = lambda _name, _arguments: text("changed")
        yield server


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The example ERP, CRM and document store."""
    with example_servers(tmp_path_factory.mktemp("examples")) as running:
        yield running
