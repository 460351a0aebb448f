"""The redaction engine: fields in every dress, known secrets in every encoding, nothing hidden; pure."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.dlp import hidden
from provenance.dlp.engine import FieldPolicy, Redactor
from provenance.dlp.fields import REDACTED, WITHHELD, FieldRedactor
from provenance.dlp.secrets import SecretCutter, StreamCutter

VALUE = "Zq81 marker"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
SPELLINGS = [
    "billing_address",
    "billingAddress",
    "Billing-Address",
    "BILLING ADDRESS",
    "\uff42illing_address",
    "customer.billing_address",
]


def redact(value):
    return FieldRedactor(["billing_address"]).value(value)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_field_is_meant_however_it_is_spelled(spelling):
    assert redact({spelling: {"street": VALUE}}) == {spelling: REDACTED}


@pytest.mark.parametrize("value", [VALUE, 17, 1.5, True, [VALUE], {"a": [VALUE]}, None])
def test_the_whole_value_goes_whatever_its_type(value):
    assert redact([{"billing_address": value, "id": 1}]) == [{"billing_address": REDACTED, "id": 1}]


LINES = [
    "billing_address: {}",
    "Billing address = {}",
    "- **Billing address**: {}",
    "> billing-address => {}",
    "billing_address:\n  street: {}\n  town: x",
    "Billing address:\n{}\n",
    '{{"billing_address": "{}", "broken',
    'He said: {{"a": [{{"billing_address": "{}"}}]}} today',
    '"{{\\"billing_address\\": \\"{}\\"}}"',
    "id: 1, billing_address: {}",
]


@pytest.mark.parametrize("line", LINES)
def test_a_field_in_text_is_withheld(line):
    redacted = redact(line.format(VALUE))
    assert VALUE not in redacted
    assert REDACTED in redacted


@pytest.mark.parametrize("text", ["He is the addressee of the bill.", "rebilling_addressed: 4", "no: fields"])
def test_text_that_does_not_name_the_field_stays(text):
    assert redact(text) == text


def test_a_sentence_about_the_field_goes_and_what_stands_beside_it_stays():
    assert redact({"note": f"The billing address is {VALUE}.", "id": 7}) == {"note": WITHHELD, "id": 7}


@given(JSON)
def test_what_holds_no_field_is_unchanged(value):
    redactor = FieldRedactor(["zzzqqqzzz"])
    assert redactor.value(value) == value
    assert not redactor.hits


@given(JSON, JSON)
def test_a_field_is_found_at_any_depth_and_redacting_twice_changes_nothing(around, under):
    once = redact({"a": [around, {"billing_address": [VALUE, under]}]})
    assert VALUE not in json.dumps(once)
    assert redact(once) == once


def test_hostile_brackets_take_no_long_time_and_leak_nothing():
    text = '{"a":' * 20_000 + f"billing_address: {VALUE}"
    assert VALUE not in redact(text)


def test_a_value_nested_deeper_than_anything_honest_is_withheld():
    value = {"billing_address": VALUE}
    for _ in range(200):
        value = [value]
    assert VALUE not in json.dumps(redact(value))


SECRET = "s3cr/t+value=42"
ENCODINGS = {
    "plain": SECRET,
    "in a sentence": f"the key is {SECRET}.",
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 of more": base64.b64encode(f"Bearer {SECRET}, yes".encode()).decode(),
    "base64 shifted": base64.b64encode(f"xy{SECRET}z".encode()).decode(),
    "base64url": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "URL": quote(SECRET, safe=""),
    "form": quote_plus(SECRET),
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    "JSON in text": json.dumps({"k": SECRET}),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_known_secret_is_cut_in_every_encoding(name):
    text, count = SecretCutter([SECRET.encode()]).cut(ENCODINGS[name])
    assert count == 1
    assert SECRET not in text
    assert base64.b64encode(SECRET.encode()).decode()[2:-4] not in text


@given(st.lists(st.integers(1, 9), max_size=30))
def test_a_stream_cut_anywhere_gives_what_the_whole_text_gives(sizes):
    whole = f"data: {SECRET} and {SECRET.encode().hex()} end {SECRET}".encode()
    cutter = StreamCutter(SecretCutter([SECRET.encode()]))
    out, position = b"", 0
    for size in sizes:
        out += cutter.feed(whole[position : position + size])
        position += size
    out += cutter.feed(whole[position:]) + cutter.finish()
    assert out.decode() == SecretCutter([SECRET.encode()]).cut(whole.decode())[0]


def test_a_cutter_never_shows_what_it_looks_for():
    assert SECRET not in repr(SecretCutter([SECRET.encode()]))


@given(st.text(alphabet="abcÀЖ漢字مन 12\n\t.,", max_size=60))
def test_visible_text_is_not_touched(text):
    assert hidden.strip(text) == (text, 0)


def test_a_hidden_character_inside_a_secret_does_not_save_it():
    redactor = Redactor([FieldPolicy("p", ("x",))], [SECRET.encode()])
    assert SECRET not in redactor.value({"a": SECRET[:4] + "\u200b" + SECRET[4:]})["a"]
    assert redactor.findings().secrets == 1
