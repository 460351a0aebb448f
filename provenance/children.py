"""The processes an `up` starts: each started with its record, watched, restarted, stopped - also by a later command.

Standard library only: `down` stops what is left where nothing is installed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from provenance import pidfiles
from provenance.embedded import EmbeddedPostgres, EmbeddedValkey, open_log
from provenance.home import CHECKOUT, Home
from provenance.processes import STOP_SECONDS, Program

SUPERVISOR_RECORD = "up.pid"
LONGEST_BACKOFF_SECONDS = 30.0
# A process that lived this long has recovered: its next death is counted as the first again.
STEADY_SECONDS = 60.0


@dataclass
class Child:
    """One process of ours: started, watched, restarted with growing pauses, stopped."""

    home: Home
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float | None = None

    @property
    def record(self) -> Path:
        """Where it is written down."""
        return self.home.pids / f"{self.program.name}.pid"

    def start(self) -> None:
        """Start it with its log as output, in a session of its own: Ctrl-C reaches only the supervisor."""
        with open_log(self.home, self.program.name) as log:
            self.process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.environment),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        pidfiles.write(self.record, self.process.pid)

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self.process.poll() if self.process else None

    def ask_to_end(self) -> None:
        """Send SIGTERM and return at once."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """Wait until it has ended, and end it and its own children if it does not."""
        self.ask_to_end()
        if self.process:
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.record.unlink(missing_ok=True)

    def watch(self, now: float) -> str:
        """Start it again when its pause is over. Says in one sentence that it was found dead, else nothing."""
        code = self.exit_code()
        if code is None:
            return ""
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.restart_at = None
                self.start()
            return ""
        self.deaths = 1 if now - self.started_at > STEADY_SECONDS else self.deaths + 1
        pause_seconds = backoff_seconds(self.deaths)
        self.restart_at = now + pause_seconds
        return f"{self.program.name} ended ({describe_exit(code)}); starting it again in {pause_seconds:.0f} s"


def backoff_seconds(deaths: int) -> float:
    """The pause before the next start: 1, 2, 4, ... seconds, at most half a minute."""
    return min(2.0 ** (deaths - 1), LONGEST_BACKOFF_SECONDS)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def stop_leftovers(home: Home) -> bool:
    """Stop every recorded process that still runs: what a killed supervisor left. True when there was one."""
    found = False
    for record in sorted(home.pids.glob("*.pid")):
        if record.name == SUPERVISOR_RECORD or record.stem in {EmbeddedPostgres.name, EmbeddedValkey.name}:
            continue
        process = pidfiles.read(record)
        if process:
            found = True
            process.stop((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0))
        record.unlink(missing_ok=True)
    # The servers last, so that the processes above could still finish what they had begun.
    for server in (EmbeddedValkey(home), EmbeddedPostgres(home)):
        found = server.is_running() or found
        server.stop()
    return found
