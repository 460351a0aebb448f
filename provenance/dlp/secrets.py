"""Known secrets by value: cut out of whatever comes back, as they are or encoded (gateway.md section 5, row 10).

A server that echoes its own credential, by mistake or on purpose, must not hand it to an agent.
"""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from provenance.dlp.readings import decoded, squeezed

CUT = "[secret removed]"
# Shorter values stand in ordinary text by accident; the vault says so when such a secret is stored.
SHORTEST = 8


class SecretCutter:
    """Finds a fixed set of secret values in text: plain, base64 at any alignment, URL-, hex- and JSON-encoded.

    It holds the values only as one compiled pattern of literals, and never prints them.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        """`values` as they were injected; those shorter than eight bytes are not looked for."""
        values = [value for value in values if len(value) >= SHORTEST]
        forms = {form for value in values for form in _forms(value)}
        self._disguises = {disguise for value in values for disguise in _disguises(value)}
        # Longest first, so that a form which contains another is cut whole.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in ordered)) if ordered else None
        self.longest = max(map(len, forms), default=0)

    def __repr__(self) -> str:
        return "SecretCutter(…)"

    def cut(self, text: str) -> tuple[str, int]:
        """The text with every occurrence replaced, and how many there were."""
        return self._pattern.subn(CUT, text) if self._pattern else (text, 0)

    def is_hidden_in(self, text: str, *, layers: int = 2) -> bool:
        """Whether the text holds a value in a form that `cut` does not find in its place.

        Looked through are case, spaces, widths, escapes, reversal, and up to two layers of base64 or hexadecimal,
        compressed or not. What is encrypted, or spelled in a way of its own, passes: only not sending it helps there.
        """
        if not self._disguises:
            return False
        text = squeezed(text)
        lower = text.lower()
        if any(disguise in lower for disguise in self._disguises):
            return True
        return layers > 0 and any(self.is_hidden_in(reading, layers=layers - 1) for reading in decoded(text))


class StreamCutter:
    """The same over a stream of bytes: holds back as much as could still become a secret."""

    def __init__(self, cutter: SecretCutter) -> None:
        self._cutter = cutter
        self._held = ""
        self.count = 0

    def feed(self, chunk: bytes) -> bytes:
        """What may leave after this chunk."""
        # Latin-1 maps bytes to characters one to one; all forms we look for are ASCII or compared as bytes.
        text, found = self._cutter.cut(self._held + chunk.decode("latin-1"))
        self.count += found
        # What may leave now is all but the tail in which a secret could have begun.
        leaves = max(0, len(text) - max(self._cutter.longest - 1, 0))
        self._held = text[leaves:]
        return text[:leaves].encode("latin-1")

    def finish(self) -> bytes:
        """The rest."""
        held, self._held = self._held, ""
        return held.encode("latin-1")


def _forms(value: bytes) -> set[str]:
    text = value.decode("utf-8", errors="replace")
    forms = {
        text,
        json.dumps(text)[1:-1],
        quote(text, safe=""),
        quote_plus(text),
        quote(text),
        value.hex(),
        value.hex().upper(),
    }
    forms.add(value.decode("latin-1"))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms |= {_core(encode(b"\0" * offset + value).decode(), offset, len(value)) for offset in range(3)}
    return {form for form in forms if len(form) >= SHORTEST}


def _disguises(value: bytes) -> set[str]:
    """The forms of a value as they stand in a text in lower case without spaces."""
    text = squeezed(value.decode("utf-8", errors="replace"))
    forms = {*_forms(value), text, text[::-1], value.hex()[::-1]}
    # Of 5 bytes base32 makes 8 letters, of 4 bytes base85 makes 5: the whole groups show wherever the value begins.
    forms |= {base64.b32encode(_whole(value, start, 5)).decode() for start in range(5)}
    forms |= {
        encode(_whole(value, start, 4)).decode()
        for encode in (base64.b85encode, base64.a85encode)
        for start in range(4)
    }
    return {lower for form in forms if len(lower := squeezed(form).lower()) >= SHORTEST}


def _whole(value: bytes, start: int, width: int) -> bytes:
    return value[start : start + (len(value) - start) // width * width]


def _core(encoded: str, offset: int, length: int) -> str:
    """The letters of base64 text that depend on the value alone, whatever stands before and after it."""
    first = -(-offset * 8 // 6)
    last = (offset + length) * 8 // 6
    return encoded[first:last]
