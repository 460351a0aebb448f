"""Raw ASGI without a framework: read one bounded request, write one answer. The edge that every door here shares."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from provenance import strict_json
from provenance.errors import ProvenanceError, problem_details
from provenance.ids import uuid7

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_HEADER_BYTES = 8_192
SINGLE_HEADERS = frozenset(
    {"host", "origin", "authorization", "x-api-key", "content-length", "content-type", "transfer-encoding"}
    | {"mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"}
)


class Refused(ProvenanceError):
    """The request is not served."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ClientGone(Exception):
    """The client hung up."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request whose edge has been checked: method, path, single-valued headers, peer."""

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str
    receive: Receive
    request_id: str

    async def body(self, most_bytes: int) -> bytes:
        """The whole body; 413 as soon as it is larger than allowed, whatever its declared length says."""
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most_bytes:
            raise _too_large(most_bytes)
        data = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            data += message.get("body", b"")
            if len(data) > most_bytes:
                raise _too_large(most_bytes)
            if not message.get("more_body", False):
                return bytes(data)

    async def json(self, most_bytes: int) -> Any:
        """The body as strict JSON: no duplicate keys, no NaN, bounded depth."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "not_json", "Send the body as application/json.")
        try:
            return strict_json.parse(await self.body(most_bytes))
        except strict_json.Malformed as error:
            raise Refused(400, "malformed", f"The body is not valid JSON: {error}.") from None

    @property
    def bearer(self) -> str:
        """The bearer token; "" without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


def request_of(scope: Scope, receive: Receive) -> Request:
    """The request, unless a header that decides something stands in it twice or is oversized."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if len(value) > LONGEST_HEADER_BYTES:
            raise Refused(431, "header_too_large", f"The header {name[:60]} is too long.")
        if name in headers:
            # First-copy and last-copy readers would disagree, and one of them may stand in front of us (row 15).
            if _decides(name):
                raise Refused(400, "duplicate_header", f"The header {name[:60]} appears twice.")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    peer = scope["client"][0] if scope.get("client") else ""
    return Request(scope["method"], scope["path"], headers, peer, receive, request_id_of(scope))


def request_id_of(scope: Scope) -> str:
    """The caller's own id of the request when it is a plain one, so that both sides' logs meet; else a new one."""
    if "request_id" not in scope:
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        is_plain = 8 <= len(given) <= 64 and given.isascii() and given.replace("-", "").isalnum()
        scope["request_id"] = given if is_plain else str(uuid7())
    return str(scope["request_id"])


def check_host(request: Request, allowed: Iterable[str]) -> None:
    """Refuse a Host that is not ours: what DNS rebinding needs (gateway.md 5, row 7)."""
    host = _host_name(f"//{request.headers.get('host', '')}")
    if host not in {name.strip("[]") for name in allowed}:
        raise Refused(421, "host_not_served", "This host name is not served here.")


def check_origin(request: Request, allowed: Iterable[str]) -> None:
    """Refuse a browser page of another origin. Programs send no Origin and pass."""
    origin = request.headers.get("origin")
    if origin is not None and _host_name(origin) not in {name.strip("[]") for name in allowed}:
        raise Refused(403, "origin_not_allowed", "Requests from pages of other origins are not served.")


async def send_json(send: Send, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
    """Answer with JSON."""
    await send_bytes(send, status, strict_json.dump(value), {"content-type": "application/json", **(headers or {})})


async def send_bytes(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer with a whole body."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": _encoded({**headers, "content-length": str(len(body))}),
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_stream(send: Send, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
    """Answer with a body as it comes."""
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    async for chunk in chunks:
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_problem(send: Send, error: ProvenanceError, request_id: str) -> None:
    """Answer with `application/problem+json` (RFC 9457), as the REST API does."""
    body = strict_json.dump(problem_details(error, request_id))
    await send_bytes(send, error.status, body, {"content-type": "application/problem+json"})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    safe = {"cache-control": "no-store", "x-content-type-options": "nosniff", **headers}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in safe.items()]


def _decides(name: str) -> bool:
    return name in SINGLE_HEADERS or name.startswith("mcp-param-")


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _too_large(most_bytes: int) -> Refused:
    return Refused(413, "too_large", f"The body is larger than {most_bytes} bytes.")
