"""`up`, `down`, `status` and `run`: what a person does with the processes of an installation."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from provenance import pidfiles
from provenance.children import SUPERVISOR_RECORD, stop_leftovers
from provenance.embedded import open_log
from provenance.home import CHECKOUT, Home, replace_text
from provenance.listeners import is_taken, not_ready, warnings
from provenance.loopback import LOOPBACK
from provenance.processes import COMMANDS, DATABASE_USERS, LISTENERS, Installation, bind_address
from provenance.reachable import unreachable_database
from provenance.terminal import complain, say

RELAY_SECONDS = 0.2
STOP_ALL_SECONDS = 60.0
NOT_RUNNING = 3
# It serves, and somebody must look into something.
WARNED = 1
UP_LOG = "up"
# What the running supervisor says about itself to later commands.
READY_FILE = "ready.json"


def up(arguments: Sequence[str]) -> int:
    """Set up and start everything, say the address, and stay until stopped. With --detach return once it is ready."""
    options = _up_options(arguments)
    installation = Installation.of(os.environ, port=options.port)
    home = installation.home.ensure()
    _prepare_anchor(installation)
    if options.detach:
        return _detach(installation, options)
    with _the_only_supervisor(home) as is_ours:
        if not is_ours:
            return _already_up(installation, speaks_to_person=options.ready_descriptor is None)
        from provenance.supervisor import Supervisor  # noqa: PLC0415  needs packages; `down` and `status` work without

        announce = _announcement(installation, options)
        return Supervisor(installation, on_ready=announce, only_servers=options.servers).run()


def down(arguments: Sequence[str]) -> int:
    """Stop everything of this data directory, also what a killed `up` left. Touches no other process."""
    argparse.ArgumentParser(prog="./manage.py down", description=down.__doc__).parse_args(arguments)
    home = Home.locate()
    supervisor = pidfiles.read(home.pids / SUPERVISOR_RECORD)
    if supervisor:
        say(f"Stopping (pid {supervisor.pid}) ...")
        supervisor.stop((signal.SIGTERM, STOP_ALL_SECONDS), (signal.SIGKILL, 5.0))
    left = stop_leftovers(home)
    home.discard_run()
    say("Stopped." if supervisor or left else "Nothing was running.")
    return 0


def status(arguments: Sequence[str]) -> int:
    """What runs, and whether it is ready: exit code 0 when it is, 1 when the log needs a look, else 3 as in init scripts."""
    argparse.ArgumentParser(prog="./manage.py status", description=status.__doc__).parse_args(arguments)
    installation = Installation.of(os.environ)
    for record in sorted(installation.home.pids.glob("*.pid")):
        process = pidfiles.read(record)
        say(f"{record.stem:<16} {f'runs, pid {process.pid}' if process else 'has ended'}")
    port = installation.ports.front
    if not pidfiles.read(installation.home.pids / SUPERVISOR_RECORD) and not is_taken(LOOPBACK, port):
        say("Provenance does not run. Start it: ./manage.py up")
        return NOT_RUNNING
    problem = not_ready(installation)
    say(f"{installation.url} is ready" if problem is None else f"{installation.url} is not ready: {problem}")
    found = warnings(installation) if problem is None else []
    for warning in found:
        say(f"but {warning}")
    say(f"published checkpoints of the log are kept in {installation.anchor}")
    return NOT_RUNNING if problem else WARNED if found else 0


def run_role(arguments: Sequence[str]) -> int:
    """Become the process of one role, with the environment as it is: for containers, systemd and a close look."""
    parser = argparse.ArgumentParser(prog="./manage.py run", description=run_role.__doc__)
    parser.add_argument("role", choices=sorted(COMMANDS))
    role = parser.parse_args(arguments).role
    installation = Installation.of(os.environ, mode_of_a_new_one="production")
    port = installation.ports.front
    if role in LISTENERS and is_taken(bind_address(installation), port):
        complain(
            f"manage.py run {role}: port {port} is taken by another program. Stop that one (./manage.py down stops what "
            f"`up` runs), or choose a free port, for example: PROVENANCE_PORT={port + 100} ./manage.py run {role}"
        )
        return 1
    os.environ.update({**installation.environment(role), **os.environ, "PROVENANCE_ROLE": role})
    os.chdir(CHECKOUT)
    if role in DATABASE_USERS and _refuses_to_serve(role):
        return 1
    command = installation.program(role).command
    return os.execv(command[0], command)  # noqa: S606  no shell is wanted


def _refuses_to_serve(role: str) -> bool:
    """Do the database's walls stand, as this role sees them? A process behind broken ones must not start."""
    import django  # noqa: PLC0415  only this command needs Django, and only in the environment

    django.setup()
    from provenance import readiness  # noqa: PLC0415  see above

    silence = unreachable_database()
    found = [silence] if silence else readiness.problems()
    for problem in found:
        complain(f"manage.py run {role}: {problem}")
    return bool(found)


def _prepare_anchor(installation: Installation) -> None:
    """Make the directory for published checkpoints. Without it everything runs, and says so: a mount may come later.

    Raises HomeError for a place inside the database's own directory.
    """
    place = installation.anchor
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        complain(
            f"manage.py up: published checkpoints of the log cannot be kept in {place} ({problem.strerror}). "
            "Make it writable, or set PROVENANCE_ANCHOR to another directory."
        )


def _up_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./manage.py up", description=up.__doc__)
    parser.add_argument("--detach", action="store_true", help="return when it is ready and leave it running")
    parser.add_argument(
        "--servers",
        action="store_true",
        help="the database with its roles, and nothing that serves: to restore a backup",
    )
    parser.add_argument("--port", type=_port, help="the first of three neighboring ports; kept for the next start")
    # How a detached supervisor tells its parent that it is ready.
    parser.add_argument("--ready-descriptor", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65533:
        raise argparse.ArgumentTypeError("choose a port from 1024 to 65533")
    return int(text)


@contextlib.contextmanager
def _the_only_supervisor(home: Home) -> Iterator[bool]:
    """Is this the only `up` of its data directory? The kernel drops the lock with the process, however it ends."""
    with (home.pids / "up.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        ready = home.pids / READY_FILE
        ready.unlink(missing_ok=True)
        try:
            yield True
        finally:
            ready.unlink(missing_ok=True)


def _already_up(installation: Installation, *, speaks_to_person: bool) -> int:
    ready = installation.home.pids / READY_FILE
    if not ready.exists():
        complain("manage.py up: another `up` is starting just now. Wait for it, or stop it: ./manage.py down")
        return 1
    say("Provenance is running already; to stop it: ./manage.py down")
    if speaks_to_person:
        _welcome(installation)
    return 0


def _announcement(installation: Installation, options: argparse.Namespace) -> Callable[[], None]:
    """What happens when everything runs: the person is told, or the parent that speaks to the person."""

    def announce() -> None:
        ready = {"url": "" if options.servers else installation.url}
        replace_text(installation.home.pids / READY_FILE, json.dumps(ready) + "\n")
        if options.ready_descriptor is None:
            _welcome(installation)
            say("Ctrl-C stops everything.")
        else:
            os.write(options.ready_descriptor, b"ready")
            os.close(options.ready_descriptor)

    return announce


def _welcome(installation: Installation) -> None:
    """The address and who may sign in. To the terminal only: a log must not hold what opens the door."""
    home = installation.home
    url = json.loads((home.pids / READY_FILE).read_text("utf-8"))["url"]
    if not url:
        say("The database runs, and nothing that serves. ./manage.py psql postgres leads to it.")
        return
    say(f"Published checkpoints of the log are kept in {installation.anchor} (PROVENANCE_ANCHOR).")
    say(f"\nready {url}")
    if home.demo_file.exists():
        for person in json.loads(home.demo_file.read_text("utf-8"))["people"]:
            say(f"  {_who(person):<36} {person['email']:<28} {person['password']}")
        say(f"  (also in {home.demo_file})")
    elif link := _setup_link(installation):
        say(f"  Nobody has an account yet. The first administrator makes one, once, at\n  {link}")


def _who(person: dict[str, Any]) -> str:
    """Name and roles; the part in the story, in a file of before they were noted."""
    return f"{person['name']}, {' and '.join(person['roles'])}" if person.get("roles") else str(person["title"])


def _setup_link(installation: Installation) -> str:
    """The one-time address for the first administrator; empty once there is any account."""
    program = installation.command("setup", "setup_link")
    done = subprocess.run(
        program.command, env=dict(program.environment), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _detach(installation: Installation, options: argparse.Namespace) -> int:
    """Start the supervisor in a session of its own, show what it says until it is ready, and leave it."""
    reading, writing = os.pipe()
    log = installation.home.logs / f"{UP_LOG}.log"
    # Stopping the one that waits stops what it waits for, by whatever signal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_log(installation.home, UP_LOG) as output:
        said_before = log.stat().st_size
        child = subprocess.Popen(
            [
                *(sys.executable, str(CHECKOUT / "manage.py"), "up", "--ready-descriptor", str(writing)),
                *(["--port", str(options.port)] if options.port else []),
                *(["--servers"] if options.servers else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=CHECKOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
    os.close(writing)
    try:
        is_ready = _relay_until_told(log, said_before, reading)
        code = 0 if is_ready else child.wait()
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if code == 0:
        _welcome(installation)
        say(f"It runs in the background; its log is {log}. To stop it: ./manage.py down")
    return code


def _relay_until_told(log: Path, position: int, reading: int) -> bool:
    """Show what is appended to the log until the other end says it is ready (True) or is gone (False)."""
    with log.open("rb") as file:
        file.seek(position)
        while not select.select([reading], [], [], RELAY_SECONDS)[0]:
            _relay(file)
        told = os.read(reading, 16)
        _relay(file)
    os.close(reading)
    return told == b"ready"


def _relay(file: IO[bytes]) -> None:
    sys.stdout.write(file.read().decode("utf-8", errors="replace"))
    sys.stdout.flush()
