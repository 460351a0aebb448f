"""Time-ordered ids: UUIDv7 (RFC 9562) inside, `run_06bq…` (prefix and Crockford base 32) outside."""

import os
import re
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from provenance.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26
_SHORT = re.compile(rf"[A-Z]{{1,2}}-[{_ALPHABET.upper()}]{{5}}")

_CLOCK_PUT_RIGHT = 60_000 << 12
_LAST_MILLISECOND = 253_402_300_799_000

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A new UUIDv7. Ids of one process never repeat or go back: 12 bits below the millisecond count up (method 3).

    Unless the clock was ahead by more than a minute and was put right: ids that went on from there would be refused.
    """
    global _last  # noqa: PLW0603  the one piece of state that makes ids of a process monotonic
    nanoseconds = time.time_ns()
    stamp = (nanoseconds // 1_000_000) << 12 | (nanoseconds % 1_000_000) * 4096 // 1_000_000
    with _lock:
        stamp = max(stamp, _last + 1) if _last - stamp < _CLOCK_PUT_RIGHT else stamp
        _last = stamp
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8)) >> 2
    return UUID(int=value)


def uuid7_floor(at: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond: ids are ordered by time, so a range of time is a range of ids."""
    return UUID(int=(int(at.timestamp() * 1000) & (1 << 48) - 1) << 80)


def uuid7_time(value: UUID) -> datetime:
    """When that UUIDv7 was made, to the millisecond; no later than Python can say."""
    return datetime.fromtimestamp(min(value.int >> 80, _LAST_MILLISECOND) / 1000, UTC)


def public_id(prefix: str, value: UUID) -> str:
    """How an id is written outside the database, for example `run_01hzy…` (26 characters after the prefix)."""
    number = value.int
    letters = [_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)]
    return f"{prefix}_{''.join(letters)}"


def parse_public_id(prefix: str, text: str) -> UUID:
    """The id that `public_id` wrote. A malformed one raises `NotFound`: it names nothing that exists."""
    head, _, letters = text.partition("_")
    number = 0
    if head != prefix or len(letters) != _LENGTH or any(letter not in _VALUES for letter in letters):
        raise NotFound(f"There is no {text[:64]!r} here.")
    for letter in letters:
        number = number << 5 | _VALUES[letter]
    if number >= 1 << 128:
        raise NotFound(f"There is no {text[:64]!r} here.")
    return UUID(int=number)


def as_events_name(text: str) -> str:
    """A public id of any kind as the UUID that events hold; any other text as it is."""
    prefix, separator, _letters = text.partition("_")
    try:
        return str(parse_public_id(prefix, text)) if separator else text
    except NotFound:
        return text


def short_id(prefix: str, value: UUID) -> str:
    """A short name for people, for example `R-8K2QX`: the random tail of the id. Not unique; never parsed."""
    return f"{prefix}-{public_id(prefix, value)[-5:].upper()}"


def is_short_id(text: str) -> bool:
    """Whether a text looks like what `short_id` makes: people copy those, and nothing is found by them."""
    return bool(_SHORT.fullmatch(text))


def as_uuid(text: object) -> UUID | None:
    """The UUID that a text is, in any of its spellings; None for what is none."""
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None
