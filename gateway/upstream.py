"""The MCP client towards servers: one request per call, both eras of the protocol, nothing of the caller's forwarded.

A 2026-07-28 server gets self-contained requests; an older one gets a session that is kept. Which it is, is asked once
(`server/discover`). Answers are read under a cap, parsed strictly and matched to our own ids. A server may not ask us
anything: sampling, roots and elicitation end the call.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx2
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from gateway.errors import UpstreamError
from gateway.threads import off_loop
from provenance import strict_json
from provenance.egress import Egress, EgressRefused

SESSION_HEADER = "mcp-session-id"
MOST_PAGES = 50
MOST_TOOLS = 2_000
MOST_CONTENT_ITEMS = 200
MOST_EVENTS = 2_000
# More than this is parsed away from the event loop.
MOST_BYTES_AT_ONCE = 64 * 1024
CONTENT_TYPES = frozenset({"text", "image", "audio", "resource", "resource_link"})
CLIENT_INFO = {"name": "provenance-gateway", "version": "1"}
# With these the server says that it did not run anything.
REFUSALS = frozenset(
    {PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION}
)
NOT_RUN_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 411, 413, 415, 421, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What `tools/call` returned, shape-checked: known content types only, no `_meta`."""

    content: list[dict[str, Any]]
    structured_content: Any
    is_error: bool


@dataclass(slots=True)
class _Session:
    """How a server wants to be spoken to."""

    version: str
    session_id: str = ""

    @property
    def is_modern(self) -> bool:
        return self.version == LATEST_MODERN_VERSION


@dataclass(slots=True)
class Upstream:
    """One server as one workspace sees it. It keeps connections and, for older servers, a session; no credential.

    `client_info` is how we present ourselves: the pin check presents itself otherwise, so that a server cannot show
    the checker another face than the caller.
    """

    url: str
    egress: Egress
    client_info: Mapping[str, str] = field(default_factory=lambda: CLIENT_INFO)
    _client: httpx2.AsyncClient = field(init=False)
    _session: _Session | None = field(init=False, default=None)
    _negotiating: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _last_id: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._client = self.egress.async_client(
            headers={"user-agent": self.client_info["name"]},
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], *, input_schema: dict[str, Any], credentials: Mapping[str, str]
    ) -> Answer:
        """Call one tool. `credentials` are headers, used for this request and kept nowhere. Raises `UpstreamError`."""
        headers = {MCP_NAME_HEADER: encode_header_value(name)}
        if find_invalid_x_mcp_header(input_schema) is None:
            headers |= mcp_param_headers(x_mcp_header_map(input_schema), arguments)
        result = await self._request("tools/call", {"name": name, "arguments": arguments}, credentials, headers)
        return _answer(result)

    async def list_tools(self, *, credentials: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every tool definition exactly as the server gives it. Raises `UpstreamError`."""
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._request("tools/list", {"cursor": cursor} if cursor else {}, credentials, {})
            found = page.get("tools")
            if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
                raise _broken("its list of tools is not one")
            tools += found
            cursor = page.get("nextCursor")
            if cursor is None:
                return tools
            if not isinstance(cursor, str) or len(tools) > MOST_TOOLS:
                break
        raise _broken(f"its list of tools does not end within {MOST_TOOLS} tools")

    async def _request(
        self, method: str, params: dict[str, Any], credentials: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        session = await self._negotiated(credentials)
        try:
            return await self._exchange(session, method, params, credentials, headers)
        except _SessionEnded:
            # The server forgot our session and says so instead of running anything: once more with a new one.
            self._session = None
            session = await self._negotiated(credentials)
            try:
                return await self._exchange(session, method, params, credentials, headers)
            except _SessionEnded:
                raise _broken("it does not keep its own sessions", sent=False) from None

    async def _negotiated(self, credentials: Mapping[str, str]) -> _Session:
        if self._session is None:
            async with self._negotiating:
                if self._session is None:
                    try:
                        self._session = await self._negotiate(credentials)
                    except UpstreamError as error:
                        error.sent = False  # nothing but the handshake has left
                        raise
        return self._session

    async def _negotiate(self, credentials: Mapping[str, str]) -> _Session:
        modern = _Session(LATEST_MODERN_VERSION)
        try:
            found = await self._exchange(modern, "server/discover", {}, credentials, {})
            if LATEST_MODERN_VERSION in found.get("supportedVersions", ()):
                return modern
        except (_ServerError, _SessionEnded):
            pass  # whatever an older server answers to a method it does not know
        return await self._initialize(credentials)

    async def _initialize(self, credentials: Mapping[str, str]) -> _Session:
        session = _Session("")
        params = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": dict(self.client_info)}
        result = await self._exchange(session, "initialize", params, credentials, {})
        version = result.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise _broken(f"it speaks an unknown version of MCP ({str(version)[:20]})")
        session.version = version
        await self._notify(session, credentials)
        return session

    async def _notify(self, session: _Session, credentials: Mapping[str, str]) -> None:
        body = strict_json.dump({"jsonrpc": "2.0", "method": "notifications/initialized"})
        async with self._sending(body, self._headers(session, "", {}, credentials)) as response:
            if response.status_code >= 400:
                raise _broken(f"it refused the handshake (HTTP {response.status_code})")

    async def _exchange(
        self,
        session: _Session,
        method: str,
        params: dict[str, Any],
        credentials: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        self._last_id += 1
        request_id = self._last_id
        if session.is_modern:
            params = {**params, "_meta": self._meta()}
        body = strict_json.dump({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        async with self._sending(body, self._headers(session, method, headers, credentials)) as response:
            message = await _message(response, request_id, has_session=bool(session.session_id))
            if method == "initialize":
                session.session_id = response.headers.get(SESSION_HEADER, "")
        return message

    def _meta(self) -> dict[str, Any]:
        return {
            PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
            CLIENT_CAPABILITIES_META_KEY: {},
            CLIENT_INFO_META_KEY: dict(self.client_info),
        }

    def _headers(
        self, session: _Session, method: str, extra: Mapping[str, str], credentials: Mapping[str, str]
    ) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if session.version:
            headers[MCP_PROTOCOL_VERSION_HEADER] = session.version
        if session.is_modern:
            headers |= {MCP_METHOD_HEADER: method, **extra}
        if session.session_id:
            headers[SESSION_HEADER] = session.session_id
        return {**headers, **credentials}

    def _sending(self, body: bytes, headers: dict[str, str]) -> "_Sending":
        return _Sending(self._client, self.url, body, headers)


class _ServerError(UpstreamError):
    """The server answered with an error of its own."""


class _SessionEnded(Exception):
    """The server does not know our session any more."""


_TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, EgressRefused, OSError)


class _Sending:
    """One POST with every way to fail turned into `UpstreamError`, with the truth about whether bytes may have left."""

    def __init__(self, client: httpx2.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> None:
        self._stream = client.stream("POST", url, content=body, headers=headers)

    async def __aenter__(self) -> httpx2.Response:
        try:
            return await self._stream.__aenter__()
        except _TRANSPORT_ERRORS as error:
            raise _translated(error) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stream.__aexit__(kind, error, trace)
        except _TRANSPORT_ERRORS as failure:
            if error is None:
                raise _translated(failure) from None
        if isinstance(error, _TRANSPORT_ERRORS):
            raise _translated(error) from None


def _translated(error: Exception) -> UpstreamError:
    """What a transport error means for the call: why, and whether the request may have arrived."""
    if isinstance(error, EgressRefused):
        if error.rule == "too_large":
            return UpstreamError(f"The tool's answer is too large: {error.message}", rule="result.too_large", sent=True)
        return UpstreamError(error.message, rule=f"egress.{error.rule}", sent=error.rule in {"redirect", "compressed"})
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return UpstreamError("The tool's server cannot be reached.", rule="upstream.unreachable", sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamError("The tool's server did not answer in time.", rule="upstream.timeout", sent=True)
    return UpstreamError("The connection to the tool's server broke.", rule="upstream.broken", sent=True)


async def _message(response: httpx2.Response, request_id: int, *, has_session: bool) -> dict[str, Any]:
    """The result of the JSON-RPC response to `request_id`."""
    if response.status_code == 404 and has_session:
        raise _SessionEnded
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream" and response.status_code < 400:
        return await _from_events(response, request_id)
    if kind != "application/json":
        raise _http_error(response.status_code, kind)
    message = await _parsed(await response.aread())
    if response.status_code >= 400 and not (isinstance(message, dict) and "error" in message):
        raise _http_error(response.status_code, kind)
    result = _result(message, request_id)
    if result is None:
        raise _broken("it answered something else than the response")
    return result


async def _from_events(response: httpx2.Response, request_id: int) -> dict[str, Any]:
    async for data in _events(response):
        result = _result(await _parsed(data), request_id)
        if result is not None:
            return result
    raise _broken("its stream ended without the response")


_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


async def _events(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The data of each event of a text/event-stream. Each byte is searched once, however small the pieces it comes in."""
    buffer, searched, count = bytearray(), 0, 0
    async for chunk in response.aiter_raw():
        buffer += chunk
        while end := _EVENT_END.search(buffer, searched):
            count += 1
            if count > MOST_EVENTS:
                raise _broken(f"it sent more than {MOST_EVENTS} events before its response")
            event, ends_at, searched = bytes(buffer[: end.start()]), end.end(), 0
            del end, buffer[:ends_at]
            if data := _data(event):
                yield data
        # The end of an event may have begun in the last three bytes.
        searched = max(0, len(buffer) - 3)


def _data(event: bytes) -> bytes:
    lines = (line for line in re.split(rb"\r\n|\n|\r", event) if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


async def _parsed(data: bytes) -> Any:
    try:
        return await off_loop(strict_json.parse, data) if len(data) > MOST_BYTES_AT_ONCE else strict_json.parse(data)
    except strict_json.Malformed as error:
        raise _broken(f"its answer is {error}") from None


def _result(message: Any, request_id: int) -> dict[str, Any] | None:
    """The result that belongs to our request; None for a notification, which is dropped."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise _broken("its answer is not one JSON-RPC message")
    if "method" in message:
        if "id" in message:
            raise _broken(f"it asked something of the caller ({str(message['method'])[:40]}), which no server may")
        return None
    # The type too: 1, 1.0, "1" and True are different ids.
    if type(message.get("id")) is not int or message["id"] != request_id:
        if "error" in message and message.get("id") is None:
            raise _error(message["error"])
        raise _broken("it answered another request than ours")
    if "error" in message:
        raise _error(message["error"])
    result = message.get("result")
    if not isinstance(result, dict):
        raise _broken("its response has no result")
    return result


def _error(error: Any) -> UpstreamError:
    code = error.get("code") if isinstance(error, dict) else None
    # The server's own words are a stranger's and may hold what we injected: they are not passed on.
    return _ServerError(
        f"The tool's server answered with an error (code {code if isinstance(code, int) else 'unknown'}).",
        rule="upstream.error",
        sent=code not in REFUSALS,
    )


def _http_error(status: int, kind: str) -> UpstreamError:
    if status in {401, 403}:
        return _ServerError(
            f"The tool's server refused our credential (HTTP {status}).", rule="upstream.credential", sent=False
        )
    what = f"HTTP {status}" if status >= 400 else f"content of type {kind[:60] or 'unknown'}"
    return _ServerError(
        f"The tool's server answered with {what}.", rule="upstream.error", sent=status not in NOT_RUN_STATUSES
    )


def _broken(what: str, *, sent: bool = True) -> UpstreamError:
    return UpstreamError(f"The tool's server breaks the protocol: {what}.", rule="upstream.protocol", sent=sent)


def _answer(result: dict[str, Any]) -> Answer:
    if result.get("resultType", "complete") != "complete":
        raise _broken("it wants input from the caller, which is not passed on")
    content = result.get("content", [])
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise _broken("its content is not a list of items")
    if len(content) > MOST_CONTENT_ITEMS:
        raise UpstreamError(
            f"The tool's answer has {len(content)} items; at most {MOST_CONTENT_ITEMS} are taken.",
            rule="result.too_many_items",
            sent=True,
        )
    is_error = result.get("isError", False)
    return Answer([_item(item) for item in content], result.get("structuredContent"), is_error is not False)


def _item(item: dict[str, Any]) -> dict[str, Any]:
    """The item without what is neither shown nor checked."""
    kind = item.get("type")
    if kind not in CONTENT_TYPES:
        raise _broken(f"it sent content of an unknown type ({str(kind)[:40]})")
    if kind == "text" and not isinstance(item.get("text"), str):
        raise _broken("a text item holds no text")
    return {key: _shown(value) for key, value in item.items() if key not in _NOT_SHOWN}


_NOT_SHOWN = frozenset({"_meta", "annotations"})


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items() if key not in _NOT_SHOWN}
    return [_shown(item) for item in value] if isinstance(value, list) else value
