"""A bare machine becomes a working one: `.venv` in the checkout, filled from the hashed locks. Standard library only.

What is installed is written down in a stamp with the lock's digest, so every later start costs one comparison and
needs no network. The stamp is removed before an installation and written after it: one that was interrupted, even in
the middle of making the environment, is simply done again by the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from provenance import help as answers

CHECKOUT = Path(__file__).resolve().parent.parent
HEARTBEAT_SECONDS = 5.0
NEEDS_DEVELOPMENT_PACKAGES = frozenset({"test", "lint"})
# These must answer on a machine where nothing could be installed.
WORKS_WITHOUT_ENVIRONMENT = frozenset({"doctor", "down"})


class BootstrapError(Exception):
    """The environment cannot be made; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Lock:
    """One hashed lock file and the locks whose packages it includes."""

    name: str
    includes: tuple[str, ...] = ()

    def path(self, checkout: Path) -> Path:
        """Where it is."""
        return checkout / "requirements" / f"{self.name}.txt"

    def digest(self, checkout: Path) -> str:
        """What it says, in one word."""
        return hashlib.sha256(self.path(checkout).read_bytes()).hexdigest()

    def package_count(self, checkout: Path) -> int:
        """How many packages it pins."""
        lines = self.path(checkout).read_text("utf-8").splitlines()
        return sum("==" in line and not line.startswith(("#", " ")) for line in lines)


BASE = Lock("base")
DEVELOPMENT = Lock("dev", includes=("base",))


def enter(arguments: Sequence[str]) -> None:
    """Return inside the checkout's own environment, complete for this command.

    From any other interpreter this process is replaced by the environment's. Ends the process with one sentence when
    the environment cannot be made.
    """
    command = arguments[0] if arguments else ""
    environment = Environment(CHECKOUT)
    lock = DEVELOPMENT if command in NEEDS_DEVELOPMENT_PACKAGES else BASE
    try:
        if not environment.has(lock):
            if _works_without_environment(arguments):
                return
            environment.install(lock)
    except BootstrapError as problem:
        sys.exit(f"manage.py: {problem}")
    except KeyboardInterrupt:
        sys.exit("manage.py: interrupted; the next start continues where this one stopped.")
    if not environment.is_current():
        environment.run_again(arguments)


def _works_without_environment(arguments: Sequence[str]) -> bool:
    """Nobody must wait for an installation to be told what there is, or that a word was mistyped."""
    return (
        answers.asks_for_overview(arguments)
        or arguments[0] in WORKS_WITHOUT_ENVIRONMENT
        or not answers.may_exist(arguments[0])
    )


class Environment:
    """The virtual environment of one checkout."""

    def __init__(self, checkout: Path, tools: Mapping[str, str] | None = None) -> None:
        """The environment in `checkout`; `tools` are the environment variables that installers see."""
        self.checkout = checkout
        self.folder = checkout / ".venv"
        self.variables = {
            **(os.environ if tools is None else tools),
            # uv would otherwise fetch an interpreter from a code host, without asking.
            "UV_PYTHON_DOWNLOADS": "never",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """What was installed completely: lock name -> digest, and for which Python."""
        return self.folder / "provenance-stamp.json"

    def is_current(self) -> bool:
        """Does this process run in it?"""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def has(self, lock: Lock) -> bool:
        """Is everything of this lock installed, for the Python that is there now?"""
        stamp = self._read_stamp()
        return (
            self.python.exists()
            and stamp.get(lock.name) == lock.digest(self.checkout)
            and (self.folder / "lib" / str(stamp.get("python")) / "site-packages").is_dir()
            and (not self.is_current() or stamp.get("python") == _python_name())
        )

    def install(self, lock: Lock) -> None:
        """Make the environment if need be and install the lock into it. Raises BootstrapError."""
        with self._only_one_at_a_time():
            if self.has(lock):
                return  # another start has just done it
            started = time.monotonic()
            installer = choose_installer(self.variables)
            _say(f"Setting up {self.folder} with {installer.name} (once; later starts need no network)")
            self.stamp.unlink(missing_ok=True)
            if not self._works():
                shutil.rmtree(self.folder, ignore_errors=True)
                self._run(installer.create(self.folder), "making the environment")
            if installer.prepare_command:
                self._run(installer.prepare(self.python), "preparing pip")
            self._run(
                installer.install(self.python, lock.path(self.checkout)),
                f"installing {lock.package_count(self.checkout)} packages",
            )
            self._write_stamp(lock)
            _say(f"Environment ready after {time.monotonic() - started:.1f} s")

    def run_again(self, arguments: Sequence[str]) -> NoReturn:
        """Replace this process by the same command in the environment."""
        os.execv(self.python, [str(self.python), str(self.checkout / "manage.py"), *arguments])  # noqa: S606  no shell is wanted

    def _works(self) -> bool:
        """Is there an interpreter that runs and has a place for packages? Half a one, or a removed Python, has not."""
        if not (self.folder / "pyvenv.cfg").exists() or not self.python.exists():
            return False
        question = (
            "import sysconfig, pathlib; raise SystemExit(not pathlib.Path(sysconfig.get_path('purelib')).is_dir())"
        )
        try:
            return not subprocess.run([self.python, "-I", "-c", question], capture_output=True, check=False).returncode
        except OSError:
            return False

    def _read_stamp(self) -> dict[str, str]:
        try:
            found = json.loads(self.stamp.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_stamp(self, lock: Lock) -> None:
        locks = [lock, *(Lock(name) for name in lock.includes)]
        stamp = {each.name: each.digest(self.checkout) for each in locks}
        temporary = self.stamp.with_suffix(".new")
        temporary.write_text(json.dumps({"python": self._python_name(), **stamp}) + "\n", "utf-8")
        temporary.replace(self.stamp)

    def _python_name(self) -> str:
        return next((self.folder / "lib").glob("python3.*/site-packages")).parent.name

    @contextlib.contextmanager
    def _only_one_at_a_time(self) -> Iterator[None]:
        """Two first starts at once would install over each other. The lock needs no file of its own."""
        with (self.checkout / "manage.py").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("Another start is setting up the environment; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _run(self, command: Sequence[str], doing: str) -> None:
        """Run one step with a sign of life every few seconds. Raises BootstrapError with the last lines it said."""
        with _heartbeat(doing):
            done = subprocess.run(
                command,
                env=self.variables,
                cwd=self.checkout,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode:
            raise BootstrapError(explain_failure(doing, done.stdout))


@dataclass(frozen=True)
class Installer:
    """One way to make an environment and to fill it."""

    name: str
    create_command: tuple[str, ...]
    install_command: tuple[str, ...]
    prepare_command: tuple[str, ...] = ()

    def create(self, folder: Path) -> list[str]:
        """The command that makes the environment."""
        return [*self.create_command, str(folder)]

    def prepare(self, python: Path) -> list[str]:
        """The command that puts the installer itself into the environment; empty when it needs nothing there."""
        return _in(python, self.prepare_command)

    def install(self, python: Path, lock: Path) -> list[str]:
        """The command that installs a lock: each file by its hash; wheels only, so no code runs while installing."""
        return [*_in(python, self.install_command), "--require-hashes", "--only-binary", ":all:", "-r", str(lock)]


def choose_installer(variables: Mapping[str, str]) -> Installer:
    """The best way this machine offers: uv, else venv with its own pip, else venv with the system's pip.

    Raises BootstrapError with the one line to install what is missing. Never installs into the system's Python.
    """
    base_python = getattr(sys, "_base_executable", sys.executable)
    uv = shutil.which("uv", path=variables.get("PATH"))
    if uv:
        cache = () if _can_cache(variables) else ("--no-cache",)
        return Installer(
            "uv",
            (uv, "venv", "--quiet", *cache, "--python", base_python),
            (uv, "pip", "install", "--compile-bytecode", *cache, "--python", "{python}"),
        )
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return Installer(
            "venv and pip",
            (base_python, "-m", "venv", "--without-pip"),
            ("{python}", "-m", "pip", "install", "--progress-bar", "off"),
            # Its own step, because an environment made by uv has no pip either.
            ("{python}", "-m", "ensurepip"),
        )
    if importlib.util.find_spec("venv") and importlib.util.find_spec("pip"):
        return Installer(
            "venv and the system's pip",
            (base_python, "-m", "venv", "--without-pip"),
            (base_python, "-m", "pip", "--python", "{python}", "install", "--progress-bar", "off"),
        )
    raise BootstrapError(
        "this Python can make no virtual environment. "
        f"On Debian or Ubuntu: apt install python3.{sys.version_info.minor}-venv   (or install uv)."
    )


def explain_failure(doing: str, output: str) -> str:
    """One error for a person from what an installer said: the likely cause first, then its last lines."""
    causes = (
        (("No space left on device", "os error 28"), "the disk is full; free 1 GB"),
        (
            ("THESE PACKAGES DO NOT MATCH THE HASHES", "Hash mismatch"),
            "a package is not the one that was locked; do not use this index",
        ),
        (
            ("invalid peer certificate", "CERTIFICATE_VERIFY_FAILED"),
            "the package index's certificate is not trusted; name your organization's in SSL_CERT_FILE (uv) or PIP_CERT",
        ),
        (
            (
                "Temporary failure in name resolution",
                "dns error",
                "Connection refused",
                "NewConnectionError",
                "Failed to fetch",
                "error sending request",
                "timed out",
                "ProxyError",
                "Network is unreachable",
                "Name or service not known",
                "(from versions: none)",  # all that pip says after its last attempt
            ),
            "the package index cannot be reached; check the network, the proxy, or the index settings of pip and uv",
        ),
        (("Permission denied", "Read-only file system"), "this user may not write to the checkout"),
    )
    cause = next((text for signs, text in causes if any(sign in output for sign in signs)), "see below")
    last = "\n".join(f"    {line[:200]}" for line in output.strip().splitlines()[-6:])
    return f"{doing} failed: {cause}. Then run the same command again; it continues.\n{last}"


def _in(python: Path, command: Sequence[str]) -> list[str]:
    return [part.replace("{python}", str(python)) for part in command]


def _can_cache(variables: Mapping[str, str]) -> bool:
    """May this user write where uv keeps its cache? An account without a home may not, and uv would give up."""
    home = variables.get("HOME", "")
    wanted = Path(
        variables.get("UV_CACHE_DIR")
        or variables.get("XDG_CACHE_HOME")
        or (f"{home}/.cache" if home else "/nonexistent")
    )
    existing = next(path for path in (wanted, *wanted.absolute().parents) if path.exists())
    return os.access(existing, os.W_OK)


@contextlib.contextmanager
def _heartbeat(doing: str) -> Iterator[None]:
    """Say what is going on now and again every few seconds."""
    done = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            _say(f"  {doing} ... {time.monotonic() - started:.0f} s")

    _say(f"  {doing}")
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _python_name() -> str:
    return f"python3.{sys.version_info.minor}"


def _say(text: str) -> None:
    # To stderr, so that `./manage.py psql ... > file` writes only what was asked for.
    print(text, file=sys.stderr, flush=True)
