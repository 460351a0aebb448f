"""JSON Schemas of strangers: none reaches out, none stalls, and no sentence about a value repeats it."""

import pytest

from provenance.schemas import Schema, SchemaError, compiled, violations


@pytest.mark.parametrize(
    "document",
    [
        {"$ref": "https://example.com/s"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "https://example.com/s"},
        {"type": "nothing"},
        {"properties": 3},
        {"properties": {"a": {"pattern": "(?=x)"}}},
        {"$ref": "#/nowhere"},
    ],
)
def test_a_schema_that_reaches_out_or_needs_a_dangerous_engine_is_refused(document):
    with pytest.raises(SchemaError):
        Schema(document)


def test_a_catastrophic_pattern_takes_no_time():
    assert violations({"type": "string", "pattern": "^(a+)+$"}, "a" * 50_000 + "b")


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": "hunter2-secret"}),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "hunter2-secret"}),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": "hunter2-secret"}),
        ({"properties": {"a": {"anyOf": [{"type": "integer"}]}}}, {"a": {"b": "hunter2-secret"}}),
    ],
)
def test_what_is_wrong_names_the_place_and_never_the_value(document, value):
    (wrong,) = violations(document, value)
    assert wrong.path == "a"
    assert "hunter2" not in str(wrong)


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"to": "c"}, "to", "Allowed: a, b."),
        ({}, "to", "This field is needed."),
        ({"to": "a", "iban": "SE35"}, "", "Not a known field: iban."),
    ],
)
def test_a_sentence_names_what_would_do(value, path, says):
    document = {"properties": {"to": {"enum": ["a", "b"]}}, "required": ["to"], "additionalProperties": False}
    assert violations(document, value) == [(path, says)]
    assert violations({**document, "unevaluatedProperties": False}, value)[0] == (path, says)


def test_a_long_list_of_misfits_is_cut():
    assert len(violations({"items": {"type": "integer"}}, ["x"] * 1_000)) == 20


def test_the_same_text_is_compiled_once():
    assert compiled({"type": "integer"}) is compiled({"type": "integer"})
