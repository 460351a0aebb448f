"""A time stamp authority on loopback: OpenSSL's own (`openssl ts -reply`), under a certificate authority of a test's own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.fakes.certificates import CertificateAuthority
from tests.fakes.http_server import Connection, HttpServer, Received, serving

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {directory}/serial
signer_cert = {directory}/tsa.pem
signer_key = {directory}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.13762.3
digests = {digests}
"""


@dataclass
class Authority:
    """Where its files lie, and how a request is changed before it is answered."""

    directory: Path
    server: HttpServer = field(init=False)
    before: Callable[[bytes], bytes] = lambda query: query
    # What is sent instead of an answer to the request.
    says: bytes | None = None
    answers: list[bytes] = field(default_factory=list)
    hangs: bool = False

    @property
    def url(self) -> str:
        return f"{self.server.url}/tsr"

    @property
    def ca(self) -> Path:
        """The certificate that its answers lead to."""
        return self.directory / "ca.pem"

    def digests(self, names: str) -> None:
        """What it stamps; anything else it rejects."""
        (self.directory / "tsa.cnf").write_text(_CONFIG.format(directory=self.directory, digests=names))

    def handle(self, connection: Connection, request: Received) -> None:
        if self.hangs:
            connection.pause(600)
            return
        assert request.headers["content-type"] == "application/timestamp-query"
        self.answers.append(self.reply(self.before(request.body)) if self.says is None else self.says)
        connection.answer(self.answers[-1], Content_Type="application/timestamp-reply")

    def reply(self, query: bytes) -> bytes:
        (self.directory / "query").write_bytes(query)
        files = ("-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
        # It says by its exit code that it rejected something, and writes the answer all the same.
        subprocess.run(["openssl", "ts", "-reply", *files], cwd=self.directory, capture_output=True, check=False)
        return (self.directory / "reply").read_bytes()


@contextmanager
def stamping(directory: Path) -> Iterator[Authority]:
    """A new authority, listening."""
    directory.mkdir(parents=True, exist_ok=True)
    ca = CertificateAuthority("authority of the tests")
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    leaf, key = ca.issue("time stamps", usage, critical=True)
    (directory / "ca.pem").write_bytes(ca.certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "tsa.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "tsa.key").write_bytes(key.private_bytes(pem, form, plain))
    (directory / "serial").write_text("01")
    authority = Authority(directory)
    authority.digests("sha256")
    with serving(authority.handle) as authority.server:
        yield authority
