"""What an agent lays before a person, held against what tools really answered in this run (T25). Pure.

A claim stays a claim: only where the platform itself found the value, in the answer of a call of this run at the path
that was named, does `emerald` stay. Otherwise it becomes `slate` and says who claims it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from approvals.evidence import LONGEST, MOST_ITEMS, NEUTRAL, SUPPORTS, TONES, at_path, is_same, text_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What one succeeded call of the run brought. `call` is its public id."""

    call: str
    tool: str
    content: Any


def judged(items: Any, answers: Sequence[Answer], *, claimed_by: str) -> list[dict[str, str]]:
    """The items in order, as an approval stores them. What is not an item at all is left out, never guessed."""
    rows = items if isinstance(items, list) else []
    return [_judged(item, answers, claimed_by) for item in rows[:MOST_ITEMS] if _is_item(item)]


def _is_item(item: Any) -> bool:
    return isinstance(item, Mapping) and bool(text_of(item.get("label"))) and bool(text_of(item.get("value")))


def _judged(item: Mapping[str, Any], answers: Sequence[Answer], claimed_by: str) -> dict[str, str]:
    tone = item.get("tone") if item.get("tone") in TONES else NEUTRAL
    shown = {"label": text_of(item["label"])[: LONGEST["label"]], "value": text_of(item["value"])[: LONGEST["value"]]}
    found = _found(item, answers)
    if found is None:
        return {
            **shown,
            "tone": NEUTRAL if tone == SUPPORTS else str(tone),
            "note": f"claimed by {claimed_by}"[: LONGEST["note"]],
        }
    answer, path = found
    return {
        **shown,
        "tone": str(tone),
        "note": f"found by the platform in the answer of {answer.tool}",
        "source": f"{answer.tool} {path} {answer.call}"[: LONGEST["source"]],
    }


def _found(item: Mapping[str, Any], answers: Sequence[Answer]) -> tuple[Answer, str] | None:
    source = item.get("source")
    if not isinstance(source, Mapping):
        return None
    tool, path = text_of(source.get("tool")), text_of(source.get("path"))
    for answer in answers:
        if answer.tool == tool and path and is_same(at_path(answer.content, path), item["value"]):
            return answer, path
    return None
