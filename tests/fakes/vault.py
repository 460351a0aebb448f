"""A fake Vault: the few endpoints of KV v2 and transit that we call, over real HTTP, with real Ed25519 keys in it.

A fake and no Vault: it keeps everything in memory, knows one token, and takes policies from a set of denied paths.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fakes.http_server import Connection, HttpServer, Received, serving

TOKEN = "token-of-a-test"


@dataclass
class FakeVault:
    """What it holds, and how it misbehaves."""

    secrets: dict[str, tuple[dict[str, str], int]] = field(default_factory=dict)
    transit: list[Ed25519PrivateKey] = field(default_factory=lambda: [Ed25519PrivateKey.generate()])
    facts: dict[str, Any] = field(default_factory=lambda: {"type": "ed25519", "exportable": False})
    denied: set[str] = field(default_factory=set)
    is_sealed: bool = False
    raw_answer: bytes | None = None
    signs_with: Ed25519PrivateKey | None = None
    server: HttpServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def put(self, path: str, **fields: str) -> None:
        """A secret, as `vault kv put` leaves it."""
        self.secrets[path] = (fields, self.secrets.get(path, ({}, 0))[1] + 1)

    def answer(self, request: Received) -> tuple[str, dict[str, Any]]:
        method, address, _ = request.line.split(" ")
        path = address.removeprefix("/v1/")
        if self.is_sealed:
            return "503 Sealed", {"errors": ["Vault is sealed"]}
        if request.headers.get("x-vault-token") != TOKEN or path in self.denied:
            return "403 Forbidden", {"errors": ["permission denied"]}
        body = json.loads(request.body) if request.body else {}
        if "/data/" in path:
            return self._kv(method, path.replace("/data/", "/"), body)
        return self._transit(path, body)

    def _kv(self, method: str, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if method == "GET":
            if path not in self.secrets:
                return "404 Not Found", {"errors": []}
            fields, version = self.secrets[path]
            return "200 OK", {"data": {"data": fields, "metadata": {"version": version}}}
        version = self.secrets.get(path, ({}, 0))[1]
        if body["options"]["cas"] != version:
            return "400 Bad Request", {"errors": ["check-and-set parameter did not match the current version"]}
        self.put(path, **body["data"])
        return "200 OK", {"data": {"version": version + 1}}

    def _transit(self, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if path == "transit/keys/provenance-log":
            keys = {str(number): {"public_key": _public(key)} for number, key in enumerate(self.transit, start=1)}
            return "200 OK", {"data": {**self.facts, "keys": keys}}
        if path == "transit/keys/provenance-log/rotate":
            self.transit.append(Ed25519PrivateKey.generate())
            return "200 OK", {"data": {}}
        if path == "transit/sign/provenance-log":
            number = body["key_version"]
            signature = (self.signs_with or self.transit[number - 1]).sign(base64.b64decode(body["input"]))
            return "200 OK", {"data": {"signature": f"vault:v{number}:{base64.b64encode(signature).decode()}"}}
        return "404 Not Found", {"errors": []}


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


@contextmanager
def fake_vault() -> Iterator[FakeVault]:
    """One that listens on loopback."""
    fake = FakeVault()

    def handle(connection: Connection, request: Received) -> None:
        if fake.raw_answer is not None:
            connection.answer(fake.raw_answer)
            return
        status, body = fake.answer(request)
        connection.answer(json.dumps(body).encode(), status)

    with serving(handle) as fake.server:
        yield fake
