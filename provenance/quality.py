"""`./manage.py test`, `lint` and `bench`: the same for a person and for CI."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from provenance import pidfiles
from provenance.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from provenance.home import CHECKOUT, Home
from provenance.terminal import complain, say

PYTEST_DEFAULTS = ("-n", "3", "--dist", "loadfile")
"""Three on two processors: a third of the time is spent waiting, for processes that start and for times that run out."""
TEMPORARY_PREFIX = "provenance-test-"
OWNER_RECORD = "owner.pid"

LOCK_OPTIONS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    # No address of an index and no comment: what is installed depends on the hashes alone.
    *("--no-emit-index-url", "--no-annotate", "--no-header", "--quiet"),
)

LINTERS: tuple[tuple[str, ...], ...] = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "."),
    ("lint-imports",),
    # Without --check: its formatter parts inline elements, and the white space between them shows on the page.
    ("djlint", "templates", "--lint"),
)


def test(arguments: Sequence[str]) -> int:
    """Run pytest against throw-away servers of its own; its exit code. Arguments replace the defaults."""
    _discard_abandoned()
    signal.signal(signal.SIGTERM, _interrupt)
    with throw_away_servers() as environment:
        return _run([sys.executable, "-m", "pytest", *(arguments or PYTEST_DEFAULTS)], environment)


def lint(arguments: Sequence[str]) -> int:
    """Run every linter and name those that complain; 0 when none does."""
    if arguments:
        complain("lint takes no arguments: it always judges the whole tree.")
        return 2
    unhappy = [command for command in LINTERS if not _passes(command)]
    for command in unhappy:
        complain(f"lint: {' '.join(command)} found something (above).")
    if not unhappy:
        say("lint: all clean.")
    return 1 if unhappy else 0


def lock(arguments: Sequence[str]) -> int:
    """Write requirements/base.txt and dev.txt anew from the tables of pyproject.toml. Arguments go to uv: --upgrade."""
    uv = shutil.which("uv")
    if not uv:
        complain("lock needs uv on PATH: python3 -m pip install uv")
        return 1
    base = CHECKOUT / "requirements" / "base.txt"
    development = CHECKOUT / "requirements" / "dev.txt"
    for output, source in ((base, ()), (development, ("--group", "dev", "--constraint", str(base)))):
        command = [
            uv,
            "pip",
            "compile",
            "pyproject.toml",
            *source,
            *LOCK_OPTIONS,
            "--output-file",
            str(output),
            *arguments,
        ]
        if code := subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
            return code
        say(f"{output.relative_to(CHECKOUT)} is written.")
    return 0


def bench(arguments: Sequence[str]) -> int:
    """Measure one area on throw-away servers of its own; its exit code. `bench/README.md` tells of the areas."""
    _discard_abandoned()
    signal.signal(signal.SIGTERM, _interrupt)
    return _run([sys.executable, "-m", "bench", *arguments], os.environ)


@contextlib.contextmanager
def throw_away_servers(*, durable: bool = False) -> Iterator[dict[str, str]]:
    """Postgres and Valkey over a temporary data directory, and the environment that points tests to them.

    `durable`: they keep what they confirm, like those of an installation; for measuring.
    """
    root = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
    pidfiles.write(root / OWNER_RECORD, os.getpid())
    home = Home(root.resolve()).ensure()
    servers = _servers(home, durable=durable)
    try:
        for server in servers:
            server.start()
        yield {
            **_without_ours(os.environ),
            "PROVENANCE_HOME": str(home.root),
            "PROVENANCE_ENV": "test",
            "PROVENANCE_ROLE": "web",
            # Both are good for a few minutes on this machine only, hence the exception from "no secret in environ".
            "TEST_ADMIN_DATABASE_URL": EmbeddedPostgres(home).admin_url(),
            "TEST_REDIS_URL": home.redis_url,
        }
    finally:
        _discard(home, servers)


def _servers(home: Home, *, durable: bool = False) -> tuple[EmbeddedServer, ...]:
    return (EmbeddedPostgres(home, durable=durable), EmbeddedValkey(home, durable=durable))


def _discard(home: Home, servers: Sequence[EmbeddedServer]) -> None:
    for server in servers:
        server.stop()
    home.discard_run()
    shutil.rmtree(home.root, ignore_errors=True)


def _discard_abandoned() -> None:
    """Clean up after test runs that were killed: their servers, then their directories."""
    for root in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        if root.stat().st_uid != os.getuid() or not (root / OWNER_RECORD).exists():
            continue
        if pidfiles.read(root / OWNER_RECORD) is None:
            home = Home(root.resolve())
            _discard(home, _servers(home))


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would point tests at a real installation."""
    ours = ("PROVENANCE_", "DATABASE_URL", "GATEWAY_DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    return {name: value for name, value in environ.items() if not name.startswith(ours)}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(command, env=dict(environment), cwd=CHECKOUT) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            raise


def _passes(command: Sequence[str]) -> bool:
    say(f"lint: {' '.join(command)}")
    program = Path(sys.executable).parent / command[0]
    return subprocess.run([program, *command[1:]], cwd=CHECKOUT, check=False).returncode == 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
