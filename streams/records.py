"""One sealed event as receivers get it: the signed bytes, where they stand in the log, and what came before. Pure.

A receiver that holds every record can prove it: `leaf` is SHA-256 over 0x00, the log's prefix, body and MAC, and a signed
checkpoint is the root over all leaves. `previous` is the index of the record sent before, so that a lost one shows, also in
a stream that filters.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from audit.judging import signed_body
from audit.taxonomy import Event
from provenance.canonical import canonical_json
from provenance.ids import public_id, uuid7_time
from provenance.risk import Risk

UNREADABLE = "audit.unreadable"


@dataclass(frozen=True)
class Entry:
    """An event at its place in the log. Labels are "" unless the stream carries them.

    What the log holds may be anything, since a planted event is sealed like the others: no property raises.
    """

    origin: str
    index: int
    previous: int | None
    leaf: bytes
    event_id: UUID
    kid: str
    mac: bytes = field(repr=False)
    body: str = field(repr=False)
    actor_label: str = ""
    object_label: str = ""

    @cached_property
    def said(self) -> dict[str, Any]:
        """The signed body; empty when it is none."""
        return signed_body(self.body)

    @property
    def action(self) -> str:
        """The type of the event, as signed."""
        return self.text("action") or UNREADABLE

    @property
    def sentence(self) -> str:
        """What the taxonomy says of this type; its name where it knows none."""
        known = Event.named(self.action)
        return known.sentence if known else self.action

    @property
    def risk(self) -> Risk:
        """As signed; what nobody can read counts as the worst."""
        value = self.text("risk")
        return Risk(value) if value in set(Risk) else Risk.CRITICAL

    @property
    def at(self) -> datetime:
        """When, as signed; else the time in the event's id."""
        try:
            return datetime.fromisoformat(self.text("at")).astimezone(UTC)
        except (ValueError, OverflowError):
            return uuid7_time(self.event_id)

    @property
    def outcome(self) -> str:
        """As signed."""
        return self.text("outcome") or "unknown"

    def text(self, name: str) -> str:
        """A text of the body; "" when there is none."""
        return text_of(self.said.get(name))

    def part(self, name: str, key: str) -> str:
        """A text of `actor`, `object` or `context`; "" when there is none."""
        inner = self.said.get(name)
        return text_of(inner.get(key)) if isinstance(inner, dict) else ""

    def is_wanted(self, risk: str, events: Sequence[str]) -> bool:
        """Whether a stream with this filter carries it: of that risk or worse, and of one of these types or domains."""
        if risk and self.risk < Risk(risk):
            return False
        return not events or self.action in events or self.action.partition(".")[0] in events or not self.said


def native(entry: Entry) -> dict[str, Any]:
    """The record in our own form, which keeps every signed byte."""
    labels = {"actor_label": entry.actor_label, "object_label": entry.object_label}
    return {
        "origin": entry.origin,
        "log_index": entry.index,
        "previous_index": entry.previous,
        "leaf": base64.b64encode(entry.leaf).decode(),
        "event_id": public_id("evt", entry.event_id),
        "kid": entry.kid,
        "mac": base64.b64encode(entry.mac).decode(),
        "body": entry.body,
        **{name: label for name, label in labels.items() if label},
    }


def one_line(text: str) -> str:
    """The text with every control character, line separators of Unicode included, replaced by U+FFFD."""
    return "".join("\ufffd" if _is_control(letter) else letter for letter in text)


def json_line(value: Any) -> str:
    """Canonical JSON in which no character ends a line for any reader: what one could take for that is escaped."""
    text = canonical_json(value).decode()
    return "".join(f"\\u{ord(letter):04x}" if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    return letter < " " or "\x7f" <= letter < "\xa0" or letter in "\u2028\u2029" or "\ud800" <= letter <= "\udfff"


def text_of(value: Any) -> str:
    """A text as receivers may get it: U+0000 replaced; "" for whatever is none."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else ""
