"""The document store's tools: finding papers and reading one. What a paper says is text of strangers."""

import sqlite3
from pathlib import Path

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from examples.docs.data import SCHEMA, seed
from examples.mcp_server import Answer, Arguments, Tool, ToolBox, ToolError, session_manager
from examples.store import Store, open_store

MAX_MATCHES = 20
EXCERPT_CHARACTERS = 160
HEADING = ("document_id", "kind", "title", "vendor_id", "contract_reference", "filed_on")
# Agreements before the notes that mention them, so that a common word cannot push a contract off the page.
ORDER = "CASE kind WHEN 'contract' THEN 0 WHEN 'amendment' THEN 1 WHEN 'annex' THEN 2 ELSE 3 END, document_id"


def search_documents(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    words = arguments["query"].lower().split()
    rows = connection.execute(f"SELECT * FROM document ORDER BY {ORDER}").fetchall()  # noqa: S608  a constant
    found = [row for row in rows if all(word in _searchable(row) for word in words)]
    documents = [{**_heading(row), "excerpt": _excerpt(row["text"], words)} for row in found[:MAX_MATCHES]]
    return {"query": arguments["query"], "count": len(found), "documents": documents}


def get_document(connection: sqlite3.Connection, arguments: Arguments) -> Answer:
    document_id = arguments["document_id"]
    row = connection.execute("SELECT * FROM document WHERE document_id = ?", (document_id,)).fetchone()
    if row is None:
        raise ToolError("document_not_found", f"There is no document {document_id}.")
    return {**_heading(row), "text": row["text"]}


def _heading(row: sqlite3.Row) -> Answer:
    return {name: row[name] for name in HEADING}


def _searchable(row: sqlite3.Row) -> str:
    return " ".join(row[name] for name in (*HEADING, "text")).lower()


def _excerpt(text: str, words: list[str]) -> str:
    """The text around the first word found, on one line."""
    hits = [text.lower().find(word) for word in words]
    start = max(0, min((hit for hit in hits if hit >= 0), default=0) - EXCERPT_CHARACTERS // 4)
    return " ".join(text[start : start + EXCERPT_CHARACTERS].split())


TOOLS = (
    Tool(
        name="searchDocuments",
        description=f"Finds contracts, amendments, annexes and notes whose heading or text contains every word of the"
        f" query; at most {MAX_MATCHES}, agreements first, each with an excerpt. Changes nothing.",
        answer=search_documents,
        properties={"query": {"type": "string", "minLength": 1, "maxLength": 200}},
        required=("query",),
    ),
    Tool(
        name="getDocument",
        description="Reads one document with its full text, as it was filed by whoever wrote it. Changes nothing.",
        answer=get_document,
        properties={
            "document_id": {
                "type": "string",
                "pattern": "^[A-Z]{2,5}-[A-Z0-9-]{1,40}$",
                "description": "Document number, for example CON-1000 or CON-1000-A1.",
            },
        },
        required=("document_id",),
    ),
)


def build(database: Path) -> tuple[Store, StreamableHTTPSessionManager]:
    """The document store over the SQLite file `database`, which is created and seeded when missing."""
    store = open_store(database, schema=SCHEMA, seed=seed)
    manager = session_manager(
        "example-docs",
        title="Documents (example)",
        instructions="Contracts and other papers of an invented company.",
        box=ToolBox(TOOLS, store),
    )
    return store, manager
