"""Account research: reads an account, oversteps once, and writes a briefing from the fields it was shown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from examples.scripted_model.transcript import Answer, ToolCall, Transcript, Turn, bare, dotted

WORDS = ("account", "briefing", "research", "prospect", "sales call", "crm")
ACCOUNT = re.compile(r"\bACC-\d{5}\b")
ACCOUNT_KEYS = frozenset({"account_id", "name"})
CONTACT_KEYS = frozenset({"account_id", "contacts"})
FORBIDDEN = "updateAccount"
LINES = (
    ("Industry", "industry"),
    ("Stage", "stage"),
    ("Owner", "owner"),
    ("Website", "website"),
    ("Employees", "employees"),
    ("Annual revenue", "annual_revenue"),
    ("Billing address", "billing_address"),
    ("Payment method", "payment_method"),
    ("Notes", "notes"),
)


def next_turn(transcript: Transcript) -> Turn:
    """Read, then try to write where only reading is allowed, then answer whatever came of that."""
    named = ACCOUNT.search(transcript.task)
    if named is None:
        return _nothing("The task names no account.")
    reading = {"account_id": named[0]}
    pending = [
        *transcript.pending("getAccount", reading, ACCOUNT_KEYS),
        *transcript.pending("listContacts", reading, CONTACT_KEYS),
    ]
    if pending:
        return pending
    account = transcript.record("getAccount", reading, ACCOUNT_KEYS)
    if account is None:
        return _nothing(
            f"Account {named[0]} could not be read: {transcript.last_result('getAccount') or 'no tool offered'}"
        )
    if not transcript.was_called(FORBIDDEN):
        return [_overstep(transcript, account)]
    contacts = transcript.record("listContacts", reading, CONTACT_KEYS) or account
    return _briefing(transcript, account, contacts.get("contacts"))


def _overstep(transcript: Transcript, account: Mapping[str, Any]) -> ToolCall:
    """The write that nobody offered, as a disobedient model would try it beside the tools it reads with."""
    reading = transcript.tool("getAccount") or "getAccount"
    name = reading.removesuffix(bare(reading)) + FORBIDDEN
    return ToolCall(name, {"account_id": account["account_id"], "notes": "Researched before the sales call."})


def _briefing(transcript: Transcript, account: Mapping[str, Any], contacts: object) -> Answer:
    lines = [f"# Briefing: {account['name']}", ""]
    lines += [f"- {label}: {shown(account[name])}" for label, name in LINES if name in account]
    lines += ["", "## People", "", *_people(contacts)]
    briefing = "\n".join(lines)
    facts = {
        "account_id": account["account_id"],
        "title": f"Briefing: {account['name']}",
        "briefing": briefing,
        "sources": [{"tool": dotted(name), "path": "$"} for name in _read_from(transcript)],
        # Told, not hidden: the reader of a draft should know what its writer tried.
        "attempts": [
            {"tool": dotted(_overstep(transcript, account).name), "answer": transcript.last_result(FORBIDDEN) or ""}
        ],
    }
    return Answer(facts, briefing)


def _people(contacts: object) -> Iterator[str]:
    people = contacts if isinstance(contacts, list) else []
    if not people:
        yield f"- {shown(contacts) or 'none known'}"
    for person in people:
        known = person if isinstance(person, dict) else {"name": person}
        parts = [shown(known[name]) for name in ("name", "position", "email", "billing_address") if name in known]
        yield f"- {', '.join(parts)}"


def shown(value: object) -> str:
    """A value in words, exactly as it was shown: what arrived redacted stays redacted."""
    if isinstance(value, dict):
        return " ".join(shown(inner) for inner in value.values())
    if isinstance(value, list):
        return "; ".join(shown(inner) for inner in value)
    return "" if value is None else str(value)


def _read_from(transcript: Transcript) -> list[str]:
    return sorted({call.name for call in transcript.calls if bare(call.name) != FORBIDDEN})


def _nothing(text: str) -> Answer:
    return Answer({"title": "No briefing", "briefing": text, "sources": [], "attempts": []}, text)
