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

    def offer(self, origin: str, note: str) -> None:
        """Let it be carried. Returns at once."""
        with self._lock:
            self._waiting[origin] = note

    def run(self, stop: threading.Event) -> None:
        """Carry until told to stop, and once more then."""
        while not stop.wait(self.place.every_seconds):
            self.deliver()
        self.deliver()

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
        for origin, note in notes.items():
            if is_of_instance(origin):
                self._size = Checkpoint.parse(text_of(note)).size
        if self._failing != "" or time.monotonic() - self._noted_at > STATUS_SECONDS:
            self._note("")
        return True

    def _failed(self, notes: dict[str, str], problem: str) -> bool:
        with self._lock:
            self._waiting = notes | self._waiting
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
