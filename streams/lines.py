"""Events as lines of a log: RFC 5424 syslog, octet-counted, and CEF inside of it. Pure.

Everything that anybody could have named (an object, a step, a label) is escaped for where it stands, and no control
character passes: no name can begin a second event (T30).
"""

import base64
from collections.abc import Iterable

from provenance.ids import public_id
from provenance.risk import Risk
from streams.records import Entry, json_line, native, one_line

# "Log audit" of RFC 5424, and what its severities call our classes: informational, notice, warning, critical.
_FACILITY = 13
_SEVERITIES = {Risk.LOW: 6, Risk.MEDIUM: 5, Risk.HIGH: 4, Risk.CRITICAL: 2}
_CEF_SEVERITIES = {Risk.LOW: 3, Risk.MEDIUM: 5, Risk.HIGH: 8, Risk.CRITICAL: 10}
# 32473 is the number for examples (RFC 5612): the project has none of its own.
_ELEMENT = "provenance@32473"
_BOM = "\ufeff"


def octet_counted(messages: Iterable[str]) -> str:
    """RFC 5425 frames: each message after its length in bytes, so that nothing inside one can end it."""
    return "".join(f"{len(message.encode())} {message}" for message in messages)


def syslog(entry: Entry, message: str) -> str:
    """The message with its RFC 5424 header and where it stands in the log as structured data."""
    at = entry.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    facts = {
        "origin": entry.origin,
        "index": str(entry.index),
        "previous": "" if entry.previous is None else str(entry.previous),
        "leaf": base64.b64encode(entry.leaf).decode(),
        "event": public_id("evt", entry.event_id),
        "risk": entry.risk.value,
    }
    data = " ".join(f'{name}="{_in_quotes(value)}"' for name, value in facts.items())
    host = _printable(entry.origin.partition("/")[0], 255)
    priority = _FACILITY * 8 + _SEVERITIES[entry.risk]
    return f"<{priority}>1 {at} {host} provenance - {_printable(entry.action, 32)} [{_ELEMENT} {data}] {_BOM}{message}"


def record_line(entry: Entry) -> str:
    """The native record as syslog."""
    return syslog(entry, json_line(native(entry)))


def cef_line(entry: Entry) -> str:
    """The event as CEF in syslog."""
    return syslog(entry, cef(entry))


def cef(entry: Entry) -> str:
    """ArcSight Common Event Format, version 0. The signed bytes are too long for it: the leaf's hash stands for them."""
    head = ("0", "Provenance", "Provenance", "1", entry.action, entry.sentence, str(_CEF_SEVERITIES[entry.risk]))
    extension = {
        "rt": str(int(entry.at.timestamp() * 1000)),
        "externalId": public_id("evt", entry.event_id),
        "act": entry.action,
        "outcome": entry.outcome,
        "suid": entry.part("actor", "id"),
        "suser": entry.actor_label,
        "cn1Label": "logIndex",
        "cn1": str(entry.index),
        "cn2Label": "previousIndex",
        "cn2": "" if entry.previous is None else str(entry.previous),
        "cs1Label": "logOrigin",
        "cs1": entry.origin,
        "cs2Label": "leaf",
        "cs2": base64.b64encode(entry.leaf).decode(),
        "cs3Label": "objectType",
        "cs3": entry.part("object", "type"),
        "cs4Label": "objectId",
        "cs4": entry.part("object", "id"),
        "cs5Label": "objectLabel",
        "cs5": entry.object_label,
        "cs6Label": "run",
        "cs6": entry.part("context", "run_id"),
    }
    known = {name: value for name, value in extension.items() if value}
    # A label without its value means nothing.
    pairs = [f"{name}={_in_extension(value)}" for name, value in known.items() if name.removesuffix("Label") in known]
    return f"CEF:{'|'.join(_in_header(part) for part in head)}|{' '.join(pairs)}"


def _in_header(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _in_extension(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace("=", "\\=")


def _in_quotes(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _printable(text: str, longest: int) -> str:
    """A header field: printable US-ASCII without spaces, `-` for nothing."""
    return "".join(letter if "!" <= letter <= "~" else "?" for letter in text)[:longest] or "-"
