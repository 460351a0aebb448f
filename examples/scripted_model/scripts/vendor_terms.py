"""Vendor terms review: compares what the ERP holds with what was signed, and proposes the difference.

The proposal carries one deliberate flaw, so that a person has something to find: the effective date is the month before
the one in the clause. The contradiction is shown as evidence, as it should be.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from examples.scripted_model.contracts import Agreement, read_agreement
from examples.scripted_model.records import find_record
from examples.scripted_model.transcript import Answer, Transcript, Turn, dotted

WORDS = ("payment terms", "vendor", "contract", "amendment", "erp")
VENDOR = re.compile(r"\bV-\d{5}\b")
CONTRACT = re.compile(r"\bCON-\d{3,6}\b")
VENDOR_KEYS = frozenset({"vendor_id", "payment_terms"})
SEARCH_KEYS = frozenset({"documents"})
DOCUMENT_KEYS = frozenset({"document_id", "text"})
AGREEMENTS = frozenset({"contract", "amendment", "annex"})
MAX_DOCUMENTS = 10

# Hundredths of confidence. What each finding is worth; a contradiction costs more than a confirmation brings.
BASE = 40
SIGNED_AGREEMENT = 15
NAMES_THE_VENDOR = 10
NAMES_A_CLAUSE = 8
ORIGINAL_AGREES_WITH_ERP = 10
NAMES_NO_DATE = -6
CONTRADICTION = -12
UNSIGNED_PAPER = -5


@dataclass(frozen=True)
class Case:
    """Everything that was read. `vendor` is the ERP's record; `agreements` are all papers of the contract."""

    reference: str
    vendor: Mapping[str, Any]
    agreements: Sequence[Agreement]
    vendor_tool: str
    document_tool: str

    @property
    def governing(self) -> Agreement | None:
        """The agreement that was signed last."""
        binding = [agreement for agreement in self.agreements if agreement.binds]
        return max(binding, key=lambda agreement: agreement.signed_on or date.min, default=None)

    @property
    def unsigned(self) -> list[Agreement]:
        return [one for one in self.agreements if one.kind == "amendment" and one.signed_on is None]


def next_turn(transcript: Transcript) -> Turn:
    """Read vendor and papers, then compare. Ids come from the task; what cannot be read is said."""
    named, contract = VENDOR.search(transcript.task), CONTRACT.search(transcript.task)
    if named is None:
        return _unread("", "", "The task names no vendor.")
    vendor_id, query = named[0], {"query": contract[0] if contract else named[0]}
    first = [
        *transcript.pending("getVendor", {"vendor_id": vendor_id}, VENDOR_KEYS),
        *transcript.pending("searchDocuments", query, SEARCH_KEYS),
    ]
    if first:
        return first
    wanted = list(_relevant(transcript.record("searchDocuments", query, SEARCH_KEYS), query["query"]))
    papers = [call for one in wanted for call in transcript.pending("getDocument", {"document_id": one}, DOCUMENT_KEYS)]
    if papers:
        return papers
    vendor = transcript.record("getVendor", {"vendor_id": vendor_id}, VENDOR_KEYS) or _given(transcript, vendor_id)
    if vendor is None:
        reason = transcript.last_result("getVendor") or "no tool for it was offered"
        return _unread(vendor_id, query["query"], f"Vendor {vendor_id} could not be read: {reason}")
    return conclude(_case(transcript, vendor, wanted, query["query"]))


def conclude(case: Case) -> Answer:
    """The proposal, or the statement that nothing needs to change."""
    governing = case.governing
    if governing is None:
        return _unchanged(case, "No signed agreement that names payment terms was found.", [_missing(case)])
    if f"NET{governing.days}" == case.vendor["payment_terms"]:
        text = f"{governing.document_id} and the ERP agree on Net-{governing.days}."
        return _unchanged(case, text, [_terms_found(case, governing), *_signature(case, governing), *_drafts(case)])
    return _proposal(case, governing)


def _proposal(case: Case, governing: Agreement) -> Answer:
    proposed = proposed_date(governing)
    agreement = "Contract amendment" if governing.kind == "amendment" else "Contract"
    where = f"clause {governing.clause}" if governing.clause else "its text"
    rationale = (
        f"{agreement} {governing.document_id}, signed {governing.signed_on}, reference {case.reference}:"
        f" {where} says Net-{governing.days}, the ERP holds {spoken(case.vendor['payment_terms'])}."
    )
    if governing.effective_on:
        rationale += (
            f" Invoices of the month before fall due after the clause begins, so it is proposed from {proposed}."
        )
    else:
        rationale += f" It names no first day, so the month after its signature is proposed: {proposed}."
    evidence = [
        _terms_found(case, governing),
        *_signature(case, governing),
        _date_found(case, governing, proposed),
        *_drafts(case),
    ]
    return _answer(
        case,
        change_needed=True,
        payment_terms=f"NET{governing.days}",
        effective_from=proposed.isoformat(),
        rationale=rationale,
        evidence=evidence,
        contradictions=sum(item["tone"] == "rose" for item in evidence),
    )


def _unchanged(case: Case, rationale: str, evidence: list[dict[str, Any]]) -> Answer:
    return _answer(
        case,
        change_needed=False,
        payment_terms=case.vendor["payment_terms"],
        effective_from=case.vendor.get("terms_effective_from"),
        rationale=rationale,
        evidence=evidence,
        contradictions=0,
    )


def _answer(
    case: Case,
    *,
    change_needed: bool,
    payment_terms: str,
    effective_from: str | None,
    rationale: str,
    evidence: list[dict[str, Any]],
    contradictions: int,
) -> Answer:
    confidence = f"{confidence_hundredths(case, contradictions) / 100:.2f}"
    facts = {
        "change_needed": change_needed,
        "vendor_id": case.vendor["vendor_id"],
        "payment_terms": payment_terms,
        "effective_from": effective_from,
        "reference": case.reference,
        "rationale": rationale,
        "confidence": confidence,
        "evidence": [
            _item("Contract reference", case.reference, "emerald", case.document_tool, "$.contract_reference"),
            _item("Current terms", spoken(case.vendor["payment_terms"]), "slate", case.vendor_tool, "$.payment_terms"),
            *evidence,
            _item("Agent confidence", confidence, "amber", "agent", "$.confidence"),
        ],
    }
    return Answer(facts, rationale)


def proposed_date(governing: Agreement) -> date:
    """A first of the month: the one before the clause's date (the flaw), or the one after the signature."""
    if governing.effective_on:
        return (governing.effective_on.replace(day=1) - timedelta(days=1)).replace(day=1)
    return ((governing.signed_on or date.min).replace(day=28) + timedelta(days=7)).replace(day=1)


def confidence_hundredths(case: Case, contradictions: int) -> int:
    """How sure, out of 100, counted from what was found."""
    governing = case.governing
    score = BASE + contradictions * CONTRADICTION + len(case.unsigned) * UNSIGNED_PAPER
    if governing is None:
        return max(score, 5)
    original = next((one for one in case.agreements if one.kind == "contract" and one is not governing), None)
    score += SIGNED_AGREEMENT
    score += NAMES_THE_VENDOR if case.vendor["vendor_id"] in governing.text else 0
    score += NAMES_A_CLAUSE if governing.clause else 0
    score += ORIGINAL_AGREES_WITH_ERP if original and f"NET{original.days}" == case.vendor["payment_terms"] else 0
    score += 0 if governing.effective_on else NAMES_NO_DATE
    return min(max(score, 5), 95)


def spoken(terms: str) -> str:
    """`NET30` as people say it: Net-30."""
    return f"Net-{terms.removeprefix('NET')}"


def _relevant(found: Mapping[str, Any] | None, asked: str) -> Iterator[str]:
    """Ids of the agreements, and of other papers that mention payment, of the contract or vendor that was asked for."""
    listed = found["documents"] if found and isinstance(found["documents"], list) else []
    for one in [entry for entry in listed if isinstance(entry, dict)][:MAX_DOCUMENTS]:
        hint = f"{one.get('title', '')} {one.get('excerpt', '')}".lower()
        belongs = asked in {one.get("contract_reference"), one.get("vendor_id")}
        if belongs and (one.get("kind") in AGREEMENTS or "payment" in hint) and isinstance(one.get("document_id"), str):
            yield one["document_id"]


def _case(transcript: Transcript, vendor: Mapping[str, Any], wanted: Sequence[str], reference: str) -> Case:
    documents = [transcript.record("getDocument", {"document_id": one}, DOCUMENT_KEYS) for one in wanted]
    agreements = [read_agreement(one) for one in documents if one and one.get("kind") in AGREEMENTS]
    return Case(
        reference=reference,
        vendor=vendor,
        agreements=agreements,
        vendor_tool=dotted(transcript.tool("getVendor") or "task"),
        document_tool=dotted(transcript.tool("getDocument") or "task"),
    )


def _given(transcript: Transcript, vendor_id: str) -> dict[str, Any] | None:
    """The vendor's record where the task itself carries it."""
    record = find_record(transcript.task, VENDOR_KEYS)
    return record if record and record["vendor_id"] == vendor_id else None


def _terms_found(case: Case, governing: Agreement) -> dict[str, Any]:
    where = f"clause {governing.clause} of {governing.document_id}" if governing.clause else governing.document_id
    return _item(f"Terms in {where}", f"Net-{governing.days}", "emerald", case.document_tool, "$.text")


def _signature(case: Case, governing: Agreement) -> Iterator[dict[str, Any]]:
    yield _item(f"{governing.document_id} signed", str(governing.signed_on), "emerald", case.document_tool, "$.text")


def _date_found(case: Case, governing: Agreement, proposed: date) -> dict[str, Any]:
    if governing.effective_on is None:
        return _item("Effective date", f"none named; {proposed} proposed", "amber", case.document_tool, "$.text")
    if governing.effective_on == proposed:
        return _item("Effective date", str(proposed), "emerald", case.document_tool, "$.text")
    contradiction = f"{governing.document_id} says {governing.effective_on}, the proposal says {proposed}"
    return _item("Effective date", contradiction, "rose", case.document_tool, "$.text")


def _drafts(case: Case) -> Iterator[dict[str, Any]]:
    for draft in case.unsigned:
        said = f"{draft.document_id} would set Net-{draft.days}" if draft.days else draft.document_id
        yield _item("Not signed", f"{said}; it binds nobody", "amber", case.document_tool, "$.text")


def _missing(case: Case) -> dict[str, Any]:
    return _item("Signed agreement", "none found", "rose", case.document_tool, "$.text")


def _item(label: str, value: str, tone: str, tool: str, path: str) -> dict[str, Any]:
    return {"label": label, "value": value, "tone": tone, "source": {"tool": tool, "path": path}}


def _unread(vendor_id: str, reference: str, text: str) -> Answer:
    facts = {
        "change_needed": False,
        "vendor_id": vendor_id,
        "payment_terms": None,
        "effective_from": None,
        "reference": reference,
        "rationale": text,
        "confidence": "0.00",
        "evidence": [],
    }
    return Answer(facts, text)
