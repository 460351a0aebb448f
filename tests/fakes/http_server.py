"""A small real HTTP server on loopback that answers as a test says, and remembers what it received."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None = None


@dataclass
class Connection:
    """The server's end of one connection, for answers that are not well-behaved."""

    socket: socket.socket
    stopping: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, body: bytes = b"", status: str = "200 OK", **headers: str) -> None:
        """A whole answer; header names are written with underscores."""
        fields = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    def pause(self, seconds: float) -> bool:
        """Wait, but not longer than the test runs; False when the test is over."""
        return not self.stopping.wait(seconds)


@dataclass
class HttpServer:
    """A running server."""

    port: int
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pair(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


@contextmanager
def serving(
    handle: Callable[[Connection, Received], None], tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[HttpServer]:
    """A server that calls `handle` for every request, one thread for each connection."""
    stopping = threading.Event()
    names: dict[int, str | None] = {}
    if tls is not None:
        tls.sni_callback = lambda sslsocket, name, _context: names.__setitem__(id(sslsocket), name)
    listener = socket.create_server(("127.0.0.1", port))
    server = HttpServer(listener.getsockname()[1])
    threads = []
    open_sockets = set()

    def accept() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                raw, _ = listener.accept()
                server.connections += 1
                thread = threading.Thread(target=talk, args=(raw,))
                threads.append(thread)
                thread.start()

    def talk(raw: socket.socket) -> None:
        with suppress(OSError), raw:
            stream = tls.wrap_socket(raw, server_side=True) if tls else raw
            open_sockets.add(stream)
            with stream, stream.makefile("rb") as reader:
                while not stopping.is_set() and (request := _read(reader)):
                    request.server_name = names.get(id(stream))
                    server.requests.append(request)
                    handle(Connection(stream, stopping), request)
            open_sockets.discard(stream)

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        stopping.set()
        for each in (listener, *open_sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join(timeout=5)


def _read(reader) -> Received | None:
    line = reader.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    headers = {}
    while header := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = header.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Received(line, headers, reader.read(int(headers.get("content-length", "0"))))
