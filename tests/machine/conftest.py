"""Data directories of their own for tests of the machinery that runs Provenance."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provenance.home import CHECKOUT, Home
from tests.ports import free_ports


@pytest.fixture
def home(tmp_path):
    """A private data directory; what still runs in it afterwards fails the test."""
    made = Home(tmp_path / "home").ensure()
    yield made
    made.discard_run()
    assert processes_mentioning(made.root) == []


@pytest.fixture
def home_at():
    """Data directories at paths of the test's choice; their short socket directories are removed afterwards."""
    made = []

    def at(root):
        made.append(Home(root))
        return made[-1]

    yield at
    for home in made:
        home.discard_run()


@pytest.fixture
def three_free_ports():
    """The first of three neighboring ports that nobody uses."""
    return free_ports(3)


def processes_mentioning(path: Path) -> list[str]:
    """Command lines of running processes that name the path in their arguments, environment or working directory."""
    needle = os.fsencode(path)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            seen = command + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
        except OSError:
            continue
        if command and needle in seen:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def manage(*arguments: str, home: Home, **variables: str) -> subprocess.Popen[str]:
    """`./manage.py` as a person on a bare machine would run it, over a data directory of the test's."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env={**inherited, "PROVENANCE_HOME": str(home.root), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
    )
