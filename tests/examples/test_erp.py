"""The ERP's tools, above all the one that changes something."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import pytest

from tests.examples.processes import count

CHANGE = {
    "vendor_id": "V-10233",
    "payment_terms": "NET60",
    "effective_from": "2027-01-01",
    "reference": "CON-4821",
    "idempotency_key": "run_a:update:1",
}


def test_the_vendor_of_the_demo_holds_net_30(erp):
    vendor = erp.read("getVendor", vendor_id="V-10233")
    assert (vendor["name"], vendor["payment_terms"], vendor["terms_reference"]) == (
        "Halden Supply AB",
        "NET30",
        "CON-4821",
    )
    assert "bank_account" not in vendor


@pytest.mark.parametrize("tool", ["getVendor", "listInvoices"])
def test_an_unknown_vendor_is_a_tool_error(erp, tool):
    result = erp.call(tool, vendor_id="V-99999")
    assert result.is_error
    assert result.structured_content["error"]["code"] == "vendor_not_found"


def test_invoices_are_filtered_and_their_total_is_exact(erp):
    everything = erp.read("listInvoices", vendor_id="V-10233")
    paid = erp.read("listInvoices", vendor_id="V-10233", status="paid")
    assert everything["count"] == 8
    assert {one["status"] for one in paid["invoices"]} == {"paid"}
    total = sum(Decimal(one["amount"]["amount"]) for one in paid["invoices"])
    assert paid["total"] == [{"amount": str(total), "currency": "SEK"}]


def test_changed_terms_are_in_the_vendor_and_once_in_the_ledger(erp):
    before = count(erp, "ledger")
    change = erp.read("updateVendorTerms", **{**CHANGE, "idempotency_key": "changed-once"})
    vendor = erp.read("getVendor", vendor_id="V-10233")
    assert (vendor["payment_terms"], vendor["terms_effective_from"]) == ("NET60", "2027-01-01")
    assert change["previous_payment_terms"] == "NET30"
    assert count(erp, "ledger") == before + 1


def test_a_repeated_key_answers_the_first_result_and_changes_nothing(erp):
    change = {**CHANGE, "vendor_id": "V-10203", "idempotency_key": "repeated-key"}
    first = erp.read("updateVendorTerms", **change)
    erp.read("updateVendorTerms", **{**change, "payment_terms": "NET90", "idempotency_key": "another-change"})
    before = count(erp, "ledger")
    assert erp.read("updateVendorTerms", **change) == first
    assert erp.read("getVendor", vendor_id="V-10203")["payment_terms"] == "NET90"
    assert count(erp, "ledger") == before


def test_a_key_with_other_arguments_is_an_error_and_changes_nothing(erp):
    change = {**CHANGE, "vendor_id": "V-10204", "idempotency_key": "reused-key"}
    erp.read("updateVendorTerms", **change)
    result = erp.call("updateVendorTerms", **{**change, "payment_terms": "NET15"})
    assert result.structured_content["error"]["code"] == "idempotency_key_reused"
    assert erp.read("getVendor", vendor_id="V-10204")["payment_terms"] == "NET60"


def test_eight_callers_with_one_key_make_one_change(erp):
    change = {**CHANGE, "vendor_id": "V-10206", "idempotency_key": "eight-at-once"}
    before = count(erp, "ledger")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: erp.read("updateVendorTerms", **change), range(8)))
    assert len({answer["change_id"] for answer in answers}) == 1
    assert count(erp, "ledger") == before + 1


def test_verify_tells_what_a_key_did_and_what_it_did_not(erp):
    change = {**CHANGE, "vendor_id": "V-10208", "idempotency_key": "verified-key"}
    assert erp.read("verifyTermsUpdate", idempotency_key="verified-key") == {
        "idempotency_key": "verified-key",
        "happened": False,
        "result": None,
    }
    recorded = erp.read("updateVendorTerms", **change)
    assert erp.read("verifyTermsUpdate", idempotency_key="verified-key")["result"] == recorded


@pytest.mark.parametrize(
    "wrong",
    [
        {"payment_terms": "NET31"},
        {"payment_terms": "Net-60"},
        {"effective_from": "2027-02-30"},
        {"effective_from": "1 January 2027"},
        {"vendor_id": "V-10233; DROP TABLE vendor"},
        {"reference": ""},
        {"idempotency_key": "short"},
        {"approved_by": "maya"},
    ],
)
def test_arguments_outside_the_schema_are_refused_and_change_nothing(erp, wrong):
    before = count(erp, "ledger")
    result = erp.call("updateVendorTerms", **{**CHANGE, "idempotency_key": "never-used", **wrong})
    assert result.is_error
    assert result.structured_content["error"]["code"] == "invalid_arguments"
    assert count(erp, "ledger") == before


def test_a_blocked_vendor_is_not_changed(erp):
    result = erp.call("updateVendorTerms", **{**CHANGE, "vendor_id": "V-10224", "idempotency_key": "blocked-1"})
    assert result.structured_content["error"]["code"] == "vendor_blocked"


def test_the_ledger_cannot_be_rewritten_even_by_hand(erp):
    erp.read("updateVendorTerms", **{**CHANGE, "vendor_id": "V-10209", "idempotency_key": "kept-forever"})
    with closing(sqlite3.connect(erp.database)) as connection:
        for statement in ("DELETE FROM ledger", "UPDATE ledger SET payment_terms = 'NET15'"):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                connection.execute(statement)


def test_the_export_gives_away_more_than_any_agent_should_get(erp):
    export = erp.read("exportLedger")
    assert len(export["vendors"]) == 40
    assert all(vendor["bank_account"] for vendor in export["vendors"])
