"""A time stamp authority on loopback: OpenSSL's own (`openssl ts -reply`), under a certificate authority of a test's own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = [ExtendedKeyUsageOID.TIME_STAMPING]
    ca, name = _name("authority of the tests"), _name("time stamps")
    root = _certificate(ca, ca_key.public_key(), ca, ca_key, (x509.BasicConstraints(ca=True, path_length=0), True))
    leaf = _certificate(name, key.public_key(), ca, ca_key, (x509.ExtendedKeyUsage(usage), True))
    (directory / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (directory / "tsa.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "tsa.key").write_bytes(key.private_bytes(pem, form, plain))
    (directory / "serial").write_text("01")
    authority = Authority(directory)
    authority.digests("sha256")
    with serving(authority.handle) as authority.server:
        yield authority


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, public_key, issuer, issuer_key, extension):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(*extension)
        .sign(issuer_key, hashes.SHA256())
    )
