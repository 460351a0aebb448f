"""Records of running processes that never name a stranger.

A pid alone is not enough: after a crash the number may belong to somebody else's process. Each record carries the
start time too, and only a process with both is ever signaled. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provenance.home import replace_text

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Process:
    """One process for as long as it lives: number and start time."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now; None when there is none (a zombie counts as gone)."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    @property
    def is_alive(self) -> bool:
        """Does exactly this process still run?"""
        return _start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Signal this process and no other. False when it is gone, or when it is not ours to signal."""
        try:
            with _handle(self.pid) as descriptor:
                # Only after the handle is open is the check safe: the kernel keeps the number from being reused for it.
                if not self.is_alive:
                    return False
                if descriptor is None:
                    os.kill(self.pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
                return True
        except (ProcessLookupError, PermissionError):
            return False

    def wait(self, timeout_seconds: float) -> bool:
        """True as soon as the process is gone, False when it is still there at the end."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_alive:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def stop(self, *steps: tuple[signal.Signals, float]) -> bool:
        """Send each signal and wait its seconds, until the process is gone. True when it is."""
        for number, seconds in steps:
            if not self.send(number) or self.wait(seconds):
                break
        return not self.is_alive


def write(path: Path, pid: int) -> Process | None:
    """Record a process that was just started. None when it is gone already."""
    process = Process.of(pid)
    if process:
        replace_text(path, json.dumps({"pid": process.pid, "started": process.started}) + "\n")
    return process


def read(path: Path) -> Process | None:
    """The recorded process if it still runs. A record of a dead one, or a damaged one, names nobody."""
    try:
        found = json.loads(path.read_text("utf-8"))
        process = Process(int(found["pid"]), str(found["started"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return process if process.is_alive else None


def _start_time(pid: int) -> str:
    """When the process with this number started, in the kernel's words; empty when there is none."""
    if not sys.platform.startswith("linux"):
        return _start_time_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name in parentheses may itself hold spaces and parentheses, so count from the last one.
    fields = stat[stat.rindex(")") + 2 :].split()
    state, ticks_since_boot = fields[0], fields[19]
    return "" if state in "ZX" else f"{_boot_id()}/{ticks_since_boot}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _start_time_by_ps(pid: int) -> str:
    done = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(int(pid))], capture_output=True, text=True, check=False
    )
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
