"""Places outside the database that keep published checkpoints: what shows that a database was set back or rewritten.

Whoever can change everything in Postgres cannot change these. One is there by default, a directory; what it keeps is
read again whenever a sealer starts, and by `./manage.py verify`.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import orjson

from audit.notes import BadNote, Checkpoint


class AnchorFailed(Exception):
    """The place does not take or give checkpoints; the text says why."""


class Place(Protocol):
    """Where published checkpoints are carried to. One that fails is tried again and holds nobody up."""

    @property
    def name(self) -> str:
        """What status and events call it; unique."""

    @property
    def where(self) -> str:
        """For people: which directory, command or address."""

    @property
    def every_seconds(self) -> float:
        """How often it is asked at most."""

    def carry(self, notes: Mapping[str, str]) -> None:
        """Take the newest note of each log (by origin) that published one since. Raises `AnchorFailed`."""


class Anchor(Place, Protocol):
    """A place that can be read again."""

    def newest(self) -> dict[str, str]:
        """Origin -> the note of its largest checkpoint that is kept. Raises `AnchorFailed`."""


def readable(places: Iterable[Place]) -> list[Anchor]:
    """Those of the places that can be read again."""
    return [cast("Anchor", place) for place in places if hasattr(place, "newest")]


def text_of(note: str) -> str:
    """The signed text of a note, without its signatures."""
    return note.partition("\n\n")[0] + "\n"


def is_of_instance(origin: str) -> bool:
    """Whether the origin is that of a log of logs, in whatever epoch."""
    return origin.rpartition("/")[2] == "instance" or "/instance/e" in origin


def record_of(line: bytes) -> dict[str, str] | None:
    """One kept checkpoint: `at` and `note`; None when the line is none."""
    try:
        record = orjson.loads(line)
        Checkpoint.parse(text_of(record["note"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, BadNote):
        return None
    return record if isinstance(record.get("at"), str) else None
