"""What one delivery consists of: a batch of events in the form that its kind of receiver takes. Pure.

The same batch gives the same bytes and the same name whenever it is rendered, so that a repeat overwrites or is recognized.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.deliveries.contract import Kind
from streams import lines
from streams.ocsf import ocsf
from streams.records import Entry, json_line, native


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one log from index `first` up to `end`, as far as the stream wants them.

    `checkpoint` is the signed note of the first published checkpoint that has all of them in it.
    """

    origin: str
    first: int
    end: int
    entries: Sequence[Entry]
    checkpoint: str = ""

    @property
    def name(self) -> str:
        """The object or file of this batch: log and range, in the order of the log also when sorted as text."""
        log = "/".join(part for part in _plain(self.origin).split("/") if part)
        return f"{log}/{self.first:015}-{self.end:015}.jsonl"

    @property
    def message_id(self) -> str:
        """What a receiver recognizes a repeat by."""
        log = hashlib.sha256(self.origin.encode()).hexdigest()[:16]
        return f"msg.{log}.{self.first}-{self.end}"


def render(kind: str, batch: Batch) -> str:
    """The body of the delivery."""
    return _FORMS[kind](batch)


def size_of(kind: str, entry: Entry) -> int:
    """About how many bytes an event takes, to bound a batch before it is rendered."""
    return len(entry.body) * (3 if kind == Kind.OCSF else 2) + 2048


def _webhook(batch: Batch) -> str:
    data = {
        "origin": batch.origin,
        "first_index": batch.first,
        "end_index": batch.end,
        "checkpoint": batch.checkpoint,
        "events": [native(entry) for entry in batch.entries],
    }
    at = batch.entries[-1].at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if batch.entries else ""
    return json_line({"type": "audit.events", "timestamp": at, "data": data})


def _array(batch: Batch) -> str:
    return json_line([ocsf(entry) for entry in batch.entries])


def _json_lines(batch: Batch) -> str:
    return "".join(f"{json_line(native(entry))}\n" for entry in batch.entries)


def _frames(line: Callable[[Entry], str]) -> Callable[[Batch], str]:
    return lambda batch: lines.octet_counted(line(entry) for entry in batch.entries)


_FORMS: dict[str, Callable[[Batch], str]] = {
    Kind.OCSF: _array,
    Kind.WEBHOOK: _webhook,
    Kind.SYSLOG: _frames(lines.record_line),
    Kind.CEF: _frames(lines.cef_line),
    Kind.S3: _json_lines,
    Kind.DIRECTORY: _json_lines,
}


def _plain(text: str) -> str:
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-./") else "-" for letter in text.lower()
    )
