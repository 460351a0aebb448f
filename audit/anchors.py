"""Places outside the database that keep published checkpoints: what shows that a database was set back or rewritten.

Whoever can change everything in Postgres cannot change these. One is there by default, a directory; what it keeps is
read again whenever a sealer starts, and by `./manage.py verify`.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import quote, unquote

import orjson

from audit.notes import BadNote, Checkpoint

RECENT_BYTES = 1024 * 1024
"""Of each log: what was kept last is put aside at this size, so that twice as much is there at most."""
COMMAND_SECONDS = 30
_RECENT, _OLDER, _HOURLY = ".recent.jsonl", ".older.jsonl", ".hourly.jsonl"
# A note of the instance log has some 4 KB.
_TAIL_BYTES = 65_536


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


@dataclass(slots=True)
class DirectoryAnchor:
    """Files in a directory, of mode 0600, appended to and synced. Three for each log, JSON lines of `at` and `note`.

    The recent ones, those before (bounded, see `RECENT_BYTES`), and the newest of each hour, kept for ever.
    """

    directory: Path
    name: str = "directory"
    every_seconds: float = 1.0
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    recent_bytes: int = RECENT_BYTES
    _last: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The directory."""
        return str(self.directory)

    def carry(self, notes: Mapping[str, str]) -> None:
        """Append each note to the files of its log. What was kept is never changed."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for origin, note in notes.items():
                self._keep(origin, note)
        except OSError as problem:
            raise AnchorFailed(f"{self.directory} takes no checkpoints: {problem.strerror or problem}") from problem

    def newest(self) -> dict[str, str]:
        """The largest of each log, from the ends of its files: one that was cut off or removed is not missed alone."""
        found: dict[str, str] = {}
        for path in self._files():
            last = _last_record(path)
            origin = _origin_of(path)
            if last and _size_of(last["note"]) > _size_of(found.get(origin, "")):
                found[origin] = last["note"]
        return found

    def kept(self, origin: str) -> Iterator[str]:
        """Every note of a log that is still kept, the same one more than once."""
        for suffix in (_HOURLY, _OLDER, _RECENT):
            path = self._path(origin, suffix)
            if path.exists():
                for line in path.read_bytes().splitlines():
                    if record := record_of(line):
                        yield record["note"]

    def origins(self) -> set[str]:
        """The logs of which it keeps checkpoints."""
        return {_origin_of(path) for path in self._files()}

    def _files(self) -> list[Path]:
        try:
            return sorted(self.directory.glob("*.jsonl")) if self.directory.exists() else []
        except OSError as problem:
            raise AnchorFailed(f"{self.directory} cannot be read: {problem.strerror or problem}") from problem

    def _path(self, origin: str, suffix: str) -> Path:
        # Quoted whole: an origin comes from the database, and must not lead out of the directory.
        return self.directory / f"{quote(origin, safe='')}{suffix}"

    def _keep(self, origin: str, note: str) -> None:
        recent = self._path(origin, _RECENT)
        record = {"at": self.now().isoformat(timespec="seconds"), "note": note}
        last = self._last.get(origin) or _last_record(recent) or _last_record(self._path(origin, _OLDER))
        if last and _size_of(note) <= _size_of(last["note"]):
            # Carried before; or of a database that was set back, whose newest must not hide what was published.
            return
        if last and last["at"][:13] != record["at"][:13]:
            _append(self._path(origin, _HOURLY), last)
        if recent.exists() and recent.stat().st_size > self.recent_bytes:
            recent.replace(self._path(origin, _OLDER))
        _append(recent, record)
        self._last[origin] = record


@dataclass(slots=True)
class CommandAnchor:
    """A command of the operator's that gets the newest note of the instance log on its standard input, once a minute.

    That one holds the newest checkpoint of every workspace. What the command keeps cannot be read again.
    """

    command: str
    name: str = "command"
    every_seconds: float = 60.0

    @property
    def where(self) -> str:
        """The program, without its arguments."""
        return shlex.split(self.command)[0]

    def carry(self, notes: Mapping[str, str]) -> None:
        """Run the command, if there is a note of the instance log."""
        for note in (note for origin, note in notes.items() if is_of_instance(origin)):
            try:
                done = subprocess.run(
                    shlex.split(self.command),
                    input=note.encode(),
                    capture_output=True,
                    timeout=COMMAND_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as problem:
                raise AnchorFailed(f"{self.where} cannot be run: {problem}") from problem
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise AnchorFailed(f"{self.where} ended with {done.returncode}: {said[0][:200]}")


def _append(path: Path, record: Mapping[str, str]) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        # A line that a crash cut off is closed first: it must not spoil this one.
        start = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
        os.write(descriptor, start + orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """So that a new file's name is durable as well as what is in it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_record(path: Path) -> dict[str, str] | None:
    """The last whole record of a file; a line that a crash cut off is passed over."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines: Sequence[bytes] = file.read().splitlines()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise AnchorFailed(f"{path} cannot be read: {problem.strerror or problem}") from problem
    return next((record for line in reversed(lines) if (record := record_of(line))), None)


def record_of(line: bytes) -> dict[str, str] | None:
    """One kept checkpoint: `at` and `note`; None when the line is none."""
    try:
        record = orjson.loads(line)
        Checkpoint.parse(text_of(record["note"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, BadNote):
        return None
    return record if isinstance(record.get("at"), str) else None


def _origin_of(path: Path) -> str:
    return unquote(path.name.rsplit(".", 2)[0])


def _size_of(note: str) -> int:
    return Checkpoint.parse(text_of(note)).size if note else -1
