"""The place that is there by default: files in a directory that is not the database's."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from audit.anchors import AnchorFailed, record_of, text_of
from audit.notes import Checkpoint

RECENT_BYTES = 1024 * 1024
"""Of each log: what was kept last is put aside at this size, so that twice as much is there at most."""
_RECENT, _OLDER, _HOURLY = ".recent.jsonl", ".older.jsonl", ".hourly.jsonl"
# A note of the instance log has some 4 KB.
_TAIL_BYTES = 65_536


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
                for line in _read(path).splitlines():
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


def _append(path: Path, record: Mapping[str, str]) -> None:
    is_new = not path.exists()
    descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(descriptor).st_size
        # A line that a crash cut off is closed first: it must not spoil this one.
        start = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
        line = start + orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


def _open(path: Path, flags: int) -> int:
    """A file of the anchor and nothing in its place: a link leads to a file of somebody else, a pipe keeps who opens it."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return descriptor


def _read(path: Path, last: int = 0) -> bytes:
    """All of a file, or the last bytes of it."""
    try:
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
            if last:
                file.seek(max(0, os.fstat(file.fileno()).st_size - last))
            return file.read(last or -1)
    except FileNotFoundError:
        return b""
    except OSError as problem:
        raise AnchorFailed(f"{path} cannot be read: {problem.strerror or problem}") from problem


def sync_directory(directory: Path) -> None:
    """So that a new file's name is durable as well as what is in it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_record(path: Path) -> dict[str, str] | None:
    """The last whole record of a file; a line that a crash cut off is passed over."""
    lines: Sequence[bytes] = _read(path, _TAIL_BYTES).splitlines()
    return next((record for line in reversed(lines) if (record := record_of(line))), None)


def _origin_of(path: Path) -> str:
    return unquote(path.name.rsplit(".", 2)[0])


def _size_of(note: str) -> int:
    return Checkpoint.parse(text_of(note)).size if note else -1
