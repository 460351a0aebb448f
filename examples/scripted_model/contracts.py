"""Reads agreements as a clerk would: which clause sets the payment terms, from when, and whether anybody signed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")  # fmt: skip
DATE = r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})|(?P<long_day>\d{1,2}) (?P<name>[A-Za-z]{3,9}) (?P<long_year>\d{4})"
CLAUSE = re.compile(r"^\s*(?P<number>\d+(?:\.\d+)+)\s+(?P<text>.+)$", re.MULTILINE)
# "from Net-30 to Net-60" names the old terms first.
TERMS = re.compile(r"(?:from\s+Net[- ]?\d{1,3}\s+to\s+)?\bNet[- ]?(?P<days>\d{1,3})\b", re.IGNORECASE)
EFFECTIVE = re.compile(rf"\b(?:effective|takes? effect|with effect)\s+(?:from|on|as of)\s+(?:{DATE})", re.IGNORECASE)
SIGNED = re.compile(rf"(?<!not )\bsigned\s+on\s+(?:{DATE})", re.IGNORECASE)


@dataclass(frozen=True)
class Agreement:
    """What one paper says about payment. `clause` is the number it stands under, empty when it stands under none."""

    document_id: str
    kind: str
    text: str
    days: int | None
    clause: str
    effective_on: date | None
    signed_on: date | None

    @property
    def binds(self) -> bool:
        """Whether it is signed and says something about payment."""
        return self.signed_on is not None and self.days is not None


def read_agreement(document: Mapping[str, Any]) -> Agreement:
    """An agreement from a document record of any store that gives `document_id`, `kind` and `text`."""
    text = str(document.get("text", ""))
    number, clause = _payment_clause(text)
    terms = TERMS.search(clause)
    return Agreement(
        document_id=str(document.get("document_id", "")),
        kind=str(document.get("kind", "")),
        text=text,
        days=int(terms["days"]) if terms else None,
        clause=number,
        effective_on=_date(EFFECTIVE.search(clause)) or _date(EFFECTIVE.search(text)),
        signed_on=_date(SIGNED.search(text)),
    )


def _payment_clause(text: str) -> tuple[str, str]:
    """The numbered clause that names terms, or the whole text under no number."""
    for clause in CLAUSE.finditer(text):
        if TERMS.search(clause["text"]):
            return clause["number"], clause["text"]
    return "", text


def _date(match: re.Match[str] | None) -> date | None:
    """The date of a match, or None when there is none or no such day."""
    if match is None:
        return None
    try:
        if match["year"]:
            return date(int(match["year"]), int(match["month"]), int(match["day"]))
        return date(int(match["long_year"]), MONTHS.index(match["name"].lower()) + 1, int(match["long_day"]))
    except ValueError:
        return None
