"""A small real witness of c2sp.org/tlog-witness on loopback. A fake in that nobody independent runs it.

It shares no code with the log: notes, keys and consistency proofs (RFC 9162, 2.1.4.2) are read by its own lines here.
"""

import base64
import hashlib
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.fakes.http_server import Connection, HttpServer, Received, serving

NAME = "witness.test/w1"


@dataclass
class FakeWitness:
    """What it trusts, what it saw last, and with what it signs."""

    # Origin -> the raw Ed25519 key of the log
    logs: dict[str, bytes]
    ed25519: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(b"w" * 32))
    mldsa: MLDSA44PrivateKey = field(default_factory=lambda: MLDSA44PrivateKey.from_seed_bytes(b"w" * 32))
    seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: int = 0
    # Makes it sign what it did not see.
    lies: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: HttpServer | None = None

    @property
    def vkeys(self) -> list[str]:
        return [
            vkey(NAME, 4, self.ed25519.public_key().public_bytes_raw()),
            vkey(NAME, 6, self.mldsa.public_key().public_bytes_raw()),
        ]

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"{self.server.url}/submit"

    def handle(self, connection: Connection, request: Received) -> None:
        self.asked += 1
        with self.lock:
            status, body, kind = self.judge(request)
        connection.answer(body.encode(), status, Content_Type=kind)

    def judge(self, request: Received) -> tuple[str, str, str]:
        assert request.line == "POST /submit/add-checkpoint HTTP/1.1"
        head, _, note = request.body.decode().partition("\n\n")
        first, *proof = head.split("\n")
        text, _, signatures = note.partition("\n\n")
        text += "\n"
        origin, size_text, root_text = text.splitlines()[:3]
        old, size, root = int(first.removeprefix("old ")), int(size_text), base64.b64decode(root_text)
        if origin not in self.logs:
            return "404 Not Found", "", "text/plain"
        if not self.is_signed(origin, text, signatures):
            return "403 Forbidden", "", "text/plain"
        if old > size or len(proof) > 63:
            return "400 Bad Request", "", "text/plain"
        seen_size, seen_root = self.seen.get(origin, (0, b""))
        if old != seen_size:
            return "409 Conflict", f"{seen_size}\n", "text/x.tlog.size"
        hashes = [base64.b64decode(line) for line in proof]
        if not is_consistent(old, seen_root, size, root, hashes):
            return "422 Unprocessable Entity", "", "text/plain"
        self.seen[origin] = (size, root)
        return "200 OK", self.cosign(origin, size, root, "another" if self.lies else text), "text/plain"

    def is_signed(self, origin: str, text: str, signatures: str) -> bool:
        public = self.logs[origin]
        key_id = hashlib.sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
        for line in signatures.splitlines():
            _dash, name, encoded = line.split(" ")
            material = base64.b64decode(encoded)
            if (name, material[:4]) == (origin, key_id):
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(material[4:], text.encode())
                except InvalidSignature:
                    return False
                return True
        return False

    def cosign(self, origin: str, size: int, root: bytes, text: str) -> str:
        now = int(time.time())
        stamp = struct.pack(">Q", now)
        first = self.ed25519.sign(f"cosignature/v1\ntime {now}\n{text}".encode())
        message = b"subtree/v1\n\0" + bytes([len(NAME)]) + NAME.encode() + stamp
        message += bytes([len(origin)]) + origin.encode() + struct.pack(">QQ", 0, size) + root
        lines = "— witness.test/stranger AAAAAQID\n"
        for kind, public, signature in (
            (4, self.ed25519.public_key().public_bytes_raw(), first),
            (6, self.mldsa.public_key().public_bytes_raw(), self.mldsa.sign(message)),
        ):
            encoded = base64.b64encode(key_id_of(NAME, kind, public) + stamp + signature).decode()
            lines += f"— {NAME} {encoded}\n"
        return lines


@contextmanager
def witnessing(logs: dict[str, bytes]) -> Iterator[FakeWitness]:
    """A witness that knows these logs, listening."""
    witness = FakeWitness(logs)
    with serving(witness.handle) as witness.server:
        yield witness


def key_id_of(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def vkey(name: str, kind: int, public: bytes) -> str:
    return f"{name}+{key_id_of(name, kind, public).hex()}+{base64.b64encode(bytes([kind]) + public).decode()}"


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2, word for word."""
    if first in {0, second}:
        return not path and (first == 0 or first_root == second_root)
    if not path:
        return False
    if first & (first - 1) == 0:
        path = [first_root, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hashlib.sha256(b"\1" + c + fr).digest()
            sr = hashlib.sha256(b"\1" + c + sr).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\1" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return fr == first_root and sr == second_root and sn == 0
