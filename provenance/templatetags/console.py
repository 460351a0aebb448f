"""The small pieces every page is made of: icons, chips, time left, and words that strangers wrote.

Loaded as template builtins, so that no template starts with a `load` line.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import orjson
from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from provenance import lookalikes
from provenance.ids import public_id, short_id
from provenance.risk import Risk

register = template.Library()

TONES = {
    "emerald": ("circle-check", "supports"),
    "slate": ("circle-dot", "fact"),
    "amber": ("triangle-alert", "caution"),
    "rose": ("octagon-x", "contradicts"),
}
STATUSES = {
    "succeeded": ("emerald", "circle-check", "Succeeded"),
    "approved": ("emerald", "circle-check", "Approved"),
    "active": ("emerald", "circle-check", "Active"),
    "published": ("emerald", "circle-check", "Published"),
    "running": ("accent", "loader-circle", "Running"),
    "queued": ("", "circle-dashed", "Queued"),
    "waiting": ("amber", "hand", "Waiting"),
    "pending": ("amber", "hand", "Waiting"),
    "escalated": ("amber", "arrow-up-right", "Escalated"),
    "planned": ("", "circle-dashed", "Planned"),
    "started": ("accent", "loader-circle", "On its way"),
    "awaiting_approval": ("amber", "hand", "Waiting for approval"),
    "indeterminate": ("amber", "circle-alert", "Effect unknown"),
    "resolved_succeeded": ("emerald", "circle-check", "Happened, says a person"),
    "resolved_failed": ("rose", "circle-x", "Did not happen, says a person"),
    "retried": ("", "circle-dashed", "Sent again"),
    "paused": ("amber", "octagon-pause", "Paused"),
    "canceling": ("", "ban", "Canceling"),
    "canceled": ("", "ban", "Canceled"),
    "withdrawn": ("", "ban", "Withdrawn"),
    "superseded": ("", "ban", "Superseded"),
    "skipped": ("", "minus", "Skipped"),
    "failed": ("rose", "circle-x", "Failed"),
    "rejected": ("rose", "circle-x", "Rejected"),
    "expired": ("rose", "clock-alert", "Expired"),
    "blocked": ("rose", "shield-x", "Refused"),
    "suspended": ("rose", "octagon-pause", "Suspended"),
    "quarantined": ("rose", "shield-alert", "Quarantined"),
}
OUTCOMES = {
    "success": ("emerald", "circle-check", "Done"),
    "failure": ("rose", "circle-x", "Failed"),
    "blocked": ("rose", "shield-x", "Refused"),
    # Of an event that says that something began; what became of it is another event.
    "pending": ("", "circle-dashed", "Pending"),
    "unknown": ("amber", "circle-alert", "Unknown"),
}
_PLURALS = {
    lookalikes.Oddity.HIDDEN: "hidden characters",
    lookalikes.Oddity.FOREIGN: "letters of another script",
}
_FOLD_LINES = 12
DAYS_OF_A_YEAR = 365.25
_PARTS = re.compile(r"[^._]+[._]?|[._]")
_LONG_NAME = 20
_MAY_BREAK = SafeString("<wbr>")
_OFF = SafeString(' class="off"')


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """An icon of the sprite. Decoration only: the words beside it say what it means."""
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {classes}" if classes else "",
        static("icons.svg"),
        name,
    )


@register.simple_tag
def risk_chip(level: str) -> SafeString:
    """The risk as bars and as a word. One that is none counts as the worst: a row may hold anything."""
    known = Risk(level) if level in set(Risk) else Risk.CRITICAL
    severity = known.severity
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="2.4" height="{}" rx=".6"{}/>',
        (
            (
                f"{bar * 3.6:g}",
                f"{8 - bar * 2.5:g}",
                f"{4 + bar * 2.5:g}",
                _OFF if bar > severity else "",
            )
            for bar in range(4)
        ),
    )
    return format_html(
        '<span class="risk {}"><svg viewBox="0 0 14 12" aria-hidden="true">{}</svg>{}<span class="sr"> risk</span></span>',
        known.value,
        bars,
        str(level).capitalize() or "Unknown",
    )


@register.simple_tag
def trust_level(level: str) -> SafeString:
    """The trust level as three bars and as a word."""
    filled = ("low", "medium", "high").index(level) + 1
    bars = format_html_join(
        "",
        '<rect x="{}" width="8" height="8" rx="2"{}/>',
        ((bar * 9, _OFF if bar >= filled else "") for bar in range(3)),
    )
    return format_html(
        '<span class="trust"><svg viewBox="0 0 26 8" aria-hidden="true">{}</svg>{} trust</span>',
        bars,
        level.capitalize(),
    )


def _chip(tone: str, icon_name: str, word: str) -> SafeString:
    return format_html('<span class="chip{}">{}{}</span>', f" {tone}" if tone else "", icon(icon_name), word)


@register.simple_tag
def status_chip(status: str, word: str = "") -> SafeString:
    """A status of a run, step, call, approval or agent; `word` replaces the usual wording."""
    tone, icon_name, usual = STATUSES.get(status, ("", "circle-dot", str(status).replace("_", " ").capitalize()))
    return _chip(tone, icon_name, word or usual)


@register.simple_tag
def outcome_chip(outcome: str) -> SafeString:
    """The outcome of an event."""
    return _chip(*OUTCOMES.get(outcome, ("", "circle-dot", str(outcome).capitalize())))


@register.simple_tag
def evidence_card(item: dict[str, str], links: Iterable[str] = ()) -> SafeString:
    """One `{label, value, tone, note}` as a card of the evidence list; every text in it is escaped and marked.

    `links` are finished HTML of higher floors (`provenance.pages.panels`): where the value can be looked up.
    """
    icon_name, word = TONES.get(item.get("tone", ""), TONES["slate"])
    note = item.get("note", "")
    return format_html(
        '<div class="ev {}">{}<dt>{} <span class="sr">({})</span></dt><dd>{}{}{}</dd></div>',
        item.get("tone") if item.get("tone") in TONES else "slate",
        icon(icon_name),
        visible(item.get("label", "")),
        word,
        visible(item.get("value", "")),
        format_html("<small>{}</small>", visible(note)) if note else "",
        format_html_join("", "<small>{}</small>", ((link,) for link in links)),
    )


@register.simple_tag
def time_left(due_at: datetime, minutes: int) -> SafeString:
    """What is left of `minutes` until `due_at`, as ring and words. Amber below a quarter or 30 minutes, rose below 10."""
    seconds = round((due_at - timezone.now()).total_seconds())
    share = max(0, min(100, round(100 * seconds / max(1, minutes * 60))))
    state = "late" if seconds < 600 else "soon" if share < 25 or seconds < 1800 else ""
    ring = format_html(
        '<svg class="ring" viewBox="0 0 16 16" aria-hidden="true"><circle class="bg" cx="8" cy="8" r="6"/>'
        '<circle class="fg" cx="8" cy="8" r="6" pathLength="100" stroke-dasharray="{} 100"/></svg>',
        share,
    )
    return format_html(
        '<span class="sla {}">{}<time-left due="{}">{}</time-left></span>',
        state,
        ring,
        due_at.isoformat(),
        duration_words(seconds),
    )


def duration_words(seconds: int) -> str:
    """`1 h 12 min left`, `9 min left`, `late by 4 min`."""
    amount, hours = abs(seconds), abs(seconds) // 3600
    words = (
        f"{hours} h {amount % 3600 // 60} min" if hours else f"{amount // 60} min" if amount >= 60 else f"{amount} s"
    )
    return f"late by {words}" if seconds < 0 else f"{words} left"


@register.filter
def visible(text: object) -> SafeString:
    """Text as plain text; what is invisible, turns the direction or mixes scripts in a word shows its code point (U20)."""
    return SafeString("".join(_marked(piece) for piece in lookalikes.pieces(str(text))))


def _marked(piece: lookalikes.Piece) -> SafeString:
    if not piece.oddity:
        return escape(piece.text)
    shown = "" if piece.oddity is lookalikes.Oddity.HIDDEN else piece.text
    mark = '{}<span class="hidden-char" title="{}">U+{}</span>'
    return format_html(mark, shown, piece.oddity.value, f"{ord(piece.text):04X}")


@register.filter
def oddities(text: object) -> str:
    """`2 hidden characters, 1 letter of another script`; "" for a text that is what it looks like."""
    counted = lookalikes.counts(str(text))
    return ", ".join(f"{number} {kind if number == 1 else _PLURALS[kind]}" for kind, number in sorted(counted.items()))


@register.simple_tag
def said(text: str, by: str) -> SafeString:
    """Words of an agent, a tool or a document: framed, named as unchecked, plain text only, folded after 12 lines."""
    lines = str(text).splitlines() or [""]
    return render_to_string(
        "components/said.html",
        {
            "by": by,
            "head": "\n".join(lines[:_FOLD_LINES]),
            "rest": "\n".join(lines[_FOLD_LINES:]),
            "rest_lines": max(0, len(lines) - _FOLD_LINES),
            "odd": oddities(text),
        },
    )


@register.filter
def initials(label: str) -> str:
    """Two letters for an avatar."""
    words = str(label).replace("-", " ").replace(".", " ").replace("@", " ").split()
    return "".join(word[0] for word in words[:2]).upper()


@register.filter
def as_public_id(value: UUID, prefix: str) -> str:
    """`run_06bq…`: how the id stands in addresses."""
    return public_id(prefix, value)


@register.filter
def as_short_id(value: UUID, prefix: str) -> str:
    """`R-8K2QX`: how people name the object."""
    return short_id(prefix, value)


@register.filter
def grouped(number: int) -> str:
    """`1,048,686`."""
    return f"{number:,}"


@register.filter
def days_in_words(days: int) -> str:
    """`90 days`, and whole years as such: `7 years` of 2557 days."""
    years = round(days / DAYS_OF_A_YEAR)
    if years and abs(days - years * DAYS_OF_A_YEAR) < 2:
        return "1 year" if years == 1 else f"{years} years"
    return "1 day" if days == 1 else f"{days:,} days"


@register.filter
def short_hash(value: bytes) -> str:
    """`9f2c 41d8 … b07e`."""
    text = bytes(value).hex()
    return f"{text[:4]} {text[4:8]} … {text[-4:]}"


@register.filter
def spaced(name: str) -> str:
    """`tool_call` as people write it: `tool call`."""
    return str(name).replace("_", " ")


@register.filter
def breakable(name: str) -> SafeString:
    """A name such as `approval.decision_recorded`, too long for a phone: it may go on in the next line between its words."""
    parts = _PARTS.findall(name) if len(name) > _LONG_NAME else [name]
    return format_html_join(_MAY_BREAK, "{}", ((part,) for part in parts))


@register.filter
def as_json(value: object) -> str:
    """Text as it is; anything else as indented JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()
