"""The keys that a process signs the log with, as it holds them: where they come from, and what there is new.

A key is named by its key id, `web-1`: what it is for and a number that counts up. `web-2.next` is a key that verifies
already and signs nothing yet; it is everywhere before the first event under it is written.
"""

import contextlib
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from provenance import keyfiles
from provenance.home import NEXT, Home, HomeError, write_once
from provenance.keyfiles import Hidden, KeyRefused

PROCESSES = ("web", "gateway", "worker", "setup", "sealer", "retention")
"""Who signs events."""
LOG_FILES = {"checkpoint": "log-ed25519", "instance": "log-mldsa44"}
"""Seeds of the log's own keys, which sign checkpoints: of every log, and of the instance log besides."""
LOOK_SECONDS = 1.0
"""How long a process goes on signing with a key after its successor has come."""
ASK_AGAIN_SECONDS = 5.0
"""How soon a key id that was not found is looked for again."""

_TRIES = 3
_NAME = re.compile(r"[a-z]+-[1-9][0-9]*(\.next)?")

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where root keys are kept."""

    @property
    def name(self) -> str:
        """For people."""

    def load(self, processes: Sequence[str]) -> dict[str, str]:
        """The keys of these processes, in base64 by name. Raises `KeyRefused`."""

    def stamp(self) -> Any:
        """Something cheap that differs when `load` would give something else; always the same where that costs a lot."""

    def announce(self, kid: str, text: str) -> str:
        """Keep a new key as one that signs nothing yet; where it is, for people. Raises `KeyRefused`."""

    def begin(self, kid: str) -> str:
        """Let the announced key sign; what is left to do, for people. Raises `KeyRefused`."""


class Files:
    """One file for each key in the data directory: `mac-web`, `mac-web-2`, `mac-web-3.next`, `log-ed25519`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def name(self) -> str:
        """For people."""
        return f"files in {self._home.keys}"

    def load(self, processes: Sequence[str]) -> dict[str, str]:
        """The keys of these processes."""
        for _ in range(_TRIES):
            # It was renamed between the look at the directory and the look into it.
            with contextlib.suppress(FileNotFoundError):
                return {
                    f"{process}-{version}": keyfiles.read(path)
                    for process in processes
                    for version, path in self._home.key_versions(_stem(process)).items()
                }
        raise KeyRefused(f"The keys in {self._home.keys} are being moved about. Try again when that is over.")

    def stamp(self) -> Any:
        """Which files there are, and since when: some microseconds."""
        if not self._home.keys.is_dir():
            return ()
        paths = sorted(path for path in self._home.keys.iterdir() if path.name.startswith(("mac-", "log-")))
        return tuple((path.name, path.lstat().st_ino, path.lstat().st_mtime_ns) for path in paths)

    def announce(self, kid: str, text: str) -> str:
        """Write `mac-web-2.next`."""
        path = self._path(kid + NEXT)
        write_once(path, text)
        return str(path)

    def begin(self, kid: str) -> str:
        """Take the `.next` off. Once it is off, nothing is done."""
        if not self._path(kid).exists():
            self._path(kid + NEXT).rename(self._path(kid))
        return "Processes that read this directory sign with it within a second."

    def _path(self, name: str) -> Path:
        process, _, version = name.rpartition("-")
        return self._home.key_path(_stem(process) if version == "1" else f"{_stem(process)}-{version}")


class Environment:
    """`AUDIT_MAC_KEYS`: `web-1:base64,gateway-1:base64`, as it was when the process started."""

    def __init__(self, pairs: Iterable[str], name: str = "AUDIT_MAC_KEYS") -> None:
        self.name = name
        self._keys = dict(pair.partition(":")[::2] for pair in pairs)

    @property
    def names(self) -> list[str]:
        """What it holds, without the keys."""
        return sorted(self._keys)

    def load(self, processes: Sequence[str]) -> dict[str, str]:
        """The keys of these processes."""
        return {name: text for name, text in self._keys.items() if process_of(name) in processes}

    def stamp(self) -> Any:
        """An environment does not change."""
        return None

    def announce(self, kid: str, text: str) -> str:  # noqa: ARG002  what cannot be written is not written
        """Nobody but the operator sets a variable."""
        if process_of(kid) in LOG_FILES:
            raise KeyRefused(
                f"The log's keys come from {self.name}. Put the new ones above the old ones there, a line each."
            )
        raise KeyRefused(
            f"The keys of events come from AUDIT_MAC_KEYS. Add {kid}{NEXT}:$(openssl rand -base64 32) to it, here and for "
            f"every role that verifies with keys of {process_of(kid)} (docs/operations.md), restart those roles, and run "
            "this again."
        )

    def begin(self, kid: str) -> str:
        """The same."""
        return (
            f"Now take {NEXT} off {kid}{NEXT} in AUDIT_MAC_KEYS of every role that has it, and restart {process_of(kid)} "
            "before the old key ends."
        )


class HeldKeys(Mapping[str, str]):
    """The keys of some processes, by name, as their source has them now. Prints as names alone."""

    def __init__(self, source: Source, processes: Sequence[str]) -> None:
        self.source = source
        self._processes = processes
        self._stamp = source.stamp()
        self._keys = self._checked()
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._missed_at: dict[str, float] = {}

    def now(self) -> Mapping[str, str]:
        """All of them. The same object as long as nothing changed."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            if self.source.stamp() != self._stamp:
                self._renew()
        return self._keys

    def missing(self, kid: str) -> Mapping[str, str]:
        """All of them, after a look for one that was not there: somebody signed with a key that is newer."""
        if self._missed_at.get(kid, -ASK_AGAIN_SECONDS) + ASK_AGAIN_SECONDS <= time.monotonic():
            self._missed_at[kid] = time.monotonic()
            self._renew()
        return self._keys

    def again(self) -> Mapping[str, str]:
        """All of them as the source has them at this moment."""
        self._renew()
        return self._keys

    def _renew(self) -> None:
        stamp = self.source.stamp()
        try:
            self._keys, self._stamp = self._checked(), stamp
        except (KeyRefused, HomeError, OSError) as problem:
            # A process that runs goes on with the keys it has: what came is at fault, not what is there.
            logger.exception("new keys of the log were not taken: %s", problem)  # noqa: TRY401  the sentence names no key
            self._stamp = stamp

    def _checked(self) -> dict[str, str]:
        found = self.source.load(self._processes)
        # One that signs already is known under its own name; a leftover of the other name never stands in for it.
        over = {f"{name}{NEXT}" for name in found}
        keys = {name: Hidden(text) for name, text in found.items() if name not in over}
        for name, text in keys.items():
            if not _NAME.fullmatch(name):
                raise KeyRefused(f"{name!r} is no key id of {self.source.name}: write web-1, web-2, gateway-1, ….")
            if keyfiles.decoded(text) is None:
                raise KeyRefused(f"The audit key {name} ({self.source.name}) must be 32 random bytes in base64.")
        keyfiles.refuse_weak((f"The audit key {name} ({self.source.name})", text) for name, text in keys.items())
        keyfiles.refuse_shared((f"The audit key {name}", text) for name, text in keys.items())
        return dict(keys)

    def __getitem__(self, name: str) -> str:
        """One key."""
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._keys)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._keys)

    def __repr__(self) -> str:
        """Names, and nothing of the keys."""
        return "{" + ", ".join(f"{name!r}: …" for name in sorted(self._keys)) + "}"


def process_of(name: str) -> str:
    """Whose key it is: `web` for `web-2` and `web-2.next`."""
    return name.rpartition("-")[0]


def _stem(process: str) -> str:
    return LOG_FILES.get(process) or f"mac-{process}"
