"""Outside clients at `/mcp`: the official client in both eras lists, calls, is refused, and waits for a person."""

import json

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from apikeys.services import issue_key, revoke_key
from approvals import services as approvals
from audit.taxonomy import Event
from gateway import services
from tests import factories
from tests.fakes.mcp_server import text
from tests.gateway.world import SECRET

ERAS = ["2026-07-28", "legacy", "auto"]


@pytest.fixture
def key(echo):
    made, shown = issue_key(
        actor=echo.admin,
        name="outside agent",
        scopes=["gateway:read"],
        expires_in_days=1,
        agent_id=echo.agents["helper"].id,
    )
    echo.key = made
    return shown


def talk(world, key, work, mode="auto", path="/mcp"):
    async def run():
        async with (
            httpx2.AsyncClient(headers={"X-API-Key": key}, timeout=20) as http,
            Client(streamable_http_client(f"{world.url}{path}", http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return anyio.run(run)


@pytest.mark.parametrize("mode", ERAS)
def test_the_official_client_lists_and_calls_in_both_eras(echo, fake, key, mode):
    async def work(client):
        return (await client.list_tools()).tools, await client.call_tool("up.echo", {"text": "hi"})

    fake.reply = lambda _n, arguments: text(arguments["text"], structuredContent={"said": arguments["text"]})
    tools, result = talk(echo, key, work, mode)
    assert [tool.name for tool in tools] == ["up.echo"]
    assert result.content[0].text == "hi"
    assert result.structured_content == {"said": "hi"}
    assert [event.actor_type for event in echo.events(Event.MCP_TOOL_CALLED)] == ["agent"]
    (request,) = fake.calls
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert key not in json.dumps(request.headers)


def test_one_server_is_reached_without_its_prefix(echo, fake, key):
    async def work(client):
        return [tool.name for tool in (await client.list_tools()).tools], await client.call_tool("echo", {"text": "hi"})

    names, result = talk(echo, key, work, path="/mcp/up")
    assert names == ["echo"]
    assert not result.is_error


def test_an_unknown_tool_and_a_forbidden_one_get_the_same_answer(echo, fake, key):
    async def work(client):
        errors = []
        for name in ("up.nothing", "other.thing"):
            with pytest.raises(MCPError) as caught:
                await client.call_tool(name, {})
            errors.append((caught.value.code, caught.value.message.replace(name, "")))
        return errors

    first, second = talk(echo, key, work)
    assert first == second
    assert not fake.calls


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_a_call_that_needs_a_person_is_answered_at_once_and_performed_on_retry(echo, fake, key, mode):
    services.review_tool(
        actor=echo.admin, tool_id=echo.tools["up.echo"].pk, pin=echo.tools["up.echo"].pin, effect="read",
        retry_class="read", data_tier=3,
    )  # fmt: skip
    echo.served("UPDATE agents_agent SET trust_level = 'medium'")
    approver = factories.make_member(echo.workspace, roles={"approver"})

    def call():
        async def work(client):
            return await client.call_tool("up.echo", {"text": "hi"})

        return talk(echo, key, work, mode)

    first, second = call(), call()
    assert first.is_error
    assert first.content[0].text.startswith("Pending: ")
    assert second.content[0].text == first.content[0].text
    (asked,) = echo.events(Event.APPROVAL_REQUESTED)
    approvals.decide(actor=approver, request_id=asked.object_id, verdict="approve", reason="A person looked at it.")
    assert call().content[0].text == "done"
    assert len(fake.calls) == 1
    assert call().content[0].text.startswith("Pending: ")  # the approval was for one call


def test_the_owner_of_the_key_cannot_approve_the_call(echo, fake, key):
    """T22."""
    from approvals.errors import SeparationOfDuties

    services.review_tool(
        actor=echo.admin, tool_id=echo.tools["up.echo"].pk, pin=echo.tools["up.echo"].pin, effect="read",
        retry_class="read", data_tier=3,
    )  # fmt: skip
    echo.served("UPDATE agents_agent SET trust_level = 'medium'")

    async def work(client):
        return await client.call_tool("up.echo", {"text": "hi"})

    assert talk(echo, key, work).is_error
    (asked,) = echo.events(Event.APPROVAL_REQUESTED)
    owner = factories.actor_of(echo.workspace, echo.admin.id, {"approver"})
    with pytest.raises(SeparationOfDuties):
        approvals.decide(actor=owner, request_id=asked.object_id, verdict="approve", reason="I would like it so.")


def test_a_revoked_key_opens_nothing(echo, fake, key):
    revoke_key(actor=echo.admin, key_id=echo.key.pk, reason="Leaked.")
    assert httpx2.post(f"{echo.url}/mcp", json={}, headers={"X-API-Key": key}).status_code == 401


def test_a_key_of_no_agent_calls_no_tools(echo, fake):
    _, shown = issue_key(actor=echo.admin, name="integration", scopes=["runs:read"], expires_in_days=1)
    response = httpx2.post(f"{echo.url}/mcp", json={}, headers={"X-API-Key": shown})
    assert response.status_code == 403
    assert "not bound to an agent" in response.json()["detail"]


def modern(**changes):
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": "up.echo", "arguments": {"text": "x"}, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params, **changes}


HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "up.echo"}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (modern(), {**HEADERS, "mcp-name": "up.other"}, -32020),
        (modern(), {**HEADERS, "mcp-method": "tools/list"}, -32020),
        (modern(), {**HEADERS, "mcp-protocol-version": "2025-11-25"}, -32020),
        (modern(method="resources/list"), {**HEADERS, "mcp-method": "resources/list"}, -32601),
        ([modern()], HEADERS, -32600),
        (modern(id=None), HEADERS, -32600),
        (modern(id=1.5), HEADERS, -32600),
    ],
    ids=["name", "method", "version", "resources", "batch", "null id", "fractional id"],
)
def test_a_message_that_disagrees_with_itself_is_refused(echo, fake, key, *, body, headers, code):
    """gateway.md 5, rows 15 and 24."""
    response = httpx2.post(f"{echo.url}/mcp", json=body, headers={"X-API-Key": key, **headers})
    assert response.status_code in {400, 404}
    assert response.json()["error"]["code"] == code
    assert not fake.calls


def test_a_routing_header_may_not_stand_twice(echo, fake, key):
    headers = [("X-API-Key", key), *HEADERS.items(), ("mcp-name", "up.other")]
    assert httpx2.post(f"{echo.url}/mcp", json=modern(), headers=headers).status_code == 400
    assert not fake.calls


def test_there_is_no_session_to_hijack_and_no_stream_to_hold(echo, key):
    for method in ("GET", "DELETE"):
        headers = {"X-API-Key": key, "Mcp-Session-Id": "guess"}
        assert httpx2.request(method, f"{echo.url}/mcp", headers=headers).status_code == 405
