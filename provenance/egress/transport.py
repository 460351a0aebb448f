"""What stands under a client of the door: it connects to the address that was checked and holds every limit."""

import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import anyio
import anyio.to_thread
import httpcore2
import httpx2

from provenance.addresses import Address
from provenance.egress.destinations import Destination, EgressRefused, checked_host, lookup, refused

_SOCKET_OPTIONS = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),)


class Door(Protocol):
    """What the transport asks of the door it belongs to."""

    @property
    def total_seconds(self) -> float:
        """For a whole exchange, from connecting to the last byte."""

    @property
    def max_response_bytes(self) -> int:
        """For the body of an answer."""

    @property
    def authorities(self) -> str:
        """Certificates (PEM) that servers are checked against instead of the public authorities; "" for those."""

    def check(self, url: str | httpx2.URL) -> Destination:
        """The target of the URL, unless scheme or name already forbid it."""

    def admit(self, target: Destination, found: Iterable[Address]) -> tuple[Address, ...]:
        """The addresses found for a target, when all may be called."""


class DeadlineExceeded(httpx2.TimeoutException):
    """The whole exchange took longer than this door allows, however lively each part of it was."""


@functools.cache
def _tls() -> ssl.SSLContext:
    # One for the process: loading the authorities costs 30 ms of CPU and a megabyte each time.
    return httpx2.create_ssl_context()


@functools.lru_cache(maxsize=64)
def _tls_of(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise EgressRefused("authorities", "The certificates of the authority are not PEM.") from None


def tls_context(authorities: str) -> ssl.SSLContext:
    """What servers are checked against: exactly these authorities (PEM), or the public ones."""
    return _tls_of(authorities) if authorities else _tls()


# The moment (monotonic seconds) at which the exchange that this thread works on ends.
_ends_at: ContextVar[float | None] = ContextVar("egress_ends_at", default=None)


def _remaining(timeout: float | None) -> float | None:
    """The shorter of a timeout and what is left of the exchange. A drip of single bytes cannot outlive the latter."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout
    left = ends_at - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("The exchange took longer than it may.")
    return left if timeout is None else min(timeout, left)


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which no operation outlives the exchange."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _remaining(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Connects to the address that was checked, never to a name: between check and use nobody is asked again."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        target = Destination("tcp", checked_host(host), port)
        addresses = self._door.admit(target, lookup(target))
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # the next address of the same name
        return self._connect(addresses[-1], port, timeout)

    def _connect(self, address: Address, port: int, timeout: float | None) -> httpcore2.NetworkStream:
        stream = self._plain.connect_tcp(str(address), port, _remaining(timeout), socket_options=_SOCKET_OPTIONS)
        return _TimedStream(stream)


class _AsyncBackend(httpcore2.AsyncNetworkBackend):
    """The same as `_Backend` for asyncio; the deadline is a cancel scope around the exchange."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        target = Destination("tcp", checked_host(host), port)
        found = await anyio.to_thread.run_sync(lookup, target, abandon_on_cancel=True)
        addresses = self._door.admit(target, found)
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # the next address of the same name
        return await self._connect(addresses[-1], port, timeout)

    async def _connect(self, address: Address, port: int, seconds: float | None) -> httpcore2.AsyncNetworkStream:
        return await self._plain.connect_tcp(str(address), port, seconds, socket_options=_SOCKET_OPTIONS)


class _Exchange:
    """The limits of one request and its answer."""

    def __init__(self, door: Door, request: httpx2.Request) -> None:
        self.target = door.check(request.url)
        self.ends_at = time.monotonic() + door.total_seconds
        self._left_bytes = self._max_bytes = door.max_response_bytes
        request.headers["Accept-Encoding"] = "identity"

    def check_head(self, response: httpx2.Response) -> None:
        """Refuse an answer whose status or headers already break a rule; drop its cookies."""
        if response.is_redirect:
            raise refused("redirect", self.target, f"it answered with a redirect ({response.status_code})")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise refused("compressed", self.target, "it sent a compressed answer although none was accepted")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large()
        # A client serves many calls: a cookie set for one must not ride on the next.
        response.headers.pop("Set-Cookie", None)

    def count(self, chunk: bytes) -> bytes:
        """The chunk, unless the body is now larger than it may be."""
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            raise self._too_large()
        return chunk

    def _too_large(self) -> EgressRefused:
        return refused("too_large", self.target, f"its answer is larger than {self._max_bytes} bytes")


class _Body(httpx2.SyncByteStream):
    """A response body under the limits of its exchange."""

    def __init__(self, stream: httpx2.SyncByteStream, exchange: _Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            # Set around each step, not around the loop: between the steps the thread belongs to the consumer.
            token = _ends_at.set(self._exchange.ends_at)
            try:
                chunk = next(chunks, None)
            finally:
                _ends_at.reset(token)
            if chunk is None:
                return
            yield self._exchange.count(chunk)

    def close(self) -> None:
        self._stream.close()


class _AsyncBody(httpx2.AsyncByteStream):
    """The same as `_Body` for asyncio."""

    def __init__(self, stream: httpx2.AsyncByteStream, exchange: _Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            chunk = await _within(self._exchange, anext, chunks, None)
            if chunk is None:
                return
            yield self._exchange.count(chunk)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _within(exchange: _Exchange, function: Any, *arguments: Any) -> Any:
    with anyio.move_on_after(exchange.ends_at - time.monotonic()) as scope:
        return await function(*arguments)
    assert scope.cancelled_caught  # noqa: S101  the only other way out of the block
    raise DeadlineExceeded("The exchange took longer than it may.")


class Transport(httpx2.HTTPTransport):
    """The door for ordinary code."""

    def __init__(self, door: Door) -> None:
        super().__init__(verify=tls_context(door.authorities), trust_env=False)
        self._door = door
        # httpx2 has no parameter for the network backend; the pool is where it belongs (pinned by a test).
        self._pool._network_backend = _Backend(door)  # noqa: SLF001  see above

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(self._door, request)
        token = _ends_at.set(exchange.ends_at)
        try:
            response = super().handle_request(request)
        finally:
            _ends_at.reset(token)
        assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101  what the parent class returns
        try:
            exchange.check_head(response)
        except EgressRefused:
            response.stream.close()
            raise
        response.stream = _Body(response.stream, exchange)
        return response


class AsyncTransport(httpx2.AsyncHTTPTransport):
    """The door for asyncio."""

    def __init__(self, door: Door) -> None:
        super().__init__(verify=tls_context(door.authorities), trust_env=False)
        self._door = door
        self._pool._network_backend = _AsyncBackend(door)  # noqa: SLF001  as in `Transport`

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(self._door, request)
        response: httpx2.Response = await _within(exchange, super().handle_async_request, request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  what the parent class returns
        try:
            exchange.check_head(response)
        except EgressRefused:
            await response.stream.aclose()
            raise
        response.stream = _AsyncBody(response.stream, exchange)
        return response
