"""Receivers of streams, on loopback: a real TLS syslog server and a real mail relay, and a fake of an S3 bucket."""

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.fakes.certificates import CertificateAuthority
from tests.fakes.http_server import Connection, HttpServer, Received, serving


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own: its certificate, and a server context for 127.0.0.1."""

    pem: str
    server: ssl.SSLContext


def authority(directory: Path, name: str = "127.0.0.1") -> Authority:
    """A new one, with a server of that address."""
    ca = CertificateAuthority("receivers of the tests")
    leaf, key = ca.issue(name, x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
    chain, private = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    return Authority(ca.certificate.public_bytes(serialization.Encoding.PEM).decode(), server)


# --- Syslog ----------------------------------------------------------------------------------------------------------


@dataclass
class SyslogServer:
    """Keeps what each TLS session brought, as bytes."""

    port: int
    sessions: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    @property
    def messages(self) -> list[str]:
        """Every message, by the octet counts of RFC 5425 alone."""
        return [message for session in self.sessions for message in frames(session)]


def frames(data: bytes) -> list[str]:
    """The messages of octet-counted frames; fails where a count is wrong."""
    found = []
    while data:
        length, _, rest = data.partition(b" ")
        assert length.isdigit(), data[:40]
        assert len(rest) >= int(length), "cut off"
        found.append(rest[: int(length)].decode())
        data = rest[int(length) :]
    return found


@contextmanager
def syslog_server(tls: ssl.SSLContext, *, port: int = 0, confirms: bool = True) -> Iterator[SyslogServer]:
    """A receiver that reads to the end of the session and ends it as RFC 5425 says; or cuts it off (`confirms`)."""

    def talk(raw: socket.socket) -> None:
        stream = tls.wrap_socket(raw, server_side=True)
        data = b""
        while chunk := stream.recv(65536):
            data += chunk
        if confirms:
            # Before the sender is told, for then the test goes on.
            server.sessions.append(data)
            stream.unwrap().close()
        else:
            stream.close()

    with _accepting(talk, port) as bound:
        server = SyslogServer(bound)
        yield server


# --- S3 --------------------------------------------------------------------------------------------------------------


@dataclass
class FakeBucket:
    """A fake of an S3-compatible store: it takes PUT, checks the body's hash and remembers every version of an object."""

    server: HttpServer
    objects: dict[str, list[bytes]] = field(default_factory=dict)
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def fake_bucket(tls: ssl.SSLContext) -> Iterator[FakeBucket]:
    """The fake on a free port."""

    def handle(connection: Connection, request: Received) -> None:
        method, path, _ = request.line.split(" ")
        if method != "PUT" or hashlib.sha256(request.body).hexdigest() != request.headers["x-amz-content-sha256"]:
            connection.answer(status="400 Bad Request")
            return
        bucket.objects.setdefault(path, []).append(request.body)
        bucket.authorizations.append(request.headers["authorization"])
        connection.answer()

    with serving(handle, tls=tls) as server:
        bucket = FakeBucket(server)
        yield bucket


# --- Mail ------------------------------------------------------------------------------------------------------------


@dataclass
class Relay:
    """A small mail relay; refuses addresses that hold `refused`."""

    port: int
    mails: list[tuple[list[str], str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


@contextmanager
def relay() -> Iterator[Relay]:
    """RFC 5321, as much of it as one mail needs."""

    def talk(raw: socket.socket) -> None:
        to: list[str] = []
        with raw, raw.makefile("rb") as lines:
            raw.sendall(b"220 relay\r\n")
            for line in iter(lines.readline, b""):
                verb = line[:4].upper()
                answer = b"250 ok\r\n"
                if verb == b"RCPT":
                    to.append(line.partition(b"<")[2].partition(b">")[0].decode())
                    answer = b"550 no\r\n" if "refused" in to[-1] else answer
                elif verb == b"DATA":
                    raw.sendall(b"354 go on\r\n")
                    text = b"".join(iter(lines.readline, b".\r\n"))
                    server.mails.append((to, text.decode()))
                elif verb == b"QUIT":
                    raw.sendall(b"221 bye\r\n")
                    return
                raw.sendall(answer)

    with _accepting(talk) as port:
        server = Relay(port)
        yield server


@contextmanager
def _accepting(talk: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A listener on loopback that has each connection handled in a thread, until the end of the block."""
    listener = socket.create_server(("127.0.0.1", port))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(raw: socket.socket) -> None:
        with suppress(OSError), raw:
            talk(raw)

    def accept() -> None:
        with suppress(OSError):
            while True:
                raw, _ = listener.accept()
                connections.append(raw)
                threads.append(threading.Thread(target=handle, args=(raw,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        for each in (listener, *connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join(timeout=5)
