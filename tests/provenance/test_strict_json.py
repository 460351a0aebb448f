"""Strict JSON: read in one way only, and what is wrong is said with its place."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance import strict_json
from provenance.strict_json import Malformed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=12,
    )
)
def test_what_we_write_and_what_others_write_is_read_as_it_is(value):
    assert strict_json.parse(strict_json.dump(value)) == value
    assert strict_json.parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a":1,"b":{"c":1,"c":2}}', "the key 'c' stands twice"),
        (b"[NaN]", "NaN is not"),
        (b"-Infinity", "-Infinity is not"),
        (b"1e999", "1e999 is out of range"),
        (b"1" * 65, "more than 64 digits"),
        (b'"\\ud800"', "surrogate"),
        ('"\ud800"', "UTF-8"),
        (b"\xff", "UTF-8"),
        ('"a"'.encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf1", "line 1, column 1"),
        (b'{\n  "a": }', "line 2, column 8"),
        (b"[\n" * 65 + b"]" * 65, "deeper than 64 levels, line 65"),
        (b'"a\nb"', "line 1"),
        (b"{", "line 1"),
        (b"1 2", "line 1"),
        (b"", "line 1"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_place(data, says):
    with pytest.raises(Malformed, match=says):
        strict_json.parse(data)


def test_brackets_inside_text_are_not_depth():
    assert strict_json.parse(b'"' + b"[" * 500 + b'"') == "[" * 500


@pytest.mark.parametrize("text", ['"\\u0000"', '{"a\\u0000": 1}', '"\\\\\\u0000"'])
def test_nul_is_refused_where_it_would_be_stored_as_text(text):
    assert "\0" in str(strict_json.parse(text)) or "\\x00" in str(strict_json.parse(text))
    with pytest.raises(Malformed, match=r"U\+0000"):
        strict_json.parse(text, nul=False)


def test_the_letters_of_the_escape_are_no_nul():
    assert strict_json.parse('"\\\\u0000"', nul=False) == "\\u0000"


@pytest.mark.parametrize("data", ["[" * 5_000_000, '"' * 1_000_001, '"' + "\\" * 5_000_000, '["' * 1_000_000])
def test_a_hostile_text_costs_no_more_than_its_length(data):
    began = time.thread_time()
    with pytest.raises(Malformed):
        strict_json.parse(data, nul=False)
    assert time.thread_time() - began < 5
