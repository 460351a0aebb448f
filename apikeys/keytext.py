"""The text of a key: `prov_<8 prefix>_<32 secret>_<6 checksum>`, base 62 throughout (pure).

Prefix and checksum are for scanners: a leaked key is found by `KEY_PATTERN`, and `is_whole` tells it from a look-alike
without asking anybody. The pattern is published in SECURITY.md's words: `prov_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}`.
"""

import hashlib
import re
import secrets
import string
import zlib

KEY_PATTERN = re.compile(r"prov_([0-9A-Za-z]{8})_([0-9A-Za-z]{32})_([0-9A-Za-z]{6})")

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX_LETTERS = 8
_SECRET_LETTERS = 32  # 190 bits
_CHECKSUM_LETTERS = 6


def new_key() -> str:
    """A fresh key text."""
    body = f"prov_{_letters(_PREFIX_LETTERS)}_{_letters(_SECRET_LETTERS)}"
    return f"{body}_{_checksum(body)}"


def prefix_of(text: str) -> str | None:
    """The public prefix of a whole key; None for anything else: cut off, mistyped, or not a key at all."""
    match = KEY_PATTERN.fullmatch(text)
    body, _, checksum = text.rpartition("_")
    return match.group(1) if match and checksum == _checksum(body) else None


def digest(text: str) -> str:
    """What is stored of a key, in hex."""
    return hashlib.sha256(b"provenance-api-key-v1\n" + text.encode("ascii")).hexdigest()


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii", "replace"))
    letters = ""
    for _ in range(_CHECKSUM_LETTERS):
        number, rest = divmod(number, 62)
        letters = _ALPHABET[rest] + letters
    return letters
