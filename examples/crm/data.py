"""The CRM's tables and its invented rows: 40 accounts, 120 contacts, no recorded change."""

import sqlite3
from typing import Any

FIRST_ACCOUNT_NUMBER = 20401
CONTACTS_PER_ACCOUNT = 3
STAGES = ("prospect", "qualified", "customer", "churned")
NAMES = (
    "Aldgate", "Brightwater", "Cobalt", "Driftwood", "Emberley", "Foxglove", "Greyfriars", "Harrow Hill", "Ivybridge",
    "Juniper", "Kingfisher", "Larkspur", "Meridian", "Norwell", "Overbrook", "Pinecrest", "Quillon", "Redfern",
    "Stonebridge", "Thistledown",
)  # fmt: skip
INDUSTRIES = ("Retail", "Energy", "Healthcare", "Software", "Hospitality", "Manufacturing", "Education")
FORMS = ("Group", "Partners", "Works")
CITIES = (
    ("Rotterdam", "3011 AA", "NL"), ("Leeds", "LS1 4DY", "GB"), ("Malmö", "211 19", "SE"), ("Bremen", "28195", "DE"),
    ("Odense", "5000", "DK"), ("Lyon", "69002", "FR"), ("Porto", "4000-069", "PT"),
)  # fmt: skip
STREETS = ("Harbor Road", "Station Square", "Mill Lane", "Orchard Street", "Canal Side")
PEOPLE = (
    "Ada Lund", "Ben Okafor", "Chiara Moretti", "Dmitri Aalto", "Elif Kaya", "Femi Adeyemi", "Greta Nyström",
    "Hugo Almeida", "Ines Carvalho", "Jonas Weber", "Kaori Tan", "Liam Doyle", "Marta Nowak", "Noor Haddad",
    "Oskar Lindh", "Petra Vos", "Quentin Roux", "Rosa Iglesias", "Samir Rahman", "Tove Berg",
)  # fmt: skip
POSITIONS = ("Head of Procurement", "Finance Director", "Operations Manager", "IT Lead", "Managing Director")
OWNERS = ("sofia@northwind.example", "daniel@northwind.example", "amara@northwind.example")
NOTES = (
    "Asked for a second quote in spring; prefers calls in the morning.",
    "Renewal due at the end of the year, price is the open point.",
    "Uses the standard plan in two locations and wants to add a third.",
    "Paused the pilot until the new budget year.",
)

SCHEMA = """
CREATE TABLE account (
  account_id     TEXT PRIMARY KEY,
  name           TEXT NOT NULL,
  industry       TEXT NOT NULL,
  website        TEXT NOT NULL,
  stage          TEXT NOT NULL CHECK (stage IN ('prospect', 'qualified', 'customer', 'churned')),
  owner          TEXT NOT NULL,
  employees      INTEGER NOT NULL,
  annual_revenue TEXT NOT NULL CHECK (annual_revenue GLOB '*[0-9].[0-9][0-9]'),
  currency       TEXT NOT NULL,
  notes          TEXT NOT NULL,
  street         TEXT NOT NULL,
  city           TEXT NOT NULL,
  postal_code    TEXT NOT NULL,
  country        TEXT NOT NULL,
  payment_kind   TEXT NOT NULL CHECK (payment_kind IN ('card', 'direct_debit', 'invoice')),
  payment_holder TEXT NOT NULL,
  payment_number TEXT NOT NULL
) STRICT;

CREATE TABLE contact (
  contact_id  TEXT PRIMARY KEY,
  account_id  TEXT NOT NULL REFERENCES account,
  name        TEXT NOT NULL,
  position    TEXT NOT NULL,
  email       TEXT NOT NULL,
  phone       TEXT NOT NULL,
  street      TEXT NOT NULL,
  city        TEXT NOT NULL,
  postal_code TEXT NOT NULL,
  country     TEXT NOT NULL
) STRICT;
CREATE INDEX contact_by_account ON contact (account_id, contact_id);

CREATE TABLE account_change (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id  TEXT NOT NULL REFERENCES account,
  field       TEXT NOT NULL,
  before      TEXT NOT NULL,
  after       TEXT NOT NULL,
  recorded_at TEXT NOT NULL
) STRICT;
"""


def seed(connection: sqlite3.Connection) -> None:
    """Fill empty tables; the same rows on every machine."""
    for index in range(40):
        account = _account_row(index)
        connection.execute(f"INSERT INTO account VALUES ({', '.join('?' * len(account))})", account)  # noqa: S608  only question marks
        connection.executemany("INSERT INTO contact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _contact_rows(index))


def _account_row(index: int) -> tuple[Any, ...]:
    # Steps that share no factor with the lists' lengths, so that neighbours differ.
    name = f"{NAMES[(index * 7) % 20]} {FORMS[index % 3]}"
    city, postal_code, country = CITIES[(index * 3) % 7]
    return (
        f"ACC-{FIRST_ACCOUNT_NUMBER + index}",
        name,
        INDUSTRIES[(index * 5) % 7],
        f"https://{_domain(index)}",
        STAGES[(index * 3) % 4],
        OWNERS[(index * 2) % 3],
        40 + (index * 173) % 1900,
        f"{1_200_000 + (index * 977_431) % 38_000_000}.00",
        "EUR",
        NOTES[(index * 3) % 4],
        f"{3 + (index * 13) % 180} {STREETS[(index * 2) % 5]}",
        city,
        postal_code,
        country,
        ("card", "direct_debit", "invoice")[index % 3],
        name,
        # The last four digits only, as a payment provider would show them.
        f"•••• {1000 + (index * 389) % 9000}",
    )


def _contact_rows(index: int) -> list[tuple[Any, ...]]:
    rows = []
    for position in range(CONTACTS_PER_ACCOUNT):
        number = index * CONTACTS_PER_ACCOUNT + position
        person = PEOPLE[(number * 3 + index) % 20]
        city, postal_code, country = CITIES[(index * 3 + position) % 7]
        rows.append(
            (
                f"CNT-{number + 1:05d}",
                f"ACC-{FIRST_ACCOUNT_NUMBER + index}",
                person,
                POSITIONS[(number * 2) % 5],
                f"{person.lower().replace(' ', '.').replace('ö', 'o')}@{_domain(index)}",
                f"+00 555 {1000 + number * 7:04d}",
                f"{5 + (number * 11) % 160} {STREETS[number % 5]}",
                city,
                postal_code,
                country,
            )
        )
    return rows


def _domain(index: int) -> str:
    return f"{NAMES[(index * 7) % 20].lower().replace(' ', '-')}-{FORMS[index % 3].lower()}.example"
