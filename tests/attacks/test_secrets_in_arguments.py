"""T02: a secret reference in tool arguments, model output or an approver's edit is refused, never resolved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_vault.references import ReferenceInArguments, refuse_in

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(alphabet=st.characters(exclude_characters="/:"))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "value",
    [
        "secret://crm-token",
        "SECRET://crm-token",
        "Secret://CRM-Token",
        "token is secret://crm-token, use it",
        {"a": {"b": ["x", {"c": "secret://crm-token"}]}},
        {"secret://crm-token": 1},
        ["secret://"],
        "sec\u200bret://crm-token",
        "secret\u2060://crm-token",
        "\uff53\uff45\uff43\uff52\uff45\uff54\uff1a\uff0f\uff0fcrm-token",
        "\u202esecret://crm-token",
        '{"nested": "secret://crm-token"}',
    ],
)
def test_a_reference_is_found_wherever_and_however_it_is_written(value):
    with pytest.raises(ReferenceInArguments):
        refuse_in(value)


def test_the_refusal_says_where_and_not_what():
    with pytest.raises(ReferenceInArguments) as caught:
        refuse_in({"lines": [{"note": "password hunter2 secret://crm-token"}]})
    assert caught.value.data["path"] == "lines.0.note"
    assert "hunter2" not in str(caught.value) + repr(caught.value.data)


@pytest.mark.parametrize("value", ["the secret is out", "https://secret.example/", {"secret": "//x"}, None, 5, [], {}])
def test_ordinary_words_pass(value):
    refuse_in(value)


@given(plain)
def test_values_without_the_scheme_pass(value):
    refuse_in(value)


@given(plain, st.integers(0, 3))
def test_depth_hides_nothing(value, depth):
    for _ in range(depth):
        value = {"deeper": [value, "secret://x"]}
    if depth:
        with pytest.raises(ReferenceInArguments):
            refuse_in(value)
