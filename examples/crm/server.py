"""The CRM's tools. Accounts carry what an agent rarely needs - where they are billed and how they pay - at two depths."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from examples.crm.data import SCHEMA, STAGES, seed
from examples.mcp_server import Answer, Arguments, Tool, ToolBox, ToolError, session_manager
from examples.store import Store, open_store

ACCOUNT_ID = {"type": "string", "pattern": "^ACC-[0-9]{5}$", "description": "Account number, for example ACC-10001."}
MAX_MATCHES = 20
# Written out, so that no text of a caller is ever part of a statement.
CHANGES = {
    "stage": "UPDATE account SET stage = ? WHERE account_id = ?",
    "owner": "UPDATE account SET owner = ? WHERE account_id = ?",
    "notes": "UPDATE account SET notes = ? WHERE account_id = ?",
}


def get_account(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    row = _account(connection, arguments["account_id"])
    return {**_summary(row), **_details(row), "contacts": _contacts(connection, row["account_id"])}


def search_accounts(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    words = arguments["query"].lower().split()
    rows = connection.execute("SELECT * FROM account ORDER BY account_id").fetchall()
    found = [row for row in rows if all(word in _searchable(row) for word in words)]
    return {
        "query": arguments["query"],
        "count": len(found),
        "accounts": [_summary(row) for row in found[:MAX_MATCHES]],
    }


def list_contacts(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    account = _account(connection, arguments["account_id"])
    contacts = _contacts(connection, account["account_id"])
    return {"account_id": account["account_id"], "count": len(contacts), "contacts": contacts}


def update_account(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    account = _account(connection, arguments["account_id"])
    changes = {name: arguments[name] for name in CHANGES if name in arguments}
    if not changes:
        raise ToolError("nothing_to_change", f"Name at least one of {', '.join(CHANGES)}; nothing was changed.")
    recorded_at = datetime.now(UTC).isoformat(timespec="seconds")
    for name, value in changes.items():
        connection.execute(CHANGES[name], (value, account["account_id"]))
        connection.execute(
            "INSERT INTO account_change (account_id, field, before, after, recorded_at) VALUES (?, ?, ?, ?, ?)",
            (account["account_id"], name, account[name], value, recorded_at),
        )
    return {**_summary(_account(connection, account["account_id"])), "changed": sorted(changes)}


def _account(connection: sqlite3.Connection, account_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute("SELECT * FROM account WHERE account_id = ?", (account_id,)).fetchone()
    if row is None:
        raise ToolError("account_not_found", f"There is no account {account_id}.")
    return row


def _searchable(row: sqlite3.Row) -> str:
    return " ".join(row[name] for name in ("account_id", "name", "industry", "city", "stage")).lower()


def _summary(row: sqlite3.Row) -> Answer:
    return {name: row[name] for name in ("account_id", "name", "industry", "stage", "owner", "website")}


def _details(row: sqlite3.Row) -> Answer:
    return {
        "employees": row["employees"],
        "annual_revenue": {"amount": row["annual_revenue"], "currency": row["currency"]},
        "notes": row["notes"],
        "billing_address": _address(row),
        "payment_method": {
            "kind": row["payment_kind"],
            "holder": row["payment_holder"],
            "number": row["payment_number"],
        },
    }


def _contacts(connection: sqlite3.Connection, account_id: str) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT * FROM contact WHERE account_id = ? ORDER BY contact_id", (account_id,))
    fields = ("contact_id", "name", "position", "email", "phone")
    return [{**{name: row[name] for name in fields}, "billing_address": _address(row)} for row in rows]


def _address(row: sqlite3.Row) -> dict[str, str]:
    return {name: row[name] for name in ("street", "city", "postal_code", "country")}


TOOLS = (
    Tool(
        name="getAccount",
        description="Reads one account with its notes, revenue, billing address, payment method and contacts, each"
        " contact with a billing address of its own. Changes nothing.",
        answer=get_account,
        properties={"account_id": ACCOUNT_ID},
        required=("account_id",),
    ),
    Tool(
        name="searchAccounts",
        description=f"Finds accounts whose number, name, industry, city or stage contains every word of the query;"
        f" at most {MAX_MATCHES}, in order of number. Changes nothing.",
        answer=search_accounts,
        properties={"query": {"type": "string", "minLength": 1, "maxLength": 200}},
        required=("query",),
    ),
    Tool(
        name="listContacts",
        description="Lists the people known at an account, each with a billing address. Changes nothing.",
        answer=list_contacts,
        properties={"account_id": ACCOUNT_ID},
        required=("account_id",),
    ),
    Tool(
        name="updateAccount",
        description="Changes stage, owner or notes of an account and records each changed field. A repeated call"
        " records a second change.",
        answer=update_account,
        properties={
            "account_id": ACCOUNT_ID,
            "stage": {"type": "string", "enum": list(STAGES)},
            "owner": {"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$", "maxLength": 200},
            "notes": {"type": "string", "maxLength": 2000},
        },
        required=("account_id",),
        changes=True,
    ),
)


def build(database: Path) -> tuple[Store, StreamableHTTPSessionManager]:
    """The CRM over the SQLite file `database`, which is created and seeded when missing."""
    store = open_store(database, schema=SCHEMA, seed=seed)
    manager = session_manager(
        "example-crm",
        title="CRM (example)",
        instructions="Accounts and contacts of an invented company.",
        box=ToolBox(TOOLS, store),
    )
    return store, manager
