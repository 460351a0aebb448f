"""The text of a key: found by scanners, refused when a letter is missing or wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys import keytext


def test_a_key_matches_the_published_pattern():
    assert re.fullmatch(r"prov_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", keytext.new_key())


def test_no_two_keys_are_alike():
    keys = {keytext.new_key() for _ in range(1000)}
    assert len(keys) == len({keytext.prefix_of(key) for key in keys}) == 1000


def test_a_whole_key_gives_its_prefix():
    key = keytext.new_key()
    assert keytext.prefix_of(key) == key[5:13]


@pytest.mark.parametrize("length", range(53))
def test_a_key_cut_off_anywhere_is_not_whole(length):
    assert keytext.prefix_of(keytext.new_key()[:length]) is None


@given(position=st.integers(5, 52), letter=st.sampled_from("0123456789abcXYZ"))
def test_a_mistyped_letter_is_noticed(position, letter):
    key = keytext.new_key()
    changed = f"{key[:position]}{letter}{key[position + 1 :]}"
    assert changed == key or keytext.prefix_of(changed) is None


@given(st.text(max_size=80))
def test_no_other_text_is_a_key(text):
    assert keytext.prefix_of(text) is None


@pytest.mark.parametrize("around", [" {}", "{} ", "{}\n", "{},{}", "Bearer {}"])
def test_a_key_with_something_around_it_is_not_a_key(around):
    assert keytext.prefix_of(around.format(keytext.new_key(), keytext.new_key())) is None


def test_a_scanner_finds_a_key_in_any_text():
    key = keytext.new_key()
    assert keytext.KEY_PATTERN.search(f"curl -H 'X-API-Key: {key}' https://example.com").group(0) == key
