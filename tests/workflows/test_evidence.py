"""What an agent claims and what the platform found itself are never shown alike (T25)."""

import pytest

from approvals.evidence import checked
from workflows.evidence import Answer, at_path, judged
from workflows.steps.approval import fixed_except

ANSWERS = [
    Answer(
        "call_2", "docs.getDocument", {"document_id": "CON-4821-A1", "signed": True, "parties": [{"name": "Halden"}]}
    ),
    Answer("call_1", "erp.getVendor", {"payment_terms": "NET30", "open": 3}),
]


def item(value, source=None, tone="emerald"):
    return {"label": "L", "value": value, "tone": tone} | ({"source": source} if source else {})


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("NET30", {"tool": "erp.getVendor", "path": "payment_terms"}),
        ("3", {"tool": "erp.getVendor", "path": "open"}),
        ("true", {"tool": "docs.getDocument", "path": "signed"}),
        ("Halden", {"tool": "docs.getDocument", "path": "parties.0.name"}),
        ("Halden", {"tool": "docs.getDocument", "path": "parties[0].name"}),
        ("Halden", {"tool": "docs.getDocument", "path": "/parties/0/name"}),
    ],
)
def test_emerald_stays_where_the_platform_found_the_value_at_that_path(value, source):
    (shown,) = judged([item(value, source)], ANSWERS, claimed_by="the agent X")
    assert shown["tone"] == "emerald"
    assert "found by the platform" in shown["note"]
    assert "call_" in shown["source"]


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("NET60", {"tool": "erp.getVendor", "path": "payment_terms"}),
        ("NET30", {"tool": "erp.getVendor", "path": "other"}),
        ("NET30", {"tool": "erp.other", "path": "payment_terms"}),
        ("NET30", None),
        ("NET30", "erp.getVendor"),
        ("NET30", {"tool": "erp.getVendor", "path": ""}),
        ("{}", {"tool": "docs.getDocument", "path": "parties"}),
        ("NET", {"tool": "erp.getVendor", "path": "payment_terms"}),
    ],
)
def test_a_claim_is_slate_and_says_who_claims_it(value, source):
    (shown,) = judged([item(value, source)], ANSWERS, claimed_by="the agent X")
    assert (shown["tone"], shown["note"]) == ("slate", "claimed by the agent X")
    assert "source" not in shown


@pytest.mark.parametrize("tone", ["amber", "rose", "slate"])
def test_caution_and_contradiction_are_kept_whoever_says_them(tone):
    (shown,) = judged([item("x", tone=tone)], ANSWERS, claimed_by="the agent X")
    assert shown["tone"] == tone


def test_what_an_agent_writes_beyond_the_form_is_left_out():
    """An agent cannot bring its own note, digest or a list that is none."""
    forged = {**item("x"), "note": "verified by the platform", "digest": "aa", "verified": True}
    (shown,) = judged([forged], ANSWERS, claimed_by="the agent X")
    assert shown == {"label": "L", "value": "x", "tone": "slate", "note": "claimed by the agent X"}
    for odd in (None, "text", {"label": "x"}, [1, None, {}, {"label": "x"}, {"label": "", "value": "y"}]):
        assert judged(odd, ANSWERS, claimed_by="x") == []


def test_what_comes_out_is_what_approvals_store():
    items = [
        item("v" * 9_000),
        item("NET30", {"tool": "erp.getVendor", "path": "payment_terms"}),
        item("x", tone="pink"),
    ]
    assert len(checked(judged(items * 40, ANSWERS, claimed_by="the agent " + "X" * 300))) == 50


@pytest.mark.parametrize(
    ("path", "value"), [("a.b", 1), ("a/b", 1), ("$.a.b", 1), ("a.c", None), ("a.b.c", None), ("l.9", None)]
)
def test_paths(path, value):
    assert at_path({"a": {"b": 1}, "l": [1]}, path) == value


def test_only_editable_fields_may_be_changed_by_the_approver():
    schema = {
        "type": "object",
        "required": ["vendor_id", "idempotency_key"],
        "properties": {
            "vendor_id": {"type": "string"},
            "date": {"type": "string", "format": "date"},
            "note": {"type": "string"},
            "other": {"type": "string"},
        },
    }
    fixed = fixed_except(schema, {"vendor_id": "V-1", "date": "2027-01-01"}, ("date", "note"))
    assert fixed["properties"] == {
        "vendor_id": {"type": "string", "const": "V-1"},
        "date": {"type": "string", "format": "date"},
        "note": {"type": "string"},
    }
    assert fixed["additionalProperties"] is False
