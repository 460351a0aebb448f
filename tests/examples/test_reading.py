"""How the scripted model reads: agreements as a clerk would, JSON through whatever is wrapped around it."""

import json
from datetime import date

import pytest

from examples.scripted_model.contracts import read_agreement
from examples.scripted_model.records import find_record, strings

CLAUSE = "7.2 Payment terms. The Buyer pays Net-60."


@pytest.mark.parametrize(
    ("text", "days", "clause", "effective_on", "signed_on"),
    [
        (f"{CLAUSE} Effective from 2027-01-01.\nSigned on 2026-04-12 by both.", 60, "7.2", date(2027, 1, 1), date(2026, 4, 12)),
        (f"{CLAUSE} It takes effect on 1 January 2027.\nSigned on 12 April 2026.", 60, "7.2", date(2027, 1, 1), date(2026, 4, 12)),
        ("Terms move from net 30 to net 45 with effect from 2027-03-01.", 45, "", date(2027, 3, 1), None),
        (f"3.1 Delivery in 5 days.\n{CLAUSE}", 60, "7.2", None, None),
        (f"{CLAUSE}\nNot signed on 2026-04-12.", 60, "7.2", None, None),
        (f"{CLAUSE} Effective from 2027-02-30.\nSigned on 31 Juno 2026.", 60, "7.2", None, None),
        ("A letter about the weather.", None, "", None, None),
        ("", None, "", None, None),
    ],
)  # fmt: skip
def test_an_agreement_is_read_from_its_words(text, days, clause, effective_on, signed_on):
    read = read_agreement({"document_id": "X-1", "kind": "contract", "text": text})
    assert (read.days, read.clause, read.effective_on, read.signed_on) == (days, clause, effective_on, signed_on)
    assert read.binds is (signed_on is not None and days is not None)


RECORD = {"vendor_id": "V-10001", "terms": {"days": 30}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORD),
        f"<data>\n{json.dumps({'origin': 'erp', 'content': RECORD})}\n</data>",
        json.dumps({"content": [{"type": "text", "text": json.dumps(RECORD)}]}),
        f"{{not json}} then {json.dumps(RECORD)}",
    ],
)
def test_a_record_is_found_through_what_is_wrapped_around_it(text):
    assert find_record(text, frozenset({"vendor_id", "terms"})) == RECORD


def test_strings_come_unescaped_out_of_json_in_json():
    inner = json.dumps({"text": 'say "hello"', "more": ["{braces} are not JSON"]})
    assert list(strings(json.dumps({"block": inner}))) == ['say "hello"', "{braces} are not JSON"]
    assert list(strings("no JSON at all")) == ["no JSON at all"]


@pytest.mark.parametrize("text", ["", "{", "no json", '{"vendor_id": 1', "[1, 2]", '{"other": 1}'])
def test_no_record_is_none(text):
    assert find_record(text, frozenset({"vendor_id"})) is None


@pytest.mark.parametrize("depth", [100, 900, 5_000])
def test_deep_nesting_of_a_stranger_breaks_nothing(depth):
    text = '{"a":' * depth + '"bottom"' + "}" * depth
    assert list(strings(text))[-1:] in (["bottom"], [text])
