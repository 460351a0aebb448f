"""The commitment of a row is the one of its canonical form, whichever way it is computed."""

import hashlib
import hmac
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.governed import _numbers, _plain, state_commitment
from provenance.canonical import NotCanonical, canonical_json

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(alphabet=st.characters(codec="utf-8")), st.uuids(), st.binary()
)


def slowly(salt, rev, values):
    columns = {name: _plain(value) for name, value in values.items() if value is not None}
    row = {"audit_rev": rev, "columns": columns}
    return hmac.digest(salt, canonical_json(row), hashlib.sha256).hex()


@given(st.dictionaries(st.text(alphabet="abc_\\u0", min_size=1), VALUES), st.integers(1, 2**40))
def test_the_short_way_gives_what_the_long_way_gives(values, rev):
    try:
        wanted = slowly(b"s" * 32, rev, values)
    except NotCanonical:
        with pytest.raises(NotCanonical):
            state_commitment(b"s" * 32, rev, values)
    else:
        assert state_commitment(b"s" * 32, rev, values) == wanted


@pytest.mark.parametrize("values", [{"a": "x\0y"}, {"\u00e4": "x"}, {"a": "\ud800"}])
def test_what_has_no_canonical_form_has_no_commitment(values):
    with pytest.raises(NotCanonical):
        state_commitment(b"s" * 32, 1, values)


def test_a_backslash_that_only_looks_like_nul_is_text():
    assert state_commitment(b"s" * 32, 1, {"a": "\\u0000"}) == slowly(b"s" * 32, 1, {"a": "\\u0000"})


@given(
    st.dictionaries(st.text(alphabet="abc_", min_size=1), st.none() | st.booleans() | st.uuids()),
    st.text(alphabet="abc_", min_size=1),
)
def test_a_column_that_is_added_changes_no_commitment_until_it_is_used(values, added):
    """A later version's column is NULL in all rows there were; once somebody fills one in, its row differs."""
    before = state_commitment(b"s" * 32, 1, {name: value for name, value in values.items() if name != added})
    assert state_commitment(b"s" * 32, 1, {**values, added: None}) == before
    assert state_commitment(b"s" * 32, 1, {**values, added: False}) != before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text(max_size=3),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=2), part, max_size=3),
    max_leaves=6,
)
COLLECTIONS = JSON.filter(lambda value: isinstance(value, list | dict))


def committed(value):
    return state_commitment(b"s" * 32, 1, {"a": value})


@given(COLLECTIONS)
def test_no_text_is_taken_for_the_json_that_looks_like_it(value):
    """In a column of JSON, Postgres takes a string as well, of whatever letters."""
    (text,) = _plain(value)
    for told in (text, json.dumps(value), str(value)):
        assert committed(told) != committed(value)


@given(COLLECTIONS, COLLECTIONS)
def test_two_values_of_json_have_one_commitment_only_if_every_reader_reads_them_alike(one, other):
    assert (committed(one) == committed(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63, 10**400])
def test_a_large_number_is_not_taken_for_its_neighbor(number):
    assert committed([number]) != committed([number - 1])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_one_that_postgres_gives_back(number):
    """It keeps the digits and writes large ones in full, which are loaded as an integer."""
    written = f"{Decimal(repr(number)):f}"
    assert _numbers(json.loads(written)) == _numbers(number)
