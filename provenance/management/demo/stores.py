"""The example servers' own files and the model server's own memory: what the story is held against in the end."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx2

from provenance.home import Home

Row = dict[str, Any]
BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stores:
    """Reads past the platform: a story that only asked the platform would believe it about itself."""

    home: Home

    def vendor(self, vendor_id: str) -> Row:
        """The ERP's row of a vendor."""
        return self._row("erp", "SELECT * FROM vendor WHERE vendor_id = ?", vendor_id)

    def ledger(self, vendor_id: str) -> list[Row]:
        """Every change of the vendor's terms, oldest first."""
        return self._rows("erp", "SELECT * FROM ledger WHERE vendor_id = ? ORDER BY number", vendor_id)

    def restore_vendor(self, vendor_id: str, contract: str) -> bool:
        """Give the vendor back the terms it had before its first change, as if nobody had told the ERP; was it needed?

        The ledger keeps every row: it only grows.
        """
        changes = self.ledger(vendor_id)
        if not changes:
            return False
        first = changes[0]
        with closing(self._open("erp")) as connection, connection:
            done = connection.execute(
                "UPDATE vendor SET payment_terms = :terms, terms_effective_from = :since, terms_reference = :contract"
                " WHERE vendor_id = :vendor AND (payment_terms, terms_effective_from) <> (:terms, :since)",
                {
                    "terms": first["previous_payment_terms"],
                    "since": first["previous_effective_from"],
                    "contract": contract,
                    "vendor": vendor_id,
                },
            )
            return done.rowcount > 0

    def document(self, document_id: str) -> Row:
        """A paper of the document store."""
        return self._row("docs", "SELECT * FROM document WHERE document_id = ?", document_id)

    def account_changes(self) -> int:
        """How many changes the CRM has recorded."""
        return int(self._row("crm", "SELECT count(*) AS changes FROM account_change")["changes"])

    def billing_values(self, account_id: str) -> list[str]:
        """Where an account and its people are billed and what it pays with: what no model may ever read."""
        account = self._row("crm", "SELECT * FROM account WHERE account_id = ?", account_id)
        contacts = self._rows("crm", "SELECT * FROM contact WHERE account_id = ?", account_id)
        values = [row[name] for row in (account, *contacts) for name in ("street", "postal_code", "city")]
        return sorted({*values, account["payment_number"]})

    def model_requests(self, *, after: int = 0) -> list[Row]:
        """What the model server received, byte for byte: `{number, body}`, numbers counting up."""
        answer = httpx2.get(
            f"http://127.0.0.1:{self.home.ports().scripted_model}/requests",
            headers={"Authorization": f"Bearer {self.home.read_key('model-key')}"},
            timeout=20,
            trust_env=False,
        )
        requests: list[Row] = answer.raise_for_status().json()["requests"]
        return [request for request in requests if request["number"] > after]

    def _open(self, name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{(self.home.examples / f'{name}.sqlite3').as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _rows(self, name: str, statement: str, *parameters: str) -> list[Row]:
        with closing(self._open(name)) as connection:
            return [dict(row) for row in connection.execute(statement, parameters)]

    def _row(self, name: str, statement: str, *parameters: str) -> Row:
        rows = self._rows(name, statement, *parameters)
        if not rows:
            raise LookupError(f"The example {name} has no such row: {', '.join(parameters)}.")
        return rows[0]


def spellings(value: str) -> Iterator[str]:
    """How a value can stand in JSON: as it is, escaped, and escaped once more where JSON stands inside JSON."""
    yield value
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
