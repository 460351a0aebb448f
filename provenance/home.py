"""The data directory: where its parts are, who may read them, and the secrets made at first run.

Standard library only, because the bootstrap and the supervisor use it before and besides Django.
Nothing outside the data directory is touched, except one short directory for sockets where the path of the data
directory is too long for a Unix socket.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from provenance import keyfiles
from provenance.keyfiles import KeyRefused

CHECKOUT = Path(__file__).resolve().parent.parent
DATABASE = "provenance"
SUPERUSER = "postgres"
DEFAULT_PORT = 8420
DATABASE_ROLES = (
    "prov_migrate",
    "prov_web",
    "prov_gateway",
    "prov_worker",
    "prov_sealer",
    "prov_audit_read",
    "prov_retention",
)

# macOS allows 103 bytes and Linux 107; what stays free is a margin for the lock file's name.
LONGEST_SOCKET_PATH_BYTES = 100
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
# With less than this free, a failure is most likely about room.
FULL_DISK_BYTES = 50_000_000


class HomeError(Exception):
    """The data directory cannot be used; the text says what is wrong and what to do."""


def _raw_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def _text_key() -> str:
    return secrets.token_urlsafe(48)


KEYS: Mapping[str, Callable[[], str]] = {
    "secret-key": _text_key,
    "mac-web": _raw_key,
    "mac-gateway": _raw_key,
    "mac-worker": _raw_key,
    "mac-setup": _raw_key,
    "mac-sealer": _raw_key,
    "mac-retention": _raw_key,
    "log-ed25519": _raw_key,
    "log-mldsa44": _raw_key,
    "call-token": _raw_key,
    "vault-kek": _raw_key,
    "blob-key": _raw_key,
    "model-key": _text_key,
    "example-token-erp": _text_key,
    "example-token-crm": _text_key,
    "example-token-docs": _text_key,
    **{f"db-{role}": _text_key for role in (SUPERUSER, *DATABASE_ROLES)},
}


# Addresses of external servers with their passwords (`Installation.write_urls`), and psql's copy of the passwords: made
# anew from what else is there.
DERIVED_KEY_FILES = re.compile(r"url-.+|psql-passwords")
NEXT = ".next"
"""How the name of a key ends that verifies already and signs nothing yet."""
_VERSION = re.compile(r"-([2-9]|[1-9][0-9]+)")


@dataclass(frozen=True)
class Ports:
    """The three neighboring loopback ports of an embedded installation."""

    front: int

    @property
    def examples(self) -> int:
        """Example MCP servers."""
        return self.front + 1

    @property
    def scripted_model(self) -> int:
        """The scripted model server."""
        return self.front + 2

    def named(self) -> dict[str, int]:
        """Every port with the name of what listens on it."""
        return {"front": self.front, "examples": self.examples, "scripted-model": self.scripted_model}


@dataclass(frozen=True)
class Home:
    """One data directory. Paths only: nothing is created before `ensure()`."""

    root: Path

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> Home:
        """The data directory of this process: `PROVENANCE_HOME`, else `.provenance` in the checkout."""
        named = (os.environ if environ is None else environ).get("PROVENANCE_HOME", "")
        # Resolved, so that a data directory moved to a bigger disk behind a link is judged by what it is.
        return cls((Path(named).expanduser() if named else CHECKOUT / ".provenance").resolve())

    @property
    def postgres(self) -> Path:
        """The database cluster."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """The broker's configuration and append-only file."""
        return self.root / "valkey"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    @property
    def keys(self) -> Path:
        """Secrets made at first run."""
        return self.root / "keys"

    @property
    def examples(self) -> Path:
        """SQLite files of the example servers."""
        return self.root / "examples"

    @property
    def pids(self) -> Path:
        """Who runs: one record per process, always inside the data directory."""
        return self.root / "run"

    @property
    def run(self) -> Path:
        """Sockets. The same as `pids`, unless that path is too long for a socket or has a comma.

        Clients of Postgres read a comma as the end of one host's name.
        """
        if len(os.fsencode(self.pids / LONGEST_SOCKET_NAME)) <= LONGEST_SOCKET_PATH_BYTES and "," not in str(self.pids):
            return self.pids
        # Only ours and always the same for this data directory, so that every process finds it without asking.
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path("/tmp") / f"provenance-{os.getuid()}-{name}"  # noqa: S108  short by need; `ensure()` checks the owner

    def anchor(self, wanted: str = "") -> Path:
        """Where published checkpoints are kept outside the database: the named directory, else one of ours.

        Raises HomeError for a place inside the cluster, which is set back with it.
        """
        chosen = (Path(wanted).expanduser() if wanted else self.root / "anchor").resolve()
        if chosen == self.postgres or self.postgres in chosen.parents:
            raise HomeError(
                f"PROVENANCE_ANCHOR is {chosen}, inside the database's own directory. Set it to a directory elsewhere, "
                "best on another disk or host: it is to show when the database was set back."
            )
        return chosen

    @property
    def verified_file(self) -> Path:
        """Up to where the log was verified last (`./manage.py verify`); outside the database on purpose."""
        return self.root / "verified.json"

    @property
    def demo_file(self) -> Path:
        """Sign-in of the demo people."""
        return self.root / "demo.json"

    @property
    def seeded_file(self) -> Path:
        """There once the demo workspace was filled."""
        return self.root / "seeded"

    @property
    def migrated_file(self) -> Path:
        """Which migrations were applied to the embedded cluster (`provenance.migrated`)."""
        return self.root / "migrated"

    @property
    def log_origin_file(self) -> Path:
        """What the logs of this installation call themselves. No secret."""
        return self.root / "log-origin"

    @property
    def erasures_file(self) -> Path:
        """Who was erased: a restore of the database replays it."""
        return self.root / "erasures.jsonl"

    @property
    def ports_file(self) -> Path:
        """Ports chosen at an earlier start."""
        return self.root / "ports.json"

    @property
    def valkey_socket(self) -> Path:
        """The broker's socket."""
        return self.run / "valkey.sock"

    def ensure(self) -> Home:
        """Create the directories, for this user alone. Raises HomeError when that cannot be guaranteed."""
        for directory in (self.root, self.pids, self.run, self.valkey, self.logs, self.keys, self.examples):
            _ensure_private(directory)
        return self

    def ensure_keys(self) -> None:
        """Make the secrets that do not exist yet, each in a file of mode 0600. Existing ones are never changed."""
        _ensure_private(self.root)
        _ensure_private(self.keys)
        for name, make in KEYS.items():
            if not self.key_path(name).exists():
                write_once(self.key_path(name), make())

    def log_origin(self) -> str:
        """The name that every log's own name begins with. Made once and never changed: checkpoints are bound to it."""
        if not self.log_origin_file.exists():
            write_once(self.log_origin_file, f"provenance.local/{secrets.token_hex(8)}\n")
        return self.log_origin_file.read_text("ascii").strip()

    def key_path(self, name: str) -> Path:
        """The file that holds the secret of that name."""
        return self.keys / name

    def read_key(self, name: str) -> str:
        """The secret of that name. Raises HomeError when it was never made, or when others can read or replace it."""
        try:
            return keyfiles.read(self.key_path(name))
        except FileNotFoundError:
            raise HomeError(
                f"{self.key_path(name)} is missing. Run `./manage.py up` once: it makes all secrets."
            ) from None
        except KeyRefused as refused:
            raise HomeError(str(refused)) from None

    def key_versions(self, name: str) -> dict[str, Path]:
        """`1`, `2`, … or `2.next` -> the file of that version of a key that is rotated: `NAME`, `NAME-2`, `NAME-2.next`."""
        found: dict[str, Path] = {}
        for path in sorted(self.keys.glob(f"{name}*")) if self.keys.is_dir() else ():
            rest, mark = (path.name.removeprefix(name).removesuffix(NEXT), path.name.endswith(NEXT))
            number = "1" if not rest else match[1] if (match := _VERSION.fullmatch(rest)) else ""
            if number:
                found[number + NEXT * mark] = path
        return found

    def all_keys(self) -> dict[str, str]:
        """Every key file with what it holds. Raises HomeError for one that is weak, shared or open to others."""
        paths = sorted(self.keys.iterdir()) if self.keys.is_dir() else []
        # What begins with a dot is a file that is being written just now.
        names = [path.name for path in paths if path.name[0] != "." and not DERIVED_KEY_FILES.fullmatch(path.name)]
        held = {name: self.read_key(name) for name in names}
        # A ring has a line for each of its keys.
        lines = [(str(self.key_path(name)), line) for name, text in held.items() for line in text.splitlines()]
        try:
            keyfiles.refuse_weak((f"The key {path}", line) for path, line in lines)
            keyfiles.refuse_shared(lines)
        except KeyRefused as refused:
            raise HomeError(str(refused)) from None
        return held

    def database_url(self, user: str, *, database: str = DATABASE, password: str | None = None) -> str:
        """The URL of the embedded server for this Postgres role, with its password. For memory, never for argv."""
        known = self.read_key(f"db-{user}") if password is None else password
        return f"postgresql://{user}:{quote(known, safe='')}@/{database}?host={quote(str(self.run), safe='')}"

    @property
    def redis_url(self) -> str:
        """The embedded broker for redis-py."""
        return f"unix://{quote(str(self.valkey_socket))}"

    def ports(self, wanted: int | None = None) -> Ports:
        """Ports asked for, else those of the last start, else the default.

        Raises `HomeError` when a demo that was filled is to move: its servers and their secrets are bound to its ports.
        """
        kept = self._kept_port()
        if wanted is not None and kept is not None and wanted != kept and self.seeded_file.exists():
            raise HomeError(
                f"the demo in {self.root} lives at port {kept}, and its example servers are registered there. "
                f"Start it without --port, or choose another data directory for a second one: "
                f"PROVENANCE_HOME=DIR ./manage.py up --port {wanted}"
            )
        return Ports(wanted or kept or DEFAULT_PORT)

    def _kept_port(self) -> int | None:
        try:
            return int(json.loads(self.ports_file.read_text("utf-8"))["front"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def remember_ports(self, ports: Ports) -> None:
        """Keep the chosen ports for the next start and for the other commands."""
        replace_text(self.ports_file, json.dumps(ports.named()) + "\n")

    def mode(self) -> str:
        """`demo` or `production`, as the last `up` ran; empty before the first."""
        try:
            return self._mode_file.read_text("ascii").strip()
        except FileNotFoundError:
            return ""

    def remember_mode(self, mode: str) -> None:
        """Keep how `up` runs, so that the other commands mean the same installation."""
        replace_text(self._mode_file, f"{mode}\n")

    @property
    def _mode_file(self) -> Path:
        return self.root / "mode"

    def lack_of_room(self) -> str:
        """One sentence when its disk is full, for whatever just failed; empty while there is room."""
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        free_bytes = shutil.disk_usage(there).free
        if free_bytes > FULL_DISK_BYTES:
            return ""
        return (
            f"The disk of {self.root} is full ({free_bytes / 1e6:.0f} MB free): "
            "free 1 GB, or set PROVENANCE_HOME to a bigger disk."
        )

    def discard_run(self) -> None:
        """Remove the short socket directory, if there is one: nothing may stay outside the data directory."""
        if self.run != self.pids:
            shutil.rmtree(self.run, ignore_errors=True)


def write_once(path: Path, text: str) -> None:
    """Create a file of mode 0600 whole or not at all. When another process was faster, its content stays."""
    temporary = _write_beside(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def replace_text(path: Path, text: str) -> None:
    """Put a file of mode 0600 in place in one step: a reader sees the old or the new text, never half of it."""
    _write_beside(path, text).replace(path)


def _write_beside(path: Path, text: str) -> Path:
    # mkstemp opens with O_EXCL and mode 0600, so at no moment can anybody else read what is written.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)


def _ensure_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as problem:
        raise HomeError(
            f"The data directory {directory} cannot be created ({problem.strerror}). "
            "Set PROVENANCE_HOME to a directory you may write to."
        ) from problem
    # lstat and owner: in a shared /tmp somebody else could have put a link or a directory there first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise HomeError(
            f"{directory} is not a directory of yours, so secrets would not be safe in it. "
            "Remove it, or set PROVENANCE_HOME to a directory of your own."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)
