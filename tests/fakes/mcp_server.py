"""An MCP server that answers as a test says, honestly or not, in either era, and remembers the bytes it received."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http_server import Connection, HttpServer, Received, serving

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}
Reply = dict[str, Any] | Callable[[Connection, Any], None]


def tool(name: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A definition with a closed schema."""
    schema = {**CLOSED, "properties": properties or {}}
    return {"name": name, "description": f"Does {name}.", "inputSchema": schema, **more}


def text(*parts: str, **more: Any) -> dict[str, Any]:
    """A result of text items."""
    return {"content": [{"type": "text", "text": part} for part in parts], **more}


@dataclass
class FakeMcp:
    """What the server offers and answers. Change it while it runs. `reply` gets name and arguments of a call."""

    http: HttpServer
    tools: list[dict[str, Any]] = field(default_factory=list)
    reply: Callable[[str, dict[str, Any]], Reply] = lambda _name, _arguments: text("done")
    is_modern: bool = True
    listing: Callable[[Received], list[dict[str, Any]]] | None = None
    lose_sessions: int = 0

    @property
    def url(self) -> str:
        return f"{self.http.url}/mcp"

    @property
    def calls(self) -> list[Received]:
        """The requests that called a tool."""
        return [request for request in self.http.requests if _method(request) == "tools/call"]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The arguments of each call, as they arrived."""
        return [json.loads(request.body)["params"]["arguments"] for request in self.calls]

    def answer(self, connection: Connection, request: Received) -> None:
        message = json.loads(request.body or b"{}")
        if "id" not in message:
            connection.answer(status="202 Accepted")
            return
        if self.lose_sessions and message["method"] == "tools/call":
            self.lose_sessions -= 1
            connection.answer(status="404 Not Found")
            return
        reply = self._reply(message, request)
        if callable(reply):
            reply(connection, message["id"])
            return
        extra = {"Mcp_Session_Id": "session-1"} if message["method"] == "initialize" else {}
        connection.answer(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}).encode(), **extra)

    def _reply(self, message: dict[str, Any], request: Received) -> Any:
        params = message.get("params", {})
        match message["method"]:
            case "server/discover" if self.is_modern:
                return {"result": {"supportedVersions": [MODERN], "capabilities": {}, "resultType": "complete"}}
            case "initialize":
                return {
                    "result": {
                        "protocolVersion": LEGACY,
                        "capabilities": {},
                        "serverInfo": {"name": "f", "version": "1"},
                    }
                }
            case "tools/list":
                return {"result": {"tools": self.listing(request) if self.listing else self.tools}}
            case "tools/call":
                reply = self.reply(params["name"], params["arguments"])
                return reply if callable(reply) else {"result": {"resultType": "complete", **reply}}
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}


@contextmanager
def fake_mcp(*tools: dict[str, Any], is_modern: bool = True) -> Iterator[FakeMcp]:
    """A running server with these tools."""
    servers: list[FakeMcp] = []

    def handle(connection: Connection, request: Received) -> None:
        servers[0].answer(connection, request)

    with serving(handle) as http:
        servers.append(FakeMcp(http, list(tools), is_modern=is_modern))
        yield servers[0]


def _method(request: Received) -> str:
    try:
        return json.loads(request.body).get("method", "")
    except ValueError:
        return ""
