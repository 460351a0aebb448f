"""Couriers of the sealer: each carries published checkpoints to one place, in a thread of its own.

So a place that fails or hangs holds up neither writers nor the sealer nor another place. How each is doing stands in
`audit.status`, and that it began to fail is an event.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from audit.anchors import Anchor, AnchorFailed, Place, is_of_instance, readable, text_of
from audit.notes import Checkpoint
from audit.status import note_status

STATUS_SECONDS = 10
"""How often at most it is noted that a place goes on taking checkpoints."""
RARE_SECONDS = 60.0
"""A place that is asked less often than this is asked no more often when sealers restart, and not once more at the end."""
LOOK_SECONDS = 10.0
AGAIN_SECONDS = 300.0
"""A place that is asked rarely and did not take something is asked again after so long."""
LOOK_BACK_SECONDS = 60.0
"""How often at most it is looked whether a place still keeps what it took."""
HANGS_SECONDS = 120.0
"""Longer than any place takes that answers at all: each has a time limit of its own."""

logger = logging.getLogger(__name__)

Connect = Callable[[], psycopg.Connection[Any]]
Tell = Callable[[str, str, str], None]
"""`tell(name, where, problem)` stores the event of a place that fails."""


@dataclass(slots=True)
class Courier:
    """Carries to one place what the sealer offers; of each log only the newest."""

    place: Place
    connect: Connect
    tell: Tell
    _waiting: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failing: str | None = None
    _noted_at: float = float("-inf")
    _size: int | None = None
    _due_at: float | None = None
    _taken: dict[str, int] = field(default_factory=dict)
    _looked_back_at: float = float("-inf")
    _asked_at: float | None = None

    def offer(self, origin: str, note: str) -> None:
        """Let it be carried. Returns at once."""
        with self._lock:
            self._waiting[origin] = note

    def run(self, stop: threading.Event) -> None:
        """Carry until told to stop, and once more then. A place that is asked rarely is looked at often, and asked when due."""
        is_rare = self.place.every_seconds > RARE_SECONDS
        while not stop.wait(LOOK_SECONDS if is_rare else self.place.every_seconds):
            if not is_rare or self._is_due():
                self.deliver()
        if not is_rare:
            self.deliver()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self._due_at is None:
            self._due_at = time.monotonic() + self._left()
        return time.monotonic() >= self._due_at

    def _left(self) -> float:
        """Seconds until the place is to be asked again, as the sealer that worked before this one noted it."""
        try:
            with self.connect() as connection:
                found = connection.execute(_LEFT, [self.place.every_seconds, self.place.name]).fetchone()
        except psycopg.Error:
            logger.warning("when %s was asked last could not be read", self.place.name, exc_info=True)
            return 0.0
        # Somebody who writes into the database puts it off once, by one interval: from then on the courier knows itself.
        return min(max(float(found[0]), 0.0), self.place.every_seconds) if found else 0.0

    def deliver(self) -> bool:
        """Carry what waits; whether the place took it. What it did not take waits on, unless something newer came."""
        with self._lock:
            notes, self._waiting = self._waiting, {}
        if not notes:
            return True
        self._asked_at = time.monotonic()
        try:
            # Before it takes more, which would be there again.
            lost = self._lost()
            self.place.carry(notes)
        except AnchorFailed as problem:
            return self._failed(notes, str(problem))
        except Exception:
            logger.exception("the place %s failed", self.place.name)
            return self._failed(notes, "it failed in a way that is not foreseen; see the log of the sealer")
        finally:
            self._asked_at = None
        if lost:
            logger.error("%s", lost)
            self._note(lost, is_news=True)
        self._due_at = time.monotonic() + self.place.every_seconds
        for origin, note in notes.items():
            self._taken[origin] = Checkpoint.parse(text_of(note)).size
            if is_of_instance(origin):
                self._size = self._taken[origin]
        if self._failing != "" or time.monotonic() - self._noted_at > STATUS_SECONDS:
            self._note("")
        return True

    def look(self) -> None:
        """Tell of a place that hangs, which it cannot do itself. Called by the sealer at each turn."""
        asked_at = self._asked_at
        if asked_at is None or time.monotonic() - asked_at < HANGS_SECONDS or self._failing == _HANGS:
            return
        logger.error("checkpoints are not kept by %s: %s", self.place.name, _HANGS)
        self._note(_HANGS, is_news=True)

    def _lost(self) -> str:
        """What the place took and does not keep any more; empty when nothing is known to be lost."""
        is_rare = self.place.every_seconds > RARE_SECONDS
        if is_rare or time.monotonic() - self._looked_back_at < LOOK_BACK_SECONDS:
            return ""
        self._looked_back_at = time.monotonic()
        kept = self._kept()
        if kept is None:
            return ""
        lost = [
            (origin, kept.get(origin, 0), size) for origin, size in self._taken.items() if kept.get(origin, 0) < size
        ]
        if not lost:
            return ""
        # Told once.
        self._taken |= {origin: size for origin, size, _taken in lost}
        origin, size, taken = lost[0]
        return _LOST.format(where=self.place.where, origin=origin, kept=size, taken=taken)

    def _kept(self) -> dict[str, int] | None:
        """How much of each log the place keeps; None when it cannot say, which is told at a start and by a verification."""
        for place in readable([self.place]):
            with suppress(AnchorFailed):
                return {origin: Checkpoint.parse(text_of(note)).size for origin, note in place.newest().items()}
        return None

    def _failed(self, notes: dict[str, str], problem: str) -> bool:
        with self._lock:
            self._waiting = notes | self._waiting
        self._due_at = time.monotonic() + min(self.place.every_seconds, AGAIN_SECONDS)
        is_news = self._failing != problem
        if is_news:
            logger.error("checkpoints are not kept by %s: %s", self.place.name, problem)
        if is_news or time.monotonic() - self._noted_at > STATUS_SECONDS:
            self._note(problem, is_news=is_news and not self._failing)
        return False

    def _note(self, problem: str, *, is_news: bool = False) -> None:
        """Write down how it goes. That the database is away must not stop the courier: it will come to it."""
        try:
            with self.connect() as connection:
                note_status(connection, self.place.name, self.place.where, problem, self._size)
            if is_news:
                self.tell(self.place.name, self.place.where, problem)
        except psycopg.Error:
            logger.warning("how %s is doing could not be noted", self.place.name, exc_info=True)
            return
        self._failing, self._noted_at = problem, time.monotonic()


def lost_since(connection: psycopg.Connection[Any], place: Anchor, kept: Mapping[str, str]) -> str:
    """What a place kept when its courier last noted it, and does not keep now; empty when nothing is known to be lost."""
    found = connection.execute(_TAKEN, [place.name, place.where[:500]]).fetchone()
    notes = [note for origin, note in kept.items() if is_of_instance(origin)]
    size = max((Checkpoint.parse(text_of(note)).size for note in notes), default=0)
    if found is None or size >= found[0]:
        return ""
    return _LOST.format(where=place.where, origin="the log of logs", kept=size, taken=found[0])


_HANGS = "it does not answer"
_LOST = (
    "{where} keeps {origin} up to {kept} and had taken it up to {taken}: somebody took away what was kept there, or put something "
    "older in its place. Find out who, before you believe what the database says of that time"
)

_LEFT = """
SELECT extract(epoch FROM at - clock_timestamp()) + %s FROM audit.status WHERE subject = %s AND problem = ''
"""

_TAKEN = "SELECT size FROM audit.status WHERE subject = %s AND place = %s AND size IS NOT NULL"
