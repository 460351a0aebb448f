"""The ERP's tables and its invented rows: 40 vendors, 320 invoices, an empty ledger."""

import sqlite3
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from examples.vendors import AMENDMENTS, Vendor, vendors

PAYMENT_TERMS = ("NET15", "NET30", "NET45", "NET60", "NET90")
INVOICES_PER_VENDOR = 8
LAST_ISSUE = date(2026, 10, 26)
BLOCKED_VENDORS = (10224,)

SCHEMA = """
CREATE TABLE vendor (
  vendor_id            TEXT PRIMARY KEY,
  name                 TEXT NOT NULL,
  country              TEXT NOT NULL,
  currency             TEXT NOT NULL,
  tax_id               TEXT NOT NULL,
  bank_account         TEXT NOT NULL,
  contact_email        TEXT NOT NULL,
  status               TEXT NOT NULL CHECK (status IN ('active', 'blocked')),
  payment_terms        TEXT NOT NULL CHECK (payment_terms IN ('NET15', 'NET30', 'NET45', 'NET60', 'NET90')),
  terms_effective_from TEXT NOT NULL CHECK (terms_effective_from IS date(terms_effective_from)),
  terms_reference      TEXT NOT NULL
) STRICT;

-- Amounts are decimal strings: a binary float cannot hold 0.10.
CREATE TABLE invoice (
  invoice_id TEXT PRIMARY KEY,
  vendor_id  TEXT NOT NULL REFERENCES vendor,
  issued_on  TEXT NOT NULL,
  due_on     TEXT NOT NULL,
  amount     TEXT NOT NULL CHECK (amount GLOB '*[0-9].[0-9][0-9]'),
  currency   TEXT NOT NULL,
  status     TEXT NOT NULL CHECK (status IN ('open', 'paid', 'overdue', 'disputed'))
) STRICT;
CREATE INDEX invoice_by_vendor ON invoice (vendor_id, issued_on);

CREATE TABLE ledger (
  number                  INTEGER PRIMARY KEY AUTOINCREMENT,
  idempotency_key         TEXT NOT NULL UNIQUE,
  vendor_id               TEXT NOT NULL REFERENCES vendor,
  payment_terms           TEXT NOT NULL,
  effective_from          TEXT NOT NULL,
  reference               TEXT NOT NULL,
  previous_payment_terms  TEXT NOT NULL,
  previous_effective_from TEXT NOT NULL,
  recorded_at             TEXT NOT NULL
) STRICT;
CREATE TRIGGER ledger_keeps_rows BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER ledger_keeps_values BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
"""


def seed(connection: sqlite3.Connection) -> None:
    """Fill empty tables; the same rows on every machine."""
    for index, vendor in enumerate(vendors()):
        connection.execute("INSERT INTO vendor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _vendor_row(index, vendor))
        connection.executemany("INSERT INTO invoice VALUES (?, ?, ?, ?, ?, ?, ?)", _invoice_rows(index, vendor))


def money(amount: str, currency: str) -> dict[str, str]:
    """An amount as it leaves the ERP: a decimal string with its currency."""
    return {"amount": amount, "currency": currency}


def totals(rows: Iterable[sqlite3.Row]) -> list[dict[str, str]]:
    """The sum per currency."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["currency"]] = sums.get(row["currency"], Decimal("0.00")) + Decimal(row["amount"])
    return [money(str(amount), currency) for currency, amount in sorted(sums.items())]


def _vendor_row(index: int, vendor: Vendor) -> tuple[Any, ...]:
    days, effective_from, reference = _terms_on_file(vendor)
    domain = vendor.name.rsplit(" ", 1)[0].lower().replace(" ", "-")
    return (
        vendor.vendor_id,
        vendor.name,
        vendor.country,
        vendor.currency,
        f"{vendor.country}{559_000_000 + index * 7_919}",
        # 00 is never a valid IBAN check number: nobody's account.
        f"{vendor.country}00 EXMP {1000 + index * 37:04d} {2000 + index * 53:04d}",
        f"accounts@{domain}.example",
        "blocked" if vendor.number in BLOCKED_VENDORS else "active",
        f"NET{days}",
        effective_from.isoformat(),
        reference,
    )


def _terms_on_file(vendor: Vendor) -> tuple[int, date, str]:
    """What the ERP was told, which is not everything that was signed."""
    for amendment in AMENDMENTS:
        if amendment.vendor == vendor.number and amendment.in_erp:
            return amendment.days, amendment.effective_on, f"{vendor.contract}-A{amendment.number}"
    return vendor.days, vendor.agreed_on, vendor.contract


def _invoice_rows(index: int, vendor: Vendor) -> list[tuple[Any, ...]]:
    rows = []
    for step in range(INVOICES_PER_VENDOR):
        issued_on = LAST_ISSUE - timedelta(days=29 * step + index % 23)
        due_on = issued_on + timedelta(days=vendor.days)
        amount = (
            Decimal(9_950 + (index * 7_717 + step * 13_337) % 88_000) + Decimal((index * 31 + step * 17) % 100) / 100
        )
        number = index * INVOICES_PER_VENDOR + step + 1
        status = _invoice_status(index, step, due_on)
        rows.append(
            (f"INV-2026-{number:05d}", vendor.vendor_id, issued_on.isoformat(), due_on.isoformat(),
             f"{amount:.2f}", vendor.currency, status)
        )  # fmt: skip
    return rows


def _invoice_status(index: int, step: int, due_on: date) -> str:
    if (index + step) % 19 == 7:
        return "disputed"
    if due_on > LAST_ISSUE:
        return "open"
    return "overdue" if step < 3 and (index * 3 + step) % 11 == 4 else "paid"
