"""Authenticated encryption and key derivation: AES-256-GCM, HKDF-SHA256, and key rings read from settings.

Keys are bytes in memory only. They come from files outside the database (`provenance.home`), and nothing in this module
puts one into a message, a repr or a log.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from provenance.errors import ProvenanceError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

# The first byte of everything sealed: a later algorithm gets another number, and old rows stay readable.
_AES_256_GCM = b"\x01"
_KEY_ID_INFO = b"provenance/key-id/v1"


class KeyMissing(ProvenanceError):
    """This process was not given a key that it needs."""

    code = "key_missing"
    status = 503
    title = "Key missing"


class Undecipherable(ProvenanceError):
    """The sealed bytes do not open: another key, another place, or changed since they were sealed."""

    code = "undecipherable"
    status = 500
    title = "Cannot be opened"


def new_key() -> bytes:
    """A fresh random 32-byte key."""
    return secrets.token_bytes(KEY_BYTES)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt and authenticate `plaintext` and authenticate `aad`, which is needed again to open it.

    The nonce is random: one key must seal fewer than 2^32 messages (NIST SP 800-38D), so derive or wrap a key per
    object or per workspace. Layout: version byte, nonce (12), ciphertext, tag (16).
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return _AES_256_GCM + nonce + AESGCM(_checked(key)).encrypt(nonce, plaintext, aad)


def open(key: bytes, sealed: bytes, aad: bytes) -> bytes:  # noqa: A001  the pair of `seal`; always called as crypto.open
    """The plaintext that `seal` was given. Raises `Undecipherable` unless key, bytes and `aad` are all the same."""
    start = len(_AES_256_GCM) + NONCE_BYTES
    if sealed[: len(_AES_256_GCM)] != _AES_256_GCM or len(sealed) < start + TAG_BYTES:
        raise Undecipherable
    try:
        return AESGCM(_checked(key)).decrypt(sealed[len(_AES_256_GCM) : start], sealed[start:], aad)
    except InvalidTag:
        # `from None`: what the library knows about the failure helps only someone who probes.
        raise Undecipherable from None


def derive(root: bytes, info: bytes) -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256). Another `info` gives an unrelated key."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(_checked(root))


def bind(*parts: str) -> bytes:
    """Associated data that names a place: each part with its length in front, so that no two places look the same."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys of one purpose by id: the current one seals, all of them open, so that a key can be rotated."""

    current_id: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str, name: str) -> "KeyRing":
        """The keys in `text`: 32 bytes in base64 each, one per line, the current one first.

        Raises `KeyMissing` naming `name`, never the text, when there is none or one is malformed.
        """
        keys = [_decoded(line, name) for line in text.split()]
        if not keys:
            raise KeyMissing(f"This process was started without {name}. Set {name}_FILE to the file that holds it.")
        return cls(current_id=key_id(keys[0]), keys={key_id(key): key for key in keys})

    @classmethod
    def from_settings(cls, name: str) -> "KeyRing":
        """The ring of the setting `name`, for example `VAULT_KEK`. A process that must not hold it has it empty."""
        return cls.parse(getattr(settings, name, ""), name)

    @property
    def current(self) -> bytes:
        """The key that seals."""
        return self.keys[self.current_id]

    def key(self, wanted_id: str) -> bytes:
        """The key of that id. Raises `KeyMissing` when the ring no longer has it."""
        try:
            return self.keys[wanted_id]
        except KeyError:
            raise KeyMissing(
                f"The key {wanted_id} is not in the ring; put its file back to open what it sealed."
            ) from None


def key_id(key: bytes) -> str:
    """A short public name of a key (16 hex digits) that says nothing about it."""
    return derive(key, _KEY_ID_INFO)[:8].hex()


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise KeyMissing(f"A key has {len(key)} bytes instead of {KEY_BYTES}.")
    return key


def _decoded(line: str, name: str) -> bytes:
    try:
        return _checked(base64.b64decode(line, validate=True))
    except binascii.Error:
        raise KeyMissing(f"{name} is not base64. It must hold {KEY_BYTES} random bytes in base64.") from None
