"""The MCP server towards outside clients: both eras, no sessions, one message per request.

What a client may list and call is what its agent may: the approved text of granted tools, and calls through the same
admission as those of our own runs. Whatever waits for a person is answered at once, and no connection is held open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp_types import PROTOCOL_VERSION_META_KEY
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from gateway.calls import ToolGateway
from gateway.contract import CallRequest, CallResponse, CallState, OfferedTool
from gateway.errors import PolicyUnavailable
from gateway.events import Caller
from gateway.http import Request, Send, send_bytes, send_json
from provenance import strict_json
from provenance.errors import Unavailable
from provenance.ids import public_id, uuid7

LARGEST_BODY_BYTES = 2**20
SERVER_INFO = {"name": "provenance", "title": "Provenance gateway", "version": "1"}
CAPABILITIES: dict[str, Any] = {"tools": {}}
LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class RpcError(Exception):
    """A JSON-RPC error."""

    code: int
    message: str
    data: Any = None

    @property
    def status(self) -> int:
        """The HTTP status that the protocol assigns to the code."""
        return ERROR_CODE_HTTP_STATUS.get(self.code, 200)


@dataclass(frozen=True, slots=True)
class Client:
    """One client as this request presents it: its agent, the one server it asks for ("" for all), its era."""

    caller: Caller
    server: str
    is_modern: bool


class McpEndpoint:
    """`/mcp` and `/mcp/<server>`."""

    def __init__(self, calls: ToolGateway) -> None:
        self._calls = calls

    async def serve(self, caller: Caller, server: str, request: Request, send: Send) -> None:
        """Answer one message. The caller was authenticated before anything of the body was read."""
        if request.method != "POST":
            # No stream to listen on and no session to end.
            await send_bytes(send, 405, b"", {"allow": "POST"})
            return
        message_id: Any = None
        is_modern = request.headers.get(MCP_PROTOCOL_VERSION_HEADER) in MODERN_PROTOCOL_VERSIONS
        try:
            message = _single(await _parsed(request))
            is_modern = is_modern or PROTOCOL_VERSION_META_KEY in _meta(message)
            if "id" not in message:
                await send_bytes(send, 202, b"", {})
                return
            message_id = _checked_id(message["id"])
            result = await self._answer(Client(caller, server, is_modern), message, request.headers)
        except RpcError as error:
            body: dict[str, Any] = {"code": error.code, "message": error.message}
            if error.data is not None:
                body["data"] = error.data
            status = error.status if is_modern or error.code in {PARSE_ERROR, INVALID_REQUEST} else 200
            await send_json(send, status, {"jsonrpc": "2.0", "id": message_id, "error": body})
            return
        if is_modern:
            result = {"resultType": "complete", **result}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message_id, "result": result})

    async def _answer(self, client: Client, message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        if client.is_modern:
            ruling = classify_inbound_request(message, headers=headers)
            if isinstance(ruling, InboundLadderRejection):
                raise RpcError(ruling.code, ruling.message, ruling.data)
        elif (version := headers.get(MCP_PROTOCOL_VERSION_HEADER)) not in {None, *HANDSHAKE_PROTOCOL_VERSIONS}:
            raise RpcError(INVALID_REQUEST, f"Unsupported protocol version {str(version)[:40]}")
        params = message.get("params", {})
        if not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object")
        match message.get("method"), client.is_modern:
            case "tools/list", _:
                return await self._list(client, params)
            case "tools/call", _:
                return await self._call(client, params, headers)
            case "server/discover", True:
                return {
                    "supportedVersions": [*MODERN_PROTOCOL_VERSIONS, *HANDSHAKE_PROTOCOL_VERSIONS],
                    "capabilities": CAPABILITIES,
                    **_UNCACHED,
                }
            case "initialize", False:
                return _initialized(params)
            case "ping", False:
                return {}
            case _:
                raise RpcError(METHOD_NOT_FOUND, "Method not found")

    async def _list(self, client: Client, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("cursor") is not None:
            raise RpcError(INVALID_PARAMS, "Invalid cursor")
        tools = [_listed(tool, client) for tool in await self._offered(client)]
        return {"tools": tools, **(_UNCACHED if client.is_modern else {})}

    async def _call(self, client: Client, params: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        name, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
            raise RpcError(INVALID_PARAMS, "name must be the name of a tool")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "arguments must be an object")
        full_name = f"{client.server}.{name}" if client.server else name
        if client.is_modern:
            await self._check_mirrored(client, full_name, arguments, headers)
        try:
            response = await self._calls.call(client.caller, await self._identified(client, full_name, arguments))
        except Unavailable as error:
            raise RpcError(INTERNAL_ERROR, error.message) from None
        if response.rule == "tool.unavailable":
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name}")
        return _called(response, client)

    async def _offered(self, client: Client) -> list[OfferedTool]:
        try:
            tools = await self._calls.offered(client.caller)
        except PolicyUnavailable as error:
            raise RpcError(INTERNAL_ERROR, error.message) from None
        return [tool for tool in tools if not client.server or tool.name.startswith(f"{client.server}.")]

    async def _check_mirrored(
        self, client: Client, full_name: str, arguments: dict[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Headers that repeat arguments must agree with them: something on the way may have routed by the header."""
        try:
            tool = await self._calls.offered_tool(client.caller, full_name)
        except PolicyUnavailable as error:
            raise RpcError(INTERNAL_ERROR, error.message) from None
        ruling = validate_mcp_param_headers(tool.input_schema, arguments, headers) if tool else None
        if ruling is not None:
            raise RpcError(ruling.code, ruling.message, ruling.data)

    async def _identified(self, client: Client, full_name: str, arguments: dict[str, Any]) -> CallRequest:
        """The call with an id: that of the same call if it waits for a person, else a new one."""
        waiting = await self._calls.waiting_call(client.caller, full_name, arguments)
        if waiting is not None:
            return waiting
        call_id: UUID = uuid7()
        return CallRequest(call_id=call_id, call_key=f"mcp:{call_id}", tool=full_name, arguments=arguments)


_UNCACHED = {"ttlMs": 0, "cacheScope": "private"}


async def _parsed(request: Request) -> Any:
    body = await request.body(LARGEST_BODY_BYTES)
    try:
        return strict_json.parse(body)
    except strict_json.Malformed as error:
        raise RpcError(PARSE_ERROR, f"Parse error: {error}") from None


def _single(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Body must be a single JSON-RPC request or notification object")
    return message


def _checked_id(value: Any) -> int | str:
    if isinstance(value, str) and len(value) <= LONGEST_ID:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RpcError(INVALID_REQUEST, "id must be a string or an integer")


def _meta(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _initialized(params: dict[str, Any]) -> dict[str, Any]:
    wanted = params.get("protocolVersion")
    version = wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
    return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": SERVER_INFO}


def _listed(tool: OfferedTool, client: Client) -> dict[str, Any]:
    name = tool.name.removeprefix(f"{client.server}.") if client.server else tool.name
    listed: dict[str, Any] = {"name": name, "description": tool.description, "inputSchema": tool.input_schema}
    if tool.title:
        listed["title"] = tool.title
    if tool.output_schema:
        listed["outputSchema"] = tool.output_schema
    return listed


def _called(response: CallResponse, client: Client) -> dict[str, Any]:
    if response.result is not None:
        result: dict[str, Any] = {"content": response.result.content, "isError": response.result.is_error}
        structured = response.result.structured_content
        # Before 2026-07-28 structured content is an object or absent.
        if isinstance(structured, dict) or (client.is_modern and structured is not None):
            result["structuredContent"] = structured
        if response.sent_arguments is not None:
            note = f"An approver changed the arguments; sent was: {strict_json.dump(response.sent_arguments).decode()}"
            result["content"] = [*result["content"], {"type": "text", "text": note}]
        return result
    return {"content": [{"type": "text", "text": _words(response)}], "isError": True}


def _words(response: CallResponse) -> str:
    match response.state:
        case CallState.AWAITING_APPROVAL if response.approval_id:
            approval = public_id("apr", response.approval_id)
            return f"Pending: a person has to approve this call ({approval}). Retry the same call to get its result."
        case CallState.INDETERMINATE:
            return f"It is not known whether this call happened: {response.reason}"
        case CallState.FAILED:
            return f"The call failed: {response.reason}"
        case _:
            return f"Refused: {response.reason}"
