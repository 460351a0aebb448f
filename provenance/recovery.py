"""All keys of an installation in one file that only a recovery key opens (docs/operations.md, Keys). Pure.

X25519 (RFC 7748) between a key of the moment and the recovery key, HKDF-SHA256 (RFC 5869), AES-256-GCM. So whoever copies
keys every night needs no secret for it, and the copy may lie anywhere but beside the recovery key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT = "provenance-keys/1"
PUBLIC_PREFIX = "provenance-recovery-public-1"
PRIVATE_PREFIX = "provenance-recovery-private-1"
LARGEST_COPY_BYTES = 4 * 2**20
NONCE_BYTES = 12
# They become names of files: none leaves its directory, is hidden, or stands for a link.
KEY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}(\.next)?")


class CannotOpen(Exception):
    """The copy or the recovery key is not what it should be; the text says what to do."""


@dataclass(frozen=True)
class Copy:
    """What a copy holds: key files by name, and what the logs call themselves."""

    keys: Mapping[str, str] = field(repr=False)
    log_origin: str
    created_at: str


def new_pair() -> tuple[str, str]:
    """A recovery key as text: the private part, and the public part that copies are sealed to."""
    key = X25519PrivateKey.generate()
    return (
        f"{PRIVATE_PREFIX} {_encoded(key.private_bytes_raw())}\n",
        f"{PUBLIC_PREFIX} {_encoded(key.public_key().public_bytes_raw())}\n",
    )


def key_id(public: str) -> str:
    """16 hex digits that name a recovery key. Raises `CannotOpen` for a text that is none."""
    return hashlib.sha256(_material(public, PUBLIC_PREFIX)).hexdigest()[:16]


def seal(copy: Copy, public: str) -> str:
    """The copy as text that only the private part of `public` opens. Raises `CannotOpen` for a text that is no key."""
    recipient = _material(public, PUBLIC_PREFIX)
    ephemeral = X25519PrivateKey.generate()
    header = {
        "format": FORMAT,
        "recovery_key": key_id(public),
        "created_at": copy.created_at,
        "ephemeral": _encoded(ephemeral.public_key().public_bytes_raw()),
    }
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    nonce = secrets.token_bytes(NONCE_BYTES)
    plain = _json({"keys": dict(copy.keys), "log_origin": copy.log_origin})
    key = _key(shared, ephemeral.public_key().public_bytes_raw(), recipient)
    sealed = nonce + AESGCM(key).encrypt(nonce, plain, _json(header))
    return json.dumps({**header, "sealed": _encoded(sealed)}, indent=1) + "\n"


def open_copy(text: str, private: str) -> Copy:
    """What was sealed. Raises `CannotOpen` unless it is whole and this is the key that it was sealed to."""
    key = X25519PrivateKey.from_private_bytes(_material(private, PRIVATE_PREFIX))
    own = key.public_key().public_bytes_raw()
    try:
        found: dict[str, str] = json.loads(text[: LARGEST_COPY_BYTES + 1])
        header = {name: found[name] for name in ("format", "recovery_key", "created_at", "ephemeral")}
        sealed, ephemeral = _decoded(found["sealed"]), _decoded(found["ephemeral"])
        created_at = str(header["created_at"])
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise CannotOpen("This is no copy of keys.") from problem
    if header["format"] != FORMAT:
        raise CannotOpen(f"This version opens {FORMAT}, and the copy is {header['format']!r}.")
    if header["recovery_key"] != hashlib.sha256(own).hexdigest()[:16]:
        raise CannotOpen(f"The copy was sealed to the recovery key {header['recovery_key']}, and this is another one.")
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        plain = AESGCM(_key(shared, ephemeral, own)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _json(header))
        content = json.loads(plain)
        copy = Copy(dict(content["keys"]), str(content["log_origin"]), created_at)
    except (InvalidTag, ValueError, KeyError, TypeError) as problem:
        raise CannotOpen("The copy was changed since it was made, or is not whole. Take another one.") from problem
    if wrong := [name for name in copy.keys if not KEY_NAME.fullmatch(name)]:
        raise CannotOpen(f"The copy holds a key of an impossible name ({wrong[0]!r}).")
    return copy


def now() -> str:
    """The time as a copy says it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    # Both public keys go in, so that the key belongs to this one exchange.
    return HKDF(algorithm=SHA256(), length=32, salt=ephemeral + recipient, info=FORMAT.encode()).derive(shared)


def _material(text: str, prefix: str) -> bytes:
    kind, _, encoded = text.strip().partition(" ")
    material = _decoded(encoded)
    if kind != prefix or len(material) != 32:
        part = "private" if prefix == PRIVATE_PREFIX else "public"
        raise CannotOpen(f"This is not the {part} part of a recovery key. Make one: ./manage.py new_recovery_key FILE")
    return material


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
