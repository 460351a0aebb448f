"""Who was erased, kept outside the database: a restore brings back what was erased, and this says what to erase again.

One line of JSON for each erasure, with ids only, in the data directory. The line is durable before the erasure commits,
so no erasure is ever without one. Standard library only (T28, docs/decisions/0015).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

VERSION = 1


class JournalBroken(ValueError):
    """A line of the journal is none. Nobody may guess whom it named; the text says which one."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person in one workspace."""

    workspace_id: UUID
    user_id: UUID


def note(path: Path, erasure: Erasure) -> None:
    """Append an erasure and return when it is on the disk. Raises OSError."""
    line = {
        "v": VERSION,
        "workspace": str(erasure.workspace_id),
        "user": str(erasure.user_id),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # One write of a whole line to a file opened for appending: two processes never mix theirs.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> list[Erasure]:
    """Every erasure, each once, oldest first; empty without a file. Raises `JournalBroken` and OSError."""
    return list(dict.fromkeys(_lines(path)))


def _lines(path: Path) -> Iterator[Erasure]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    *whole, _rest = text.split(b"\n")
    # What follows the last line feed was never wholly written, so what it belongs to was never committed.
    for number, line in enumerate(whole, start=1):
        try:
            yield _erasure(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise JournalBroken(
                f"Line {number} of {path} is no erasure. Bring the file back from its own backup; without it nobody "
                "knows who was erased."
            ) from error


def _erasure(said: dict[str, str | int]) -> Erasure:
    if said["v"] != VERSION:
        raise ValueError(said["v"])
    return Erasure(UUID(str(said["workspace"])), UUID(str(said["user"])))
