"""What people type to find events, and filters in the words that they read: pure but for the names of things."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from audit import names
from audit.names import MOST_FOUND, Thing
from audit.selectors import EventFilters, held_id
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.ids import is_short_id, public_id, short_id
from provenance.risk import Risk
from provenance.templatetags.console import OUTCOMES

LABELS = {
    "action": "event",
    "actor_type": "who",
    "actor_id": "actor",
    "object_type": "what",
    "object_id": "object",
    "run": "run",
    "risk": "risk",
    "outcome": "outcome",
    "about": "about",
    "since": "since",
    "until": "until",
    "last": "time",
}

# The words of the table's chips, so that what is asked for is what is read.
OUTCOME_WORDS = [(value, word) for value, (_, _, word) in OUTCOMES.items()]


LAST = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
_NAMES = {
    name: field
    for field, names in {
        "action": ("event", "type"),
        "actor_type": ("who",),
        "actor_id": ("actor", "member", "agent"),
        "object_type": ("what",),
        "object_id": ("object", "target"),
        "run": ("run",),
        "risk": ("risk",),
        "outcome": ("outcome",),
    }.items()
    for name in names
}

ACTIONS = frozenset(name for event in Event for name in (event.value, event.domain, event.verb))
"""What a search for types of events takes: whole names, what they are about, and what happened."""

_DAY = re.compile(r"(20\d\d)-(\d\d)(?:-(\d\d))?")
_BETWEEN_WORDS = re.compile("[._]")
_MOST_WORDS = 6
_LONGEST_NAME = 3  # words
_OF_FEW_WORDS = {"actor_type", "risk", "outcome"}


@dataclass(frozen=True, slots=True)
class Pill:
    """A filter in force: what it is, and the address's query without it. `is_or`: it or the pill before it need hold."""

    label: str
    value: str
    rest: str
    is_or: bool = False


def understood(text: str) -> dict[str, str]:
    """The filters that a text spells: `run.failed`, `run failed`, `approved`, `run_01…`, `high`, `refused`, `2026-11-30`.

    Empty for anything else.
    """
    text = text.strip()
    if day := _DAY.fullmatch(text):
        return _of_day(*day.groups())
    spelled = _spelled(text) or (_type_of_words(text) if " " in text else None)
    return dict([spelled]) if spelled else {}


def _of_day(year: str, month: str, day: str | None) -> dict[str, str]:
    """From the beginning of a day or a month to its end; empty where there is no such day."""
    try:
        begin = datetime(int(year), int(month), int(day or 1), tzinfo=UTC)
        end = begin + timedelta(days=1) if day else (begin + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):
        return {}
    return {"since": f"{begin:%Y-%m-%dT%H:%M}", "until": f"{end:%Y-%m-%dT%H:%M}", "last": ""}


def _type_of_words(text: str) -> tuple[str, str] | None:
    """The one type of event whose name consists of these words, or holds them: `agent suspended`, `tool called`."""
    wanted = set(text.lower().split())
    holding = {event: words for event in Event if wanted <= (words := set(_BETWEEN_WORDS.split(event.value)))}
    found = [event for event, words in holding.items() if words == wanted] or list(holding)
    return ("action", found[0].value) if len(found) == 1 else None


def _spelled(text: str) -> tuple[str, str] | None:
    prefix, separator, value = (part.strip() for part in text.partition(":"))
    field = _NAMES.get(prefix.lower(), "") if separator else ""
    if field in {"actor_id", "object_id"}:
        return _of_id(value, field)
    if field:
        if field == "outcome":
            value = {word.lower(): outcome for outcome, word in OUTCOME_WORDS}.get(value.lower(), value)
        return field, value.lower() if field in _OF_FEW_WORDS else value
    known: dict[str, tuple[str, str]] = {
        **{kind.value: ("actor_type", kind.value) for kind in ActorKind},
        **{event.domain: ("action", event.domain) for event in Event},
        **{event.value: ("action", event.value) for event in Event},
        **{risk.value: ("risk", risk.value) for risk in Risk},
        **{word.lower(): ("outcome", outcome) for outcome, word in OUTCOME_WORDS},
        **{outcome: ("outcome", outcome) for outcome, _word in OUTCOME_WORDS},
        **{word.lower(): ("last", value) for value, (word, _length) in LAST.items()},
    }
    if text.lower() in known:
        return known[text.lower()]
    if text.lower() in {event.verb for event in Event}:
        return _type_of_words(text) or ("action", text.lower())
    return ("run", text) if text.startswith("run_") else _of_id(text, "object_id")


def named_like(text: str) -> list[Event]:
    """The types of event in whose name or sentence every word of the text stands."""
    words = [word for word in text.lower().split() if len(word) > 2]
    return [
        event
        for event in Event
        if words and all(word in event.value or word in event.sentence.lower() for word in words)
    ]


def _of_id(text: str, field: str) -> tuple[str, str] | None:
    """The filter for an id as addresses or events spell it. Names and short ids are for `called`."""
    if is_short_id(text):
        return None
    try:
        return (field, text) if held_id(text) != text else (field, str(UUID(text)))
    except ValueError:
        return None


def called(actor: Actor, text: str) -> tuple[list[Thing], dict[str, str]]:
    """The reader's things that a text names, and the filters that find what is told about them; none for too many things.

    `agent:ledger-ops` asks for agents alone.
    """
    prefix, separator, name = (part.strip() for part in text.partition(":"))
    kind = prefix.lower() if separator else ""
    things = names.find(actor, name if kind in {*names.kinds(), *_NAMES} else text, kind)
    if len(things) == 1 and things[0].kind == "run":
        # What happened in it, and not only what was done to it.
        return things, {"run": public_id("run", UUID(things[0].id)), "about": ""}
    return things, {"about": ",".join(thing.key for thing in things)} if 0 < len(things) <= MOST_FOUND else {}


def one_by_one(actor: Actor, text: str) -> tuple[dict[str, str], str]:
    """The filters of a text that is several of them in a row, such as `Maya approved 2026-11-30`, and from where on it is none.

    Words that belong together are tried together first. A word that only one type of event has stands for that.
    """
    found: dict[str, str] = {}
    words = text.split()
    if len(words) > _MOST_WORDS:
        return {}, text
    while words:
        for count in range(min(len(words), _LONGEST_NAME), 0, -1):
            part = " ".join(words[:count])
            more = understood(part) or called(actor, part)[1] or dict(filter(None, [_type_of_words(part)]))
            if more:
                break
        if not more or found.keys() & more.keys():
            return found, " ".join(words)
        found |= more
        words = words[count:]
    return found, ""


def in_words(actor: Actor, described: Mapping[str, Any]) -> list[Pill]:
    """What `EventFilters.described` told, as the page's chips say it; of anything else that it is none."""
    try:
        EventFilters.of(described)
    except ValueError:
        return [Pill("filters", "changed to what is none", "")]
    found = {name: value for name, value in described.items() if name not in {"about", "before"}}
    if "actions" in found:
        found["action"] = ", ".join(found.pop("actions"))
    if "run_id" in found:
        found["run"] = short_id("R", UUID(found.pop("run_id")))
    for name in {"since", "until"} & found.keys():
        found[name] = f"{datetime.fromisoformat(found[name]):%Y-%m-%d %H:%M} UTC"
    keys = [key for key in described.get("about", []) if key.partition(":")[0] in {*names.kinds(), names.LITERAL}]
    things = names.known(actor, keys)
    return [Pill(thing.label, thing.name, "", is_or=thing != things[0]) for thing in things] + [
        Pill(LABELS[name], value_in_words(name, str(found[name])), "") for name in LABELS if name in found
    ]


def value_in_words(name: str, value: str) -> str:
    """A filter's value as the page's chips and lists spell it."""
    if name == "outcome":
        return dict(OUTCOME_WORDS).get(value, value)
    if name in {"since", "until"}:
        return value.replace("T", " ")
    if name == "last":
        return LAST.get(value, (value, None))[0].lower()
    return f"{value} or worse" if name == "risk" and value in {Risk.MEDIUM, Risk.HIGH} else value
