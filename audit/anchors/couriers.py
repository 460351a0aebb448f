"""Couriers of the sealer: each carries published checkpoints to one place, in a thread of its own.

So a place that fails or hangs holds up neither writers nor the sealer nor another place. How each is doing stands in
`audit.status`, and that it began to fail is an event.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from audit.anchors import AnchorFailed, Place, is_of_instance, text_of
from audit.notes import Checkpoint

STATUS_SECONDS = 10
"""How often at most it is noted that a place goes on taking checkpoints."""
RARE_SECONDS = 60.0
"""A place that is asked less often than this is asked no more often when sealers restart, and not once more at the end."""
LOOK_SECONDS = 10.0
AGAIN_SECONDS = 300.0
"""A place that is asked rarely and did not take something is asked again after so long."""

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
        try:
            self.place.carry(notes)
        except AnchorFailed as problem:
            return self._failed(notes, str(problem))
        except Exception:
            logger.exception("the place %s failed", self.place.name)
            return self._failed(notes, "it failed in a way that is not foreseen; see the log of the sealer")
        self._due_at = time.monotonic() + self.place.every_seconds
        for origin, note in notes.items():
            if is_of_instance(origin):
                self._size = Checkpoint.parse(text_of(note)).size
        if self._failing != "" or time.monotonic() - self._noted_at > STATUS_SECONDS:
            self._note("")
        return True

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


def note_status(
    connection: psycopg.Connection[Any], subject: str, place: str = "", problem: str = "", size: int | None = None
) -> None:
    """Say in `audit.status` how something is doing. An empty problem is none."""
    connection.execute(_NOTE, {"subject": subject, "place": place[:500], "problem": problem[:2000], "size": size})


_NOTE = """
INSERT INTO audit.status AS known (subject, place, problem, size)
VALUES (%(subject)s, %(place)s, %(problem)s, %(size)s)
ON CONFLICT (subject) DO UPDATE SET place = EXCLUDED.place, problem = EXCLUDED.problem, at = clock_timestamp(),
  size = COALESCE(EXCLUDED.size, known.size),
  since = CASE WHEN known.problem = EXCLUDED.problem THEN known.since ELSE clock_timestamp() END
"""

_LEFT = """
SELECT extract(epoch FROM at - clock_timestamp()) + %s FROM audit.status WHERE subject = %s AND problem = ''
"""
