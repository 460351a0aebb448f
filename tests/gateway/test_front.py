"""The one-process front: one address for the gateway and for Django, with the same edge; servers and tools to read."""

import asyncio

import httpx2
import pytest

from apikeys.services import issue_key
from tests.gateway.world import served


@pytest.fixture
def front(echo):
    from provenance.asgi import front as application

    with served(application) as url:
        yield url


def test_both_halves_answer_behind_one_edge(front, echo):
    assert httpx2.get(f"{front}/healthz").json() == {"status": "alive"}
    assert httpx2.get(f"{front}/sign-in/").status_code == 200
    assert httpx2.post(f"{front}/call/tools", json={}).status_code == 401
    assert httpx2.post(f"{front}/mcp", json={}).status_code == 401
    assert httpx2.get(f"{front}/live").status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/sign-in/", "/call", "/mcp"])
def test_no_half_serves_a_foreign_host(front, path):
    assert httpx2.post(f"{front}{path}", headers={"Host": "evil.example"}).status_code == 421


def test_no_half_takes_an_endless_body(front):
    def endless():
        for _ in range(9):
            yield b"x" * 1_000_000

    assert httpx2.post(f"{front}/sign-in/", content=b"x" * 5_000_000).status_code == 413
    assert httpx2.post(f"{front}/sign-in/", content=endless()).status_code >= 400


def test_a_key_reads_servers_tools_and_grants(front, echo):
    _, key = issue_key(actor=echo.admin, name="reader", scopes=["gateway:read"], expires_in_days=1)
    with httpx2.Client(base_url=f"{front}/api/v1", headers={"X-API-Key": key}) as client:
        (server,) = client.get("/servers").json()["items"]
        (tool,) = client.get("/tools").json()["items"]
        (grant,) = client.get("/grants").json()["items"]
    assert (server["slug"], server["secret_name"]) == ("up", "up-token")
    assert (tool["name"], tool["status"], grant["tool"]) == ("up.echo", "approved", "up.echo")


def test_a_key_without_the_scope_reads_none(front, echo):
    _, key = issue_key(actor=echo.admin, name="reader", scopes=["runs:read"], expires_in_days=1)
    answer = httpx2.get(f"{front}/api/v1/tools", headers={"X-API-Key": key})
    assert answer.status_code == 403
    assert "gateway:read" in answer.text


def test_front_does_not_start_behind_a_broken_wall(monkeypatch):
    """T08: a guard that was taken down keeps both halves from serving, and the log says which one it is."""
    from provenance import asgi, readiness

    monkeypatch.setattr(readiness, "problems", lambda: ["agents_agent has no guard"])
    answers = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        answers.append(message)

    asyncio.run(asgi.front({"type": "lifespan"}, receive, send))
    assert answers == [{"type": "lifespan.startup.failed", "message": "agents_agent has no guard"}]
