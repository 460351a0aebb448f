"""Which key of the log followed which: six lines that the old key signs (docs/audit-format.md, Rotation). Pure.

Whoever trusts the old key may trust the new one by them, and by nothing else that says so (T30).
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from audit.notes import AnyVerifier, BadNote, Ed25519Verifier, LogKey, MldsaVerifier

HEADER = "provenance-rotation-v1"
OVERLAP = timedelta(days=30)
"""How long the old key signs beside the new one: as long as somebody may be without the rotation."""
LARGEST_BYTES = 16_384
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_PUBLIC_BYTES = {Ed25519Verifier.kind: 32, MldsaVerifier.kind: 1312}


@dataclass(frozen=True, slots=True)
class Succession:
    """One key that followed another of its kind. `old` and `new`: type byte and public key."""

    installation: str
    old: bytes
    new: bytes
    until: datetime
    signature: bytes = b""

    @classmethod
    def signed_by(cls, old: LogKey, new: LogKey, installation: str, until: datetime) -> Self:
        """What the old key says of the new one."""
        made = cls(installation, _material(old), _material(new), until.astimezone(UTC))
        return replace(made, signature=old.sign(made.signed.encode()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` gave. Raises `BadNote`."""
        try:
            header, installation, old, new, until, signature, rest = text.split("\n")
            found = cls(
                installation,
                base64.b64decode(old, validate=True),
                base64.b64decode(new, validate=True),
                datetime.strptime(until, _TIME).replace(tzinfo=UTC),
                base64.b64decode(signature, validate=True),
            )
        except (ValueError, binascii.Error) as error:
            raise BadNote("this is no rotation of six lines") from error
        if header != HEADER or rest or found.text != text or len(text) > LARGEST_BYTES:
            raise BadNote("this is no rotation of six lines")
        if found.old[:1] != found.new[:1] or any(len(key) != _length(key) for key in (found.old, found.new)):
            raise BadNote("a rotation is from one key to another of its kind")
        return found

    @property
    def signed(self) -> str:
        """The lines under the signature."""
        keys = (base64.b64encode(key).decode() for key in (self.old, self.new))
        return "\n".join([HEADER, self.installation, *keys, self.until.strftime(_TIME), ""])

    @property
    def text(self) -> str:
        """All six lines."""
        return f"{self.signed}{base64.b64encode(self.signature).decode()}\n"

    def holds(self) -> bool:
        """Whether the old key signed it."""
        kind = Ed25519PublicKey if self.old[0] == Ed25519Verifier.kind else MLDSA44PublicKey
        try:
            kind.from_public_bytes(self.old[1:]).verify(self.signature, self.signed.encode())
        except InvalidSignature:
            return False
        return True


def followed(trusted: Iterable[AnyVerifier], rotations: Iterable[Succession]) -> list[AnyVerifier]:
    """The trusted keys, and those that followed them by rotations that they signed themselves. `rotations`: oldest first.

    Raises `BadNote` when a rotation names a trusted key as the old one and that key did not sign it.
    """
    known = list(trusted)
    for rotation in rotations:
        for key in [key for key in known if _follows(key, rotation)]:
            if not rotation.holds():
                raise BadNote(f"a rotation claims to be signed by the key {key.id.hex()} of {key.name}, and is not")
            known.append(type(key)(key.name, rotation.new[1:]))
    return known


def _follows(key: AnyVerifier, rotation: Succession) -> bool:
    return bytes([key.kind]) + key.public == rotation.old and key.name.startswith(f"{rotation.installation}/")


def _material(key: LogKey) -> bytes:
    return bytes([key.kind]) + key.public


def _length(key: bytes) -> int:
    return 1 + _PUBLIC_BYTES.get(key[0] if key else 0, -2)
