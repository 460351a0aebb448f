"""What an agent lays before a person: a list of facts, each with a tone that is a word as well. Pure.

A claim stays a claim: only where the platform's own record holds the value, in the answer of the call and at the path
that are named, does `emerald` stay. Otherwise it is shown as `slate`, and as what the agent claims (T25).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from provenance.errors import Invalid, NotFound
from provenance.ids import parse_public_id

TONES = {"emerald": "support", "slate": "neutral", "amber": "caution", "rose": "contradict"}
"""Tone and what it says. Emerald is for what the platform verified (T25)."""

SUPPORTS = "emerald"
CONTRADICTS = "rose"
NEUTRAL = "slate"
MOST_ITEMS = 50
LONGEST = {"label": 120, "value": 2000, "tone": 10, "note": 1000, "source": 300, "digest": 128}
_NOUNS = {"caution": "caution", "neutral": "fact"}
_NEEDED = ("label", "value", "tone")


def checked(items: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The items as they are stored, in the order given. Raises `Invalid` naming each that is malformed."""
    if len(items) > MOST_ITEMS:
        raise Invalid(f"Evidence has at most {MOST_ITEMS} items; this has {len(items)}.")
    errors = [error for index, item in enumerate(items) for error in _errors(index, item)]
    if errors:
        raise Invalid("The evidence is not valid.", errors=errors)
    return [dict(item) for item in items]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one succeeded call brought."""

    tool: str
    content: Any


@dataclass(frozen=True, slots=True)
class Source:
    """Where an item says that its value was found: `<tool> <path> <call_…>`."""

    tool: str
    path: str
    call_id: UUID

    @classmethod
    def of(cls, item: Mapping[str, str]) -> "Source | None":
        """The source that the item names; None when it names none that could be looked up."""
        tool, _, rest = item.get("source", "").partition(" ")
        path, _, call = rest.rpartition(" ")
        try:
            return cls(tool, path, parse_public_id("call", call)) if tool and path else None
        except NotFound:
            return None


def calls_named(items: Iterable[Mapping[str, str]]) -> set[UUID]:
    """The calls in whose answers the items say that they were found."""
    return {source.call_id for item in items if (source := Source.of(item))}


def held_against(
    items: Sequence[Mapping[str, str]], answers: Mapping[UUID, Answer], *, agent: str
) -> list[dict[str, str]]:
    """The items as a person sees them. `answers`: what the platform itself recorded, by call.

    What nobody wrote but the agent says so: it keeps no source, no `emerald`, and no word about who found it.
    """
    return [_witnessed(item, answers) or _claimed(item, agent) for item in items]


def at_path(value: Any, path: str) -> Any:
    """The value at `terms.items.0.net`, `terms.items[0].net` or `/terms/items/0/net`; None when there is none."""
    for part in [part for part in re.split(r"[./\[\]]+", path.removeprefix("$")) if part]:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def is_same(found: Any, claimed: Any) -> bool:
    """Whether a value that was found reads like the one that was claimed."""
    return found is not None and not isinstance(found, Mapping | list) and text_of(found) == text_of(claimed)


def text_of(value: Any) -> str:
    """A text, number or truth value as evidence shows it; "" for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _witnessed(item: Mapping[str, str], answers: Mapping[UUID, Answer]) -> dict[str, str] | None:
    source = Source.of(item)
    answer = answers.get(source.call_id) if source else None
    if source is None or answer is None or answer.tool != source.tool:
        return None
    if not is_same(at_path(answer.content, source.path), item["value"]):
        return None
    return {**item, "note": f"found by the platform in the answer of {answer.tool}"}


def _claimed(item: Mapping[str, str], agent: str) -> dict[str, str]:
    said = item.get("note", "")
    note = said if said.startswith("claimed by ") else f"claimed by the agent {agent}" + (f": {said}" if said else "")
    tone = NEUTRAL if item["tone"] == SUPPORTS else item["tone"]
    return {"label": item["label"], "value": item["value"], "tone": tone, "note": note}


def counts(items: Sequence[Mapping[str, str]]) -> str:
    """The header in words: `2 support, 1 caution, 1 contradicts, 3 facts`; together they are all the items."""
    found = Counter(item["tone"] for item in items)
    order = sorted(TONES.items(), key=lambda entry: entry[0] == NEUTRAL)
    return ", ".join(_counted(found[tone], word) for tone, word in order if found[tone])


def contradictions(items: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """What speaks against the request: each must be ticked as read before a high-risk approval."""
    return [item for item in items if item["tone"] == CONTRADICTS]


def _counted(count: int, word: str) -> str:
    if word in _NOUNS:
        return f"{count} {_NOUNS[word]}{'' if count == 1 else 's'}"
    return f"{count} {word}{'s' if count == 1 else ''}"


def _errors(index: int, item: Any) -> list[dict[str, str]]:
    where = f"evidence.{index}"
    if not isinstance(item, Mapping):
        return [{"path": where, "message": "An item is an object with label, value and tone."}]
    errors = [{"path": f"{where}.{name}", "message": "Text is needed here."} for name in _NEEDED if not item.get(name)]
    for name, value in item.items():
        if name not in LONGEST:
            errors.append({"path": f"{where}.{name}", "message": f"Not a part of evidence: {', '.join(LONGEST)}."})
        elif not isinstance(value, str) or len(value) > LONGEST[name]:
            errors.append({"path": f"{where}.{name}", "message": f"Text of at most {LONGEST[name]} characters."})
    if item.get("tone") and item["tone"] not in TONES:
        errors.append({"path": f"{where}.tone", "message": f"One of {', '.join(TONES)}."})
    return errors
