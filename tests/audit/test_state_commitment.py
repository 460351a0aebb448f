"""The commitment of a row is the one of its canonical form, whichever way it is computed."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.governed import _plain, state_commitment
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
