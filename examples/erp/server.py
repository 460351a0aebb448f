"""The ERP's tools: reading vendors and invoices, and the one change that is worth an approval."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from examples.erp.data import PAYMENT_TERMS, SCHEMA, money, seed, totals
from examples.mcp_server import Answer, Arguments, Tool, ToolBox, ToolError, session_manager
from examples.store import Store, open_store

VENDOR_ID = {"type": "string", "pattern": "^V-[0-9]{5}$", "description": "Vendor number, for example V-10001."}
IDEMPOTENCY_KEY = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/-]{7,199}$",
    "description": "Chosen by the caller, one per intended change. A repeated key never changes anything twice.",
}
INVOICE_STATUS = ["open", "paid", "overdue", "disputed"]


def get_vendor(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    return dict(_vendor(connection, arguments["vendor_id"]))


def list_invoices(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    vendor = _vendor(connection, arguments["vendor_id"])
    status = arguments.get("status")
    rows = connection.execute(
        "SELECT invoice_id, issued_on, due_on, amount, currency, status FROM invoice"
        " WHERE vendor_id = ? AND (? IS NULL OR status = ?) ORDER BY issued_on DESC, invoice_id",
        (vendor["vendor_id"], status, status),
    ).fetchall()
    return {
        "vendor_id": vendor["vendor_id"],
        "status": status or "any",
        "count": len(rows),
        "total": totals(rows),
        "invoices": [_invoice(row) for row in rows],
    }


def update_vendor_terms(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    """Record new terms and one ledger row. Repeating the key answers the first result and changes nothing."""
    done = _change(connection, arguments["idempotency_key"])
    if done is not None:
        if any(done[name] != value for name, value in arguments.items()):
            raise ToolError(
                "idempotency_key_reused",
                f"The key {arguments['idempotency_key']} was used for another change ({done['change_id']});"
                " nothing was changed now. Use a new key for a new change.",
            )
        return done
    vendor = _vendor(connection, arguments["vendor_id"])
    if vendor["status"] == "blocked":
        raise ToolError("vendor_blocked", f"Vendor {vendor['vendor_id']} is blocked; its terms cannot be changed.")
    connection.execute(
        "INSERT INTO ledger (idempotency_key, vendor_id, payment_terms, effective_from, reference,"
        " previous_payment_terms, previous_effective_from, recorded_at)"
        " VALUES (:idempotency_key, :vendor_id, :payment_terms, :effective_from, :reference,"
        " :previous_payment_terms, :previous_effective_from, :recorded_at)",
        {
            **arguments,
            "previous_payment_terms": vendor["payment_terms"],
            "previous_effective_from": vendor["terms_effective_from"],
            "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    connection.execute(
        "UPDATE vendor SET payment_terms = :payment_terms, terms_effective_from = :effective_from,"
        " terms_reference = :reference WHERE vendor_id = :vendor_id",
        arguments,
    )
    recorded = _change(connection, arguments["idempotency_key"])
    if recorded is None:
        raise ToolError("not_recorded", "The ledger did not keep the change; nothing was changed.")
    return recorded


def verify_terms_update(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    change = _change(connection, arguments["idempotency_key"])
    return {"idempotency_key": arguments["idempotency_key"], "happened": change is not None, "result": change}


def export_ledger(connection: sqlite3.Connection, _arguments: Arguments) -> Answer:
    vendors = connection.execute("SELECT vendor_id, name, tax_id, bank_account FROM vendor ORDER BY vendor_id")
    changes = connection.execute("SELECT * FROM ledger ORDER BY number")
    return {"vendors": [dict(row) for row in vendors], "ledger": [_as_change(row) for row in changes]}


def _vendor(connection: sqlite3.Connection, vendor_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT vendor_id, name, country, currency, contact_email, status, payment_terms, terms_effective_from,"
        " terms_reference FROM vendor WHERE vendor_id = ?",
        (vendor_id,),
    ).fetchone()
    if row is None:
        raise ToolError("vendor_not_found", f"There is no vendor {vendor_id}.")
    return row


def _change(connection: sqlite3.Connection, key: str) -> Answer | None:
    row = connection.execute("SELECT * FROM ledger WHERE idempotency_key = ?", (key,)).fetchone()
    return None if row is None else _as_change(row)


def _as_change(row: sqlite3.Row) -> Answer:
    fields = dict(row)
    return {"change_id": f"CHG-{fields.pop('number'):06d}", **fields}


def _invoice(row: sqlite3.Row) -> Answer:
    fields = dict(row)
    amount = money(fields.pop("amount"), fields.pop("currency"))
    return {**fields, "amount": amount}


TOOLS = (
    Tool(
        name="getVendor",
        description="Reads one vendor: name, status, currency, and the payment terms on file with the date they take"
        " effect and the contract they refer to. Changes nothing.",
        answer=get_vendor,
        properties={"vendor_id": VENDOR_ID},
        required=("vendor_id",),
    ),
    Tool(
        name="listInvoices",
        description="Lists a vendor's invoices, newest first, with their total per currency; only those of one status"
        " when a status is given. Changes nothing.",
        answer=list_invoices,
        properties={"vendor_id": VENDOR_ID, "status": {"type": "string", "enum": INVOICE_STATUS}},
        required=("vendor_id",),
    ),
    Tool(
        name="updateVendorTerms",
        description="Replaces the payment terms on file for a vendor, and when they take effect. Every invoice from"
        " that date on is due by the new terms. Each change adds one row to the ledger. Repeating an idempotency key"
        " with the same arguments answers the first result and changes nothing; with other arguments it is an error.",
        answer=update_vendor_terms,
        properties={
            "vendor_id": VENDOR_ID,
            "payment_terms": {
                "type": "string",
                "enum": list(PAYMENT_TERMS),
                "description": "Days from invoice to payment.",
            },
            "effective_from": {
                "type": "string",
                "format": "date",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                "description": "First day of the new terms, YYYY-MM-DD.",
            },
            "reference": {
                "type": "string",
                "pattern": "^[A-Z]{2,5}-[A-Z0-9-]{1,40}$",
                "description": "The contract or amendment that says so, for example CON-1000 or CON-1000-A1.",
            },
            "idempotency_key": IDEMPOTENCY_KEY,
        },
        required=("vendor_id", "payment_terms", "effective_from", "reference", "idempotency_key"),
        changes=True,
        idempotent=True,
    ),
    Tool(
        name="verifyTermsUpdate",
        description="Answers whether an updateVendorTerms call with this idempotency key happened, and with what"
        " values. Changes nothing.",
        answer=verify_terms_update,
        properties={"idempotency_key": IDEMPOTENCY_KEY},
        required=("idempotency_key",),
    ),
    Tool(
        name="exportLedger",
        description="Exports the whole change ledger and every vendor with its tax number and bank account. Changes"
        " nothing. Meant for the finance team's own audits, not for agents.",
        answer=export_ledger,
    ),
)


def build(database: Path) -> tuple[Store, StreamableHTTPSessionManager]:
    """The ERP over the SQLite file `database`, which is created and seeded when missing."""
    store = open_store(database, schema=SCHEMA, seed=seed)
    manager = session_manager(
        "example-erp",
        title="ERP (example)",
        instructions="Vendors, invoices and payment terms of an invented company.",
        box=ToolBox(TOOLS, store),
    )
    return store, manager
