"""Certificates of the tests' own authorities. They hold for an hour."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import NameOID


class CertificateAuthority:
    """A new one; `certificate` is its own, with which it can be trusted."""

    def __init__(self, name: str) -> None:
        self._name, self._key = _named(name), ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), True)

    def issue(
        self, name: str, extension: x509.ExtensionType, *, critical: bool
    ) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        """A certificate for this name that says what it is for, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._signed(_named(name), key, extension, critical), key

    def _signed(self, subject, key, extension, critical):
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(extension, critical=critical)
            .sign(self._key, hashes.SHA256())
        )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
