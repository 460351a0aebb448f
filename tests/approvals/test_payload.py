"""What an approver may change before approving, and how it is said field by field (M099)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals import fields, payload
from approvals.errors import PayloadRefused
from provenance.errors import Invalid

SCHEMA = {
    "type": "object",
    "required": ["vendor_id", "payment_terms"],
    "additionalProperties": False,
    "properties": {
        "vendor_id": {"type": "string", "readOnly": True},
        "kind": {"const": "terms"},
        "payment_terms": {"type": "string", "enum": ["NET30", "NET60"]},
        "effective_from": {"type": "string", "format": "date"},
        "discount": {"type": "number", "minimum": 0, "maximum": 5},
        "days": {"type": ["integer", "null"]},
        "notify": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 200},
        "address": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"country": {"type": "string"}, "id": {"type": "string", "readOnly": True}},
        },
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
ORIGINAL = {
    "vendor_id": "V-1",
    "kind": "terms",
    "payment_terms": "NET60",
    "effective_from": "2026-12-01",
    "discount": 2.5,
    "notify": True,
    "address": {"country": "SE", "id": "A-1"},
    "tags": ["a", "b"],
}


def refused(edited, schema=SCHEMA, original=ORIGINAL):
    with pytest.raises(PayloadRefused) as caught:
        payload.check_edit(schema, original, edited)
    return {error["path"]: error["message"] for error in caught.value.data["errors"]}


def test_an_edit_within_the_schema_is_accepted():
    payload.check_edit(SCHEMA, ORIGINAL, {**ORIGINAL, "effective_from": "2027-01-01"})


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"vendor_id": "V-2"}, "vendor_id", "may not be changed; it stays 'V-1'"),
        ({"kind": "other"}, "kind", "may not be changed"),
        ({"address": {"country": "SE", "id": "A-2"}}, "address.id", "may not be changed; it stays 'A-1'"),
        ({"address": {"country": "SE"}}, "address.id", "may not be changed"),
        ({"payment_terms": "NET90"}, "payment_terms", "Allowed: NET30, NET60."),
        ({"effective_from": "soon"}, "effective_from", "date"),
        ({"discount": 9}, "discount", "5"),
        ({"discount": "2"}, "discount", "number"),
        ({"notify": 1}, "notify", "boolean"),
        ({"tags": "a"}, "tags", "array"),
        ({"iban": "SE35"}, "", "Not a known field: iban."),
    ],
)
def test_an_edit_outside_of_it_names_the_field_and_what_is_allowed(change, path, words):
    assert words in refused({**ORIGINAL, **change})[path]


def test_a_needed_field_cannot_be_left_out():
    edited = {name: value for name, value in ORIGINAL.items() if name != "payment_terms"}
    assert refused(edited) == {"payment_terms": "This field is needed."}


@pytest.mark.parametrize("edited", [None, [], "text", 7, True])
def test_a_payload_of_another_type_is_refused(edited):
    assert "object with named fields" in refused(edited)[""]


def test_a_fixed_field_that_was_absent_stays_absent():
    original = {"vendor_id": "V-1", "payment_terms": "NET60"}
    assert "left out" in refused({**original, "kind": "terms"}, original=original)["kind"]


@pytest.mark.parametrize("combiner", ["allOf", "anyOf", "oneOf"])
def test_a_fixed_field_is_found_inside_combinations_and_references(combiner):
    schema = {
        "$defs": {"id": {"type": "string", "readOnly": True}},
        combiner: [{"properties": {"account": {"$ref": "#/$defs/id"}}}],
    }
    assert refused({"account": "2"}, schema, {"account": "1"}).keys() == {"account"}


def test_fixed_fields_of_list_items_cannot_be_changed_dropped_or_added():
    item = {"properties": {"iban": {"type": "string", "readOnly": True}, "amount": {"type": "number"}}}
    schema = {"properties": {"rows": {"type": "array", "items": item}}}
    original = {"rows": [{"iban": "A", "amount": 1}]}
    assert "rows.0.iban" in refused({"rows": [{"iban": "B", "amount": 1}]}, schema, original)
    assert "rows.0.iban" in refused({"rows": []}, schema, original)
    added = {"rows": [{"iban": "A", "amount": 1}, {"iban": "C", "amount": 1}]}
    assert "rows.1.iban" in refused(added, schema, original)
    payload.check_edit(schema, original, {"rows": [{"iban": "A", "amount": 2}]})


def test_a_schema_that_refers_to_itself_ends():
    schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "id": {"readOnly": True}},
        "anyOf": [{"$ref": "#/properties/next"}],
    }
    assert "next.id" in refused({"id": 1, "next": {"id": 3}}, {**schema, "anyOf": []}, {"id": 1, "next": {"id": 2}})


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "http://127.0.0.1:9/schema"}, {"type": "nothing"}, {"pattern": "("}, {"properties": 3}],
    ids=["remote reference", "unknown type", "bad pattern", "malformed"],
)
def test_a_schema_that_cannot_be_enforced_is_refused(schema):
    with pytest.raises(Invalid, match="cannot be enforced"):
        payload.check_schema(schema)


def test_changed_fields_are_named_by_path():
    edited = {**ORIGINAL, "discount": 2, "address": {"country": "NO", "id": "A-1"}}
    del edited["notify"]
    assert payload.changed_fields(ORIGINAL, edited) == ["discount", "address.country", "notify"]


def test_true_and_one_are_different_and_one_is_one():
    assert payload.changed_fields({"a": True}, {"a": 1}) == ["a"]
    assert payload.changed_fields({"a": 1}, {"a": 1.0}) == []


# --- the form --------------------------------------------------------------------------------------------------------


def field(name, schema=SCHEMA, value=ORIGINAL):
    return next(item for item in fields.fields(schema, value) if item.name == name)


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("vendor_id", "fixed"),
        ("kind", "fixed"),
        ("payment_terms", "select"),
        ("effective_from", "date"),
        ("discount", "number"),
        ("notify", "select"),
        ("note", "text"),
        ("address.country", "text"),
        ("address.id", "fixed"),
        ("tags", "json"),
    ],
)
def test_each_value_gets_the_control_that_fits_its_schema(name, control):
    assert field(name).control == control


@pytest.mark.parametrize(
    ("value", "control"),
    [("1 December", "text"), ("", "date"), ("2026-12-01\n", "lines"), (None, "date"), (20261201, "json")],
)
def test_no_control_hides_a_value_it_cannot_show(value, control):
    assert field("effective_from", value={**ORIGINAL, "effective_from": value}).control == control


def test_a_value_outside_of_the_options_stands_among_them():
    wrong = field("payment_terms", value={**ORIGINAL, "payment_terms": "NET45"})
    assert wrong.choices == [("NET45", True), ("NET30", False), ("NET60", False)]


def test_a_form_that_nobody_touched_gives_the_payload_back():
    posted = {item.input_name: item.text for item in fields.fields(SCHEMA, ORIGINAL)}
    assert fields.read(SCHEMA, ORIGINAL, posted) == ORIGINAL
    assert fields.read(SCHEMA, ORIGINAL, {}) == ORIGINAL


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "a.b", "ö"]), json_values, max_size=6))
def test_an_untouched_form_never_changes_any_payload(value):
    """Browsers turn line breaks into CRLF; nothing else may change on the way through the page."""
    posted = {
        item.input_name: item.text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
        for item in fields.fields(SCHEMA, value)
    }
    assert payload.changed_fields(value, fields.read(SCHEMA, value, posted)) == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("effective_from", "2027-01-01", "2027-01-01"),
        ("payment_terms", "NET30", "NET30"),
        ("discount", "3", 3),
        ("discount", "1.25", 1.25),
        ("notify", "false", False),
        ("days", "14", 14),
        ("note", "two\r\nlines", "two\nlines"),
        ("address.country", "NO", {"country": "NO", "id": "A-1"}),
        ("tags", '["a"]', ["a"]),
    ],
)
def test_a_typed_value_keeps_its_type(name, text, value):
    edited = fields.read(SCHEMA, ORIGINAL, {f"payload.{name}": text})
    assert edited[name.partition(".")[0]] == value
    assert payload.changed_fields(ORIGINAL, edited) in ([name], [])


def test_an_emptied_optional_field_is_left_out():
    assert "effective_from" not in fields.read(SCHEMA, ORIGINAL, {"payload.effective_from": ""})


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        ("tags", "[1,", "tags"),
        ("tags", '{"a": NaN}', "tags"),
        ("tags", '{"a":1,"a":2}', "tags"),
        ("iban", "SE35", "iban"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name, text, path):
    with pytest.raises(PayloadRefused) as caught:
        fields.read(SCHEMA, ORIGINAL, {f"payload.{name}": text})
    assert caught.value.data["errors"][0]["path"] == path


def test_text_for_a_number_stays_text_so_that_the_schema_refuses_it():
    edited = fields.read(SCHEMA, ORIGINAL, {"payload.discount": "2,5"})
    assert "number" in refused(edited)["discount"]


# --- what will change ------------------------------------------------------------------------------------------------


def test_changes_say_now_proposed_and_whose_edit_it_is():
    current = {"vendor_id": "V-1", "payment_terms": "NET30", "discount": 2.5}
    lines = {
        line.name: line
        for line in fields.changes(SCHEMA, current, ORIGINAL, {**ORIGINAL, "effective_from": "2027-01-01"})
    }
    terms, date, discount = lines["payment_terms"], lines["effective_from"], lines["discount"]
    assert (terms.now, terms.proposed, terms.is_change, terms.is_edited) == ("NET30", "NET60", True, False)
    assert (date.now, date.proposed, date.is_edited, date.agent) == ("", "2027-01-01", True, "2026-12-01")
    assert (discount.now, discount.is_change) == ("2.5", False)
    assert lines["vendor_id"].is_change is False
    assert (lines["kind"].proposed, lines["kind"].is_sent, lines["kind"].is_fixed) == (ORIGINAL["kind"], True, True)


def test_a_value_that_the_call_leaves_out_is_shown_as_such():
    lines = {
        line.name: line
        for line in fields.changes(SCHEMA, {"note": "old"}, {"vendor_id": "V-1", "payment_terms": "NET30"})
    }
    assert (lines["note"].now, lines["note"].proposed, lines["note"].is_change) == ("old", "", True)
