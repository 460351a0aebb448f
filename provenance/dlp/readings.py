"""What a text says once it is read as somebody who hides something in it would have it read. Linear in the text."""

import binascii
import re
import unicodedata
import zlib
from collections.abc import Iterator
from itertools import islice

_ESCAPED = re.compile(
    r"\\u([0-9a-f]{4})|\\u\{([0-9a-f]{1,6})\}|\\x([0-9a-f]{2})|%([0-9a-f]{2})"
    r"|&#x([0-9a-f]{1,6});?|&#([0-9]{1,7});?",
    re.IGNORECASE,
)
_DECIMAL = 6
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64 = bytes(c if c in _ALPHABET else {45: 43, 95: 47}.get(c, 65) for c in range(256))  # - and _ are + and /, else A
_HEXADECIMAL = bytes(c if c in b"0123456789abcdefABCDEF" else 48 for c in range(256))
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_PRINTABLE = re.compile(rb"[ -~]{8,}")
# What is compressed is looked at no further than this.
_MOST_INFLATED = 2**18
_MOST_PACKED = 8


def spelled_out(text: str) -> str:
    """The text with its escapes read: of JSON, of addresses and of HTML; twice, since one may hide another."""
    if not any(sign in text for sign in "\\%&"):
        return text
    for _ in range(2):
        text = _ESCAPED.sub(_character, text)
    return text


def squeezed(text: str) -> str:
    """The text in plain letters, escapes read, without any space."""
    text = spelled_out(text)
    return "".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())


def decoded(text: str) -> Iterator[str]:
    """Each reading of a squeezed text as base64, as hexadecimal, and of what these had compressed; NUL left out.

    Where an encoded piece begins is not known in a text without spaces, so the whole is read at each alignment, with
    zeros for what is no letter of the encoding.
    """
    letters = text.encode("latin-1", "replace")
    for offset in range(4):
        piece = letters[offset:].translate(_BASE64)
        yield from _readings(binascii.a2b_base64(piece + b"A" * (-len(piece) % 4)))
    for offset in range(2):
        piece = letters[offset:].translate(_HEXADECIMAL)
        yield from _readings(binascii.unhexlify(piece + b"0" * (len(piece) % 2)))


def _readings(data: bytes) -> Iterator[str]:
    yield _letters(data)
    for packed in islice(_COMPRESSED.finditer(data), _MOST_PACKED):
        yield _letters(_inflated(data[packed.start() : packed.start() + _MOST_INFLATED]))


def _letters(data: bytes) -> str:
    # Of UTF-16 the letters are left when the zeros go. What was no encoded text gives almost no runs of letters.
    return "|".join(run.decode("ascii") for run in _PRINTABLE.findall(data.replace(b"\0", b"")))


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(data, _MOST_INFLATED)
    except zlib.error:
        return b""


def _character(match: re.Match[str]) -> str:
    digits = match[match.lastindex or 0]
    number = int(digits, 10 if match.lastindex == _DECIMAL else 16)
    return chr(number) if number < 0x110000 else ""
