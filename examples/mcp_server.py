"""A list of tools becomes an MCP server that checks every argument and answers in text and structure alike."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import jsonschema_rs
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError

from examples.store import Store

Arguments = dict[str, Any]
Answer = dict[str, Any]
Context = Any  # the SDK's request context; these tools need nothing of it


class ToolError(Exception):
    """The tool was asked for something it cannot do. The caller reads `code` and the sentence; nothing changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tool:
    """One tool: what it says it does, what it accepts, and the function that does it.

    `answer` gets a connection and checked arguments. Only a tool with `changes` gets one that can write.
    """

    name: str
    description: str
    answer: Callable[[sqlite3.Connection, Arguments], Answer]
    properties: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    changes: bool = False
    idempotent: bool = False

    @property
    def input_schema(self) -> dict[str, Any]:
        """A closed object: an argument that the tool does not know is an error, never ignored."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }

    def listing(self) -> types.Tool:
        """The tool as `tools/list` shows it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=self.input_schema,
            annotations=types.ToolAnnotations(
                read_only_hint=not self.changes,
                destructive_hint=self.changes,
                idempotent_hint=self.idempotent or not self.changes,
                open_world_hint=False,
            ),
        )


class ToolBox:
    """The tools of one server over one store."""

    def __init__(self, tools: Sequence[Tool], store: Store) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._checks = {
            tool.name: jsonschema_rs.Draft202012Validator(tool.input_schema, validate_formats=True) for tool in tools
        }
        self._store = store

    def input_schema(self, name: str) -> dict[str, Any] | None:
        """The schema of a tool, or None. Spares the SDK a listing of all tools before each call."""
        tool = self._tools.get(name)
        return tool.input_schema if tool else None

    async def list_tools(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """Every tool, in one page."""
        return types.ListToolsResult(tools=[tool.listing() for tool in self._tools.values()])

    async def call_tool(self, _context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """The tool's answer, or a tool error (`isError`) that names what to change. Unknown tool: protocol error."""
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool named {params.name!r} here.")
        try:
            answer = await anyio.to_thread.run_sync(self.perform, tool, params.arguments or {})
        except ToolError as error:
            return result({"error": {"code": error.code, "message": str(error)}}, is_error=True)
        return result(answer)

    def perform(self, tool: Tool, arguments: Arguments) -> Answer:
        """Check the arguments and run the tool in its own connection. Raises `ToolError`."""
        for problem in self._checks[tool.name].iter_errors(arguments):
            where = "/".join(str(step) for step in problem.instance_path) or "the arguments"
            raise ToolError("invalid_arguments", f"{where}: {problem.message}")
        with self._store.writing() if tool.changes else self._store.reading() as connection:
            return tool.answer(connection, arguments)


def result(answer: Answer, *, is_error: bool = False) -> types.CallToolResult:
    """The same JSON twice: as structure for programs, as text for clients that only read text."""
    text = json.dumps(answer, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=answer, is_error=is_error
    )


def session_manager(name: str, *, title: str, instructions: str, box: ToolBox) -> StreamableHTTPSessionManager:
    """A stateless MCP server over streamable HTTP, both protocol eras. The caller runs `manager.run()`."""
    server: Server[Any] = Server(
        name,
        version="1.0.0",
        title=title,
        instructions=instructions,
        get_tool_input_schema=box.input_schema,
        on_list_tools=box.list_tools,
        on_call_tool=box.call_tool,
    )
    return StreamableHTTPSessionManager(
        app=server,
        json_response=True,
        stateless=True,
        # A web page that resolves its own name to 127.0.0.1 still cannot call us: the Host header gives it away.
        security_settings=TransportSecuritySettings(
            allowed_hosts=["127.0.0.1:*", "localhost:*"],
            allowed_origins=["http://127.0.0.1:*", "http://localhost:*"],
        ),
    )


def endpoint(manager: StreamableHTTPSessionManager) -> StreamableHTTPASGIApp:
    """The ASGI application of a manager."""
    return StreamableHTTPASGIApp(manager)
