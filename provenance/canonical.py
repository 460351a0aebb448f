"""Canonical JSON: the restricted RFC 8785 profile whose bytes are signed and digested (audit.md 4.2)."""

import hashlib
from typing import Any

import orjson

MAX_SAFE_INTEGER = 2**53 - 1


class NotCanonical(ValueError):
    """The value has no canonical form: a float, a large integer, a non-ASCII or non-string key, NUL or a surrogate."""


def canonical_json(value: Any) -> bytes:
    """UTF-8 bytes of `value` with sorted keys and no white space, byte-identical to RFC 8785 within the profile.

    Raises `NotCanonical` for what the profile leaves out; nothing is rounded, replaced or dropped.
    """
    _check(value)
    return sorted_json(value)


def sorted_json(value: Any) -> bytes:
    """The same bytes for a value that its maker keeps within the profile: of types, only integers are looked at.

    Raises `NotCanonical` for a large integer and for what JSON cannot hold at all.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise NotCanonical(str(error)) from error


def digest(value: Any) -> str:
    """SHA-256 of the canonical bytes, in hex. Only for values that are not guessable secrets."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _check(value: Any) -> None:
    match value:
        case None | bool():
            return
        case int():
            if abs(value) > MAX_SAFE_INTEGER:
                raise NotCanonical(f"{value} is larger than 2^53 - 1; write it as a string")
        case str():
            if "\0" in value:
                raise NotCanonical("a string holds U+0000")
        case list() | tuple():
            for item in value:
                _check(item)
        case dict():
            _check_object(value)
        case _:
            raise NotCanonical(f"{type(value).__name__} has no canonical form")


def _check_object(value: dict[Any, Any]) -> None:
    for key, item in value.items():
        if not isinstance(key, str) or not key.isascii():
            raise NotCanonical(f"the key {key!r} is not an ASCII string")
        _check(key)
        _check(item)
