"""The processes of one installation, started in order, watched, and stopped together.

The supervisor writes down every process it starts. However it ends, Ctrl-C and crashes included, it stops them all;
after a kill -9 the records tell the next start what is left to stop.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from provenance import pidfiles
from provenance.binaries import EmbeddedError
from provenance.children import LONGEST_BACKOFF_SECONDS, SUPERVISOR_RECORD, Child, describe_exit, stop_leftovers
from provenance.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, last_line
from provenance.home import Home
from provenance.listeners import examples_not_ready, not_ready, refuse_taken_ports
from provenance.loopback import LoopbackDown, ensure_loopback
from provenance.migrated import is_migrated, remember_migrated
from provenance.processes import Installation, StartError
from provenance.servers import ensure_roles, refuse_silent_broker
from provenance.terminal import Progress, complain, say

POLL_SECONDS = 0.1
READY_SECONDS = 180.0
DEATHS_ALLOWED_WHILE_STARTING = 3
EXAMPLE_PROGRAMS = ("examples", "scripted-model")
# The front first: it is what a start waits for.
SERVING_PROGRAMS = ("front", "worker", "sealer")


class StopRequested(BaseException):
    """Somebody asked to stop. Not an Exception, so that nothing on the way takes it for a failure."""


@dataclass
class Supervisor:
    """Everything one `up` starts. `run()` returns when it was stopped and nothing is left.

    `only_servers`: nothing that serves or seals, and so nothing that would begin a log in a database still to be restored.
    """

    installation: Installation
    on_ready: Callable[[], None]
    only_servers: bool = False
    progress: Progress = field(default_factory=Progress)
    servers: list[EmbeddedServer] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    job: Child | None = None
    stop_requested: bool = False

    @property
    def home(self) -> Home:
        """The data directory."""
        return self.installation.home

    def run(self) -> int:
        """Start, stay until asked to stop, stop; the exit code of `up`."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._request_stop)
        pidfiles.write(self.home.pids / SUPERVISOR_RECORD, os.getpid())
        try:
            self.start()
            self.on_ready()
            self._stay()
        except StopRequested:
            pass
        except (StartError, EmbeddedError, LoopbackDown) as problem:
            # A server on a full disk says which of its files failed, and not why.
            complain(f"manage.py up: {problem} {self.home.lack_of_room()}".rstrip())
            return 1
        finally:
            self.stop()
        return 0

    def start(self) -> None:
        """Everything in order, ready at the end. Raises StartError or EmbeddedError with what to do."""
        if stop_leftovers(self.home):
            self.progress.step("Stopped what a killed start had left running")
        if ensure_loopback():
            self.progress.step("Brought up the loopback interface of this network namespace")
        refuse_taken_ports(self.installation)
        self.home.remember_ports(self.installation.ports)
        self.home.remember_mode(self.installation.mode)
        self.home.ensure_keys()
        # Each process looks at its own; only here are all of them together.
        self.home.all_keys()
        self.installation.write_urls()
        if self.only_servers:
            self._start_servers()
            self._ensure_roles()
            return
        if self.installation.is_demo:
            # First, because they need no database and are needed only when there is one.
            self._start_programs(EXAMPLE_PROGRAMS)
        self._start_servers()
        self._start_serving()
        is_first_demo = self.installation.is_demo and not self.home.seeded_file.exists()
        if is_first_demo:
            # While the pages start, because both take a while.
            self._seed()
        self._wait_while("Waiting for the pages to answer", lambda: not_ready(self.installation))
        self.progress.step("Everything runs")

    def stop(self) -> None:
        """Stop everything in the reverse order of its start; nothing is left running or recorded."""
        processes = [*([self.job] if self.job else []), *reversed(self.children)]
        for child in processes:
            child.ask_to_end()
        for child in processes:
            child.stop()
        for server in reversed(self.servers):
            try:
                server.stop()
            except EmbeddedError as problem:
                complain(str(problem))
        (self.home.pids / SUPERVISOR_RECORD).unlink(missing_ok=True)
        self.home.discard_run()

    # The steps of a start

    def _start_servers(self) -> None:
        wanted: list[EmbeddedServer] = [] if self.installation.database else [EmbeddedPostgres(self.home)]
        wanted += [] if self.installation.redis_url else [EmbeddedValkey(self.home)]
        if self.installation.redis_url:
            refuse_silent_broker(self.installation.redis_url)
        for server in wanted:
            self._check()
            self.servers.append(server)
            server.start()
            self.progress.step(f"{server.name} runs")

    def _start_programs(self, roles: Sequence[str]) -> None:
        for role in roles:
            self._check()
            child = Child(self.home, self.installation.program(role))
            self.children.append(child)
            child.start()
            self.progress.step(f"{role} starts")

    def _start_serving(self) -> None:
        """Start what needs the database, once that has its roles and its shape."""
        # Only the embedded cluster can be recognized: an external database may have been restored meanwhile.
        if not self.installation.database and is_migrated(self.home) and not self._has_erasures():
            # They load for seconds before they ask the database anything.
            self._start_programs(SERVING_PROGRAMS)
            self._ensure_roles()
        else:
            self._ensure_roles()
            if self.installation.database or not is_migrated(self.home):
                self._migrate()
            if self._has_erasures():
                # After a restore: the processes refuse to serve before.
                self._run_job("setup", "replay_erasures")
            self._start_programs(SERVING_PROGRAMS)

    def _ensure_roles(self) -> None:
        self._check()
        ensure_roles(self.installation, self._admin_url())

    def _has_erasures(self) -> bool:
        named = self.installation.environ.get("PROVENANCE_ERASURES")
        return (Path(named) if named else self.home.erasures_file).exists()

    def _migrate(self) -> None:
        self.progress.step("Applying migrations")
        # Django's checks load every page; a test of the house runs them, and what serves checks the walls.
        self._run_job("migrate", "migrate", "--noinput", "--skip-checks", "--verbosity", "0")
        remember_migrated(self.home)

    def _admin_url(self) -> str:
        database = self.installation.database
        return database.admin_url if database else EmbeddedPostgres(self.home).admin_url()

    def _seed(self) -> None:
        """Fill the demo workspace, once: a later start never puts back what people changed or deleted."""
        self._wait_while("Waiting for the example servers", lambda: examples_not_ready(self.installation))
        self.progress.step("Filling the demo workspace and starting its runs, until one waits for a person")
        self._run_job("setup", "seed_demo", "--wait")

    def _run_job(self, role: str, *arguments: str) -> None:
        """Run one of Django's commands to its end, while watching the rest."""
        self._check()
        self.job = Child(self.home, self.installation.command(role, *arguments))
        self.job.start()
        while (code := self.job.exit_code()) is None:
            self._pause()
            self._give_up_on_the_dying()
        if code:
            raise StartError(
                f"{' '.join(arguments)} failed ({describe_exit(code)}): {last_line(self.home, self.job.program.name)} "
                f"- the whole story is in {self.home.logs / self.job.program.name}.log."
            )
        self.job.stop()
        self.job = None

    def _wait_while(self, doing: str, find_problem: Callable[[], str | None]) -> None:
        """Return when there is no problem any more. Raises StartError with the problem that stays."""
        self.progress.step(doing)
        deadline = time.monotonic() + READY_SECONDS
        while (problem := find_problem()) is not None:
            if time.monotonic() > deadline:
                raise StartError(f"not ready after {READY_SECONDS:.0f} s: {problem}; see {self.home.logs}.")
            self._pause()
            self._give_up_on_the_dying()

    # Watching

    def _stay(self) -> None:
        while True:
            self._pause()
            for server in self.servers:
                self._revive(server)

    def _pause(self) -> None:
        """A moment in which the dead are found and started again. Raises StopRequested when it is time to go."""
        self._check()
        for child in self.children:
            sentence = child.watch(time.monotonic())
            if sentence:
                self.progress.step(f"{sentence}; it said: {last_line(self.home, child.program.name)}")
        time.sleep(POLL_SECONDS)

    def _revive(self, server: EmbeddedServer) -> None:
        if server.process is None or server.process.poll() is not None:
            self.progress.step(f"{server.name} ended; starting it again. It said: {last_line(self.home, server.name)}")
            try:
                server.start()
            except EmbeddedError as problem:
                complain(str(problem))
                self._rest(LONGEST_BACKOFF_SECONDS)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pause()

    def _give_up_on_the_dying(self) -> None:
        for child in self.children:
            if child.deaths >= DEATHS_ALLOWED_WHILE_STARTING:
                name = child.program.name
                raise StartError(
                    f"{name} ends again and again: {last_line(self.home, name)} "
                    f"- the whole story is in {self.home.logs / name}.log."
                )

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        # Only noted: an exception raised from here could strike between a process's start and its record.
        self.stop_requested = True

    def _check(self) -> None:
        if self.stop_requested:
            say("Stopping ...")
            raise StopRequested
