"""Sealed bytes open with the same key at the same place and nowhere else; keys never show."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance import crypto
from provenance.crypto import KeyMissing, KeyRing, Undecipherable

KEY = bytes(range(32))
OTHER = bytes(reversed(range(32)))


def text_of(*keys):
    return "\n".join(base64.b64encode(key).decode() for key in keys)


@given(plaintext=st.binary(max_size=200), aad=st.binary(max_size=50))
def test_what_was_sealed_opens(plaintext, aad):
    assert crypto.open(KEY, crypto.seal(KEY, plaintext, aad), aad) == plaintext


def test_sealing_twice_gives_different_bytes():
    assert crypto.seal(KEY, b"value", b"") != crypto.seal(KEY, b"value", b"")


def test_another_key_does_not_open():
    with pytest.raises(Undecipherable):
        crypto.open(OTHER, crypto.seal(KEY, b"value", b"here"), b"here")


def test_another_place_does_not_open():
    with pytest.raises(Undecipherable):
        crypto.open(KEY, crypto.seal(KEY, b"value", b"here"), b"there")


def test_no_changed_or_missing_byte_goes_unnoticed():
    sealed = crypto.seal(KEY, b"value", b"here")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Undecipherable):
            crypto.open(KEY, bytes(changed), b"here")
        with pytest.raises(Undecipherable):
            crypto.open(KEY, sealed[:position], b"here")


@pytest.mark.parametrize("key", [b"", b"short", KEY + b"x"])
def test_keys_of_other_lengths_are_refused(key):
    with pytest.raises(KeyMissing):
        crypto.seal(key, b"value", b"")
    with pytest.raises(KeyMissing):
        crypto.derive(key, b"purpose")


def test_derived_keys_differ_by_purpose_and_root_and_are_stable():
    assert crypto.derive(KEY, b"one") == crypto.derive(KEY, b"one")
    assert len({crypto.derive(KEY, b"one"), crypto.derive(KEY, b"two"), crypto.derive(OTHER, b"one"), KEY}) == 4


def test_derivation_is_hkdf_sha256():
    """RFC 5869 without salt, so that another implementation can derive the same keys."""
    import hashlib
    import hmac

    extracted = hmac.digest(bytes(32), KEY, hashlib.sha256)
    assert crypto.derive(KEY, b"purpose") == hmac.digest(extracted, b"purpose\x01", hashlib.sha256)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_places_look_alike_only_when_they_are_the_same(one, two):
    assert (crypto.bind(*one) == crypto.bind(*two)) == (one == two)


def test_the_first_key_of_a_ring_seals_and_every_key_opens():
    ring = KeyRing.parse(text_of(KEY, OTHER), "VAULT_KEK")
    assert ring.current == KEY
    assert ring.key(crypto.key_id(OTHER)) == OTHER


def test_a_key_that_left_the_ring_is_named_by_its_id():
    ring = KeyRing.parse(text_of(KEY), "VAULT_KEK")
    with pytest.raises(KeyMissing, match=crypto.key_id(OTHER)):
        ring.key(crypto.key_id(OTHER))


@pytest.mark.parametrize("text", ["", "  \n", "not base64!", text_of(b"too short")])
def test_a_bad_ring_names_the_setting_and_never_the_text(text):
    with pytest.raises(KeyMissing) as caught:
        KeyRing.parse(text, "VAULT_KEK")
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_process_without_the_key_is_told_what_to_set(settings):
    settings.VAULT_KEK = ""
    with pytest.raises(KeyMissing, match="VAULT_KEK_FILE"):
        KeyRing.from_settings("VAULT_KEK")


def test_rings_do_not_show_their_keys():
    ring = KeyRing.parse(text_of(KEY), "VAULT_KEK")
    assert KEY.hex() not in repr(ring)
    assert repr(KEY) not in repr(ring)
    assert text_of(KEY) not in repr(ring)
