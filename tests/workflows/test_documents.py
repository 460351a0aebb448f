"""Reading definitions: YAML that means one thing only (T30)."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflows.documents import UnreadableDocument, read

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join(['*' + before] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "anchors (&a) are not allowed"),
        ("a: *b", "aliases (*b) are not allowed"),
        ("a: !!python/object/apply:os.system ['true']", "tags"),
        ("a: !custom 1", "tags"),
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ("a: 1\n---\nb: 2", "several documents"),
        ("", "empty"),
        ("? [a, b]\n: c", "a key must be plain text"),
        ("a: [" + "[" * 100, "nests deeper"),
        ('{"a": ' + "[" * 5_000, "nested deeper"),
        ("a: [" + "x," * 6_000 + "]", "more than 5000 values"),
        ("a: " + "x" * 200_000, "larger than"),
        ("a: 'open", "Line "),
        ("a: [1, 2", "Line "),
        ("\x00", "This is not readable YAML"),
        ("a: \ud800", "This is not readable YAML"),
    ],
)
def test_text_that_could_mean_two_things_or_grow_is_refused_at_once(text: str, says: str):
    began = time.thread_time()
    with pytest.raises(UnreadableDocument) as refused:
        read(text)
    assert says in refused.value.message
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", {"a": "no"}),
        ("a: on", {"a": "on"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: 2027-01-01", {"a": "2027-01-01"}),
        ("a: 010", {"a": 10}),
        ("a: 0o10", {"a": 8}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 1.5", {"a": 1.5}),
        ("a: .inf", {"a": ".inf"}),
        ("a: true\nb: True\nc: ~\nd:", {"a": True, "b": True, "c": None, "d": None}),
        ("a: 'true'", {"a": "true"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("1: a", {"1": "a"}),
        ("a: >\n  two\n  words\n", {"a": "two words\n"}),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    ],
)
def test_scalars_mean_what_the_core_schema_of_yaml_1_2_says(text: str, value: Any):
    assert read(text) == value


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text("abcxyz_", min_size=1), children, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_what_a_writer_of_yaml_wrote_is_read_back(value: Any):
    text = yaml.safe_dump({"key": value}, allow_unicode=True, default_style='"' if isinstance(value, str) else None)
    if "&id" in text or "!!" in text:
        return
    assert read(text) == {"key": value}
