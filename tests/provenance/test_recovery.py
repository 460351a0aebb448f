"""Copies of all keys open with the recovery key, and with nothing else (T28)."""

import json
from base64 import b64decode, b64encode

import pytest

from provenance.recovery import CannotOpen, Copy, key_id, new_pair, open_copy, seal

COPY = Copy({"mac-web": "a key", "mac-web-2.next": "another"}, "provenance.local/abc", "2026-11-30T08:00:00Z")


@pytest.fixture(scope="module")
def pair():
    return new_pair()


@pytest.fixture(scope="module")
def sealed(pair):
    return seal(COPY, pair[1])


def test_what_was_sealed_opens(pair, sealed):
    assert open_copy(sealed, pair[0]) == COPY


def test_the_copy_shows_nothing_and_no_two_are_alike(pair, sealed):
    assert "a key" not in sealed
    assert not {"a key", "another"} & {repr(COPY)}
    assert b"mac-web" not in b64decode(json.loads(sealed)["sealed"])
    assert json.loads(seal(COPY, pair[1]))["sealed"] != json.loads(sealed)["sealed"]


def test_another_recovery_key_opens_nothing(sealed):
    with pytest.raises(CannotOpen, match="and this is another one"):
        open_copy(sealed, new_pair()[0])


def test_the_public_part_opens_nothing(pair, sealed):
    with pytest.raises(CannotOpen, match="not the private part"):
        open_copy(sealed, pair[1])


@pytest.mark.parametrize("name", ["format", "recovery_key", "created_at", "ephemeral", "sealed"])
def test_a_copy_that_was_changed_does_not_open(pair, sealed, name):
    found = json.loads(sealed)
    value = found[name]
    changed = bytearray(b64decode(value)) if name in {"ephemeral", "sealed"} else bytearray(value.encode())
    changed[0] ^= 1
    found[name] = b64encode(bytes(changed)).decode() if name in {"ephemeral", "sealed"} else changed.decode()
    with pytest.raises(CannotOpen):
        open_copy(json.dumps(found), pair[0])


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, '{"format": 1}', "x" * 5_000_000])
def test_what_is_no_copy_is_refused(pair, text):
    with pytest.raises(CannotOpen):
        open_copy(text, pair[0])


@pytest.mark.parametrize("ephemeral", [bytes(32), b"\1" + bytes(31), b"short"])
def test_a_point_of_small_order_is_refused(pair, sealed, ephemeral):
    """Anybody could make a copy that 'opens' with any key."""
    found = json.loads(sealed) | {"ephemeral": b64encode(ephemeral).decode()}
    with pytest.raises(CannotOpen):
        open_copy(json.dumps(found), pair[0])


@pytest.mark.parametrize("name", ["../mac-web", "/etc/passwd", ".hidden", "a/b", "", "mac-web\n", "A"])
def test_no_name_leads_out_of_the_directory(pair, name):
    with pytest.raises(CannotOpen, match="impossible name"):
        open_copy(seal(Copy({name: "x"}, "", ""), pair[1]), pair[0])


@pytest.mark.parametrize(
    "text",
    ["", "ssh-rsa AAAA", "provenance-recovery-public-1 AAAA", new_pair()[0]],
    ids=["nothing", "another kind", "too short", "the private part"],
)
def test_what_is_no_public_part_is_refused(text):
    with pytest.raises(CannotOpen, match="new_recovery_key"):
        seal(COPY, text)
    with pytest.raises(CannotOpen):
        key_id(text)
