"""A fake of an S3-compatible store with versions and Object Lock on loopback: what it locked, nothing takes away."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.http_server import Connection, HttpServer, Received, serving

BUCKET = "/anchors"


@dataclass
class Version:
    """One version of an object; without a body a delete marker."""

    id: str
    body: bytes | None
    headers: dict[str, str]


@dataclass
class LockedStore:
    """The versions of each key, the oldest first, and how it answers what it does not want."""

    objects: dict[str, list[Version]] = field(default_factory=dict)
    # Method -> status and code, for what it refuses.
    refuses: dict[str, tuple[str, str]] = field(default_factory=dict)
    # A bucket that was made without it takes the object and ignores the lock.
    locks: bool = True
    hangs: bool = False
    server: HttpServer = field(init=False)

    @property
    def url(self) -> str:
        return f"{self.server.url}{BUCKET}"

    def add(self, key: str, body: bytes | None, headers: dict[str, str] | None = None) -> str:
        versions = self.objects.setdefault(key, [])
        versions.append(Version(f"v{len(versions) + 1}", body, headers or {}))
        return versions[-1].id

    def handle(self, connection: Connection, request: Received) -> None:
        if self.hangs:
            connection.pause(600)
            return
        method, target, _ = request.line.split(" ")
        parts = urlsplit(target)
        key = unquote(parts.path.removeprefix(BUCKET).removeprefix("/"))
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        assert parts.path.startswith(BUCKET)
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
        if method in self.refuses:
            status, code = self.refuses[method]
            connection.answer(f"<Error><Code>{code}</Code></Error>".encode(), status)
        elif method == "PUT":
            self.put(connection, key, request)
        elif "versions" in query:
            connection.answer(self.listed(query["prefix"], int(query["max-keys"])))
        else:
            self.get(connection, method, key, query["versionId"])

    def put(self, connection: Connection, key: str, request: Received) -> None:
        digest = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
        if request.headers.get("content-md5") != digest:
            connection.answer(status="400 Bad Request")
            return
        lock = {name: value for name, value in request.headers.items() if name.startswith("x-amz-object-lock-")}
        connection.answer(x_amz_version_id=self.add(key, request.body, lock if self.locks else {}))

    def get(self, connection: Connection, method: str, key: str, version_id: str) -> None:
        (version,) = [one for one in self.objects[key] if one.id == version_id]
        headers = {name.replace("-", "_"): value for name, value in version.headers.items()}
        connection.answer(version.body if method == "GET" else b"", **headers)

    def listed(self, prefix: str, most: int) -> bytes:
        """As S3 lists them: keys in the order of their letters, of each the newest version first."""
        lines = [
            f"<{kind}><Key>{key}</Key><VersionId>{version.id}</VersionId></{kind}>"
            for key in sorted(self.objects)
            if key.startswith(prefix)
            for version in reversed(self.objects[key])
            for kind in ("DeleteMarker" if version.body is None else "Version",)
        ]
        kind = "ListVersionsResult"
        return f'<{kind} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(lines[:most])}</{kind}>'.encode()


@contextmanager
def locked_store() -> Iterator[LockedStore]:
    """The fake on a free port."""
    store = LockedStore()
    with serving(store.handle) as store.server:
        yield store
