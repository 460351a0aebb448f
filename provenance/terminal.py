"""What commands say to the person who started them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TextIO


def say(text: str) -> None:
    """One line of result or progress."""
    _write_line(sys.stdout, text)


def complain(text: str) -> None:
    """One line about what is wrong, apart from the results."""
    _write_line(sys.stderr, text)


def place_problem(path: Path) -> str:
    """Why no new file can be made there, as a sentence; empty when nothing is in the way. Asked before work that takes long."""
    place = path.parent
    if not (os.access(place, os.W_OK | os.X_OK) and place.is_dir()):
        return f"No file can be made in {place}: there is no such directory, or this user may not write in it."
    if path.is_dir():
        return f"{path} is a directory; name a file in it."
    return f"{path} exists; name a new file." if path.exists() else ""


class Progress:
    """Lines of progress, each with the seconds since the command started."""

    def __init__(self) -> None:
        """Start counting now."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the command started."""
        return time.monotonic() - self._started

    def step(self, text: str) -> None:
        """Say what begins or happened now."""
        say(f"[{self.seconds:5.1f} s] {text}")


class Bar:
    """How far something is, in one line that is written over; nothing where nobody watches."""

    WIDTH = 30
    EVERY_SECONDS = 0.2

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_watched = stream.isatty()
        self._started = time.monotonic()
        self._shown_at = 0.0

    def show(self, done: int, of: int) -> None:
        """So many of so many."""
        now = time.monotonic()
        if not self._is_watched or not of or (now - self._shown_at < self.EVERY_SECONDS and done < of):
            return
        self._shown_at = now
        filled = "#" * (self.WIDTH * done // of)
        rate = done / max(now - self._started, 0.001)
        self._stream.write(f"\r[{filled:<{self.WIDTH}}] {100 * done // of:3} %  {rate:,.0f} a second ")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._is_watched and self._shown_at:
            self._stream.write("\n")
            self._stream.flush()


def _write_line(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    # At once, because a person or a log watches while the next step takes its time.
    stream.flush()
