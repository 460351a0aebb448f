"""The digest binds an approval to one call: anything else about the call gives another digest (T05)."""

import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.digest import ActionFacts, action_digest
from provenance.canonical import NotCanonical

FACTS = ActionFacts(
    workspace_id=uuid4(),
    call_key="run-1:update:1",
    environment="production",
    tool="erp.updateVendorTerms",
    pin="a" * 64,
    target="https://erp.example",
    workflow_version="b" * 64,
    policy_digest="c" * 64,
)
ARGUMENTS = {"vendor_id": "V-10233", "payment_terms": "NET60", "discount": 2.5}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, min_value=-1e6, max_value=1e6)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", [name for name in ActionFacts.__slots__ if name != "workspace_id"])
def test_every_fact_is_bound(name):
    other = ActionFacts.from_json({**FACTS.as_json(), name: "other"})
    assert action_digest(other, ARGUMENTS) != action_digest(FACTS, ARGUMENTS)


def test_the_workspace_is_bound():
    other = ActionFacts.from_json({**FACTS.as_json(), "workspace_id": str(uuid4())})
    assert action_digest(other, ARGUMENTS) != action_digest(FACTS, ARGUMENTS)


@given(values)
def test_a_round_through_json_keeps_the_digest(value):
    again = json.loads(json.dumps({"value": value}))
    assert action_digest(FACTS, again) == action_digest(FACTS, {"value": value})


@given(values, values)
def test_different_arguments_have_different_digests(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True) or _equal(one, other)
    assert (action_digest(FACTS, {"value": one}) == action_digest(FACTS, {"value": other})) == same


def _equal(one, other):
    """Equal as JSON values: 1 is 1.0, but true is not 1."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(_equal, one, other))
        case _:
            return (
                isinstance(one, bool) == isinstance(other, bool)
                and type(one) in (int, float, type(other))
                and one == other
            )


def test_an_argument_cannot_pass_itself_off_as_a_number():
    assert action_digest(FACTS, {"a": 2.5}) != action_digest(FACTS, {"a": {"$number": "2.5"}})
    assert action_digest(FACTS, {"a": {"$$number": "2.5"}}) != action_digest(FACTS, {"a": {"$number": "2.5"}})


def test_keys_of_any_script_are_bound():
    assert action_digest(FACTS, {"größe": 1}) != action_digest(FACTS, {"gr\\xf6\\xdfe": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 2**60, "nul\0", "\ud800"])
def test_what_has_no_exact_form_is_refused(value):
    with pytest.raises(NotCanonical):
        action_digest(FACTS, {"value": value})


def test_facts_survive_storage():
    assert ActionFacts.from_json(json.loads(json.dumps(FACTS.as_json()))) == FACTS


@pytest.mark.parametrize(
    "change", [{"extra": "x"}, {"pin": None}, {"pin": 3}], ids=["an unknown member", "a null", "a number"]
)
def test_malformed_facts_are_refused(change):
    with pytest.raises(ValueError, match="action facts"):
        ActionFacts.from_json({**FACTS.as_json(), **change})
