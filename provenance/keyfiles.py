"""Key files: may one be believed, and can what stands in it be a key? Standard library only.

A key that others can read is not secret, one that others can replace is theirs, and one that somebody chose can be
guessed. Each is refused with a sentence that says what to do; no sentence, repr or error ever holds a key.
"""

from __future__ import annotations

import base64
import binascii
import errno
import itertools
import os
import stat
from collections.abc import Iterable
from pathlib import Path

KEY_BYTES = 32
ROTATION_DUE_DAYS = 90
LARGEST_FILE_BYTES = 65_536
ROOT_UID = 0
# Of 32 random bytes fewer than 17 differ once in 10^14 keys; so do the steps between them.
FEWEST_DIFFERENT_BYTES = 17
FEWEST_DIFFERENT_LETTERS = 10
SAMPLES = ("insecure", "changeme", "change-me", "change_me", "example-key", "your-secret")


class KeyRefused(Exception):
    """A key is not taken; the text says which, why, and what to do."""


class Hidden(str):
    """A secret in settings: whoever uses it has it, and whatever prints it (a dump, a traceback, a log) shows nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Nothing of it."""
        return "'…'"


def read(path: Path, *, is_named: bool = False) -> str:
    """The text of a key file that nobody else can read or replace. Raises `KeyRefused`, FileNotFoundError.

    `is_named`: the operator named this file in a variable. Where orchestrators mount secrets, files are links and belong
    to a group; so a link is followed there and the group may read, and nobody else.
    """
    real = path.resolve() if is_named else _inside(path)
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as problem:
        if problem.errno == errno.ENOENT:
            raise
        raise KeyRefused(f"The key file {path} cannot be read ({problem.strerror}).") from None
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor), is_named=is_named)
        content = file.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise KeyRefused(f"{path} has more than {LARGEST_FILE_BYTES} bytes; that is no key file.")
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise KeyRefused(f"{path} is no key file: it holds more than ASCII.") from None


def _inside(path: Path) -> Path:
    directory, real = path.parent, path.resolve()
    if directory.exists() and stat.S_IMODE(directory.stat().st_mode) & 0o022:
        raise KeyRefused(
            f"Others may put files into {directory}, so keys are not safe in it. Close it: chmod 700 {directory}"
        )
    if not real.is_relative_to(path.parent.resolve()):
        raise KeyRefused(
            f"The key file {path} is a link to {real}, outside of its directory. Put the file itself there (mode 0600)."
        )
    return real


def _check(path: Path, found: os.stat_result, *, is_named: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyRefused(f"The key file {path} is not a file.")
    if found.st_uid not in {os.geteuid(), ROOT_UID}:
        raise KeyRefused(
            f"The key file {path} belongs to user {found.st_uid}, who could change it. Make it yours: chown it."
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & (0o037 if is_named else 0o077):
        raise KeyRefused(
            f"The key file {path} has mode {mode:04o}: others can read or change it. Close it (chmod 600 {path}), and "
            "replace the key if anybody may have seen it."
        )


def weakness(text: str) -> str:
    """Why this can be no key, in the words after "it is"; empty when it may be a random one."""
    raw = decoded(text)
    if raw is None:
        if len(set(text)) < FEWEST_DIFFERENT_LETTERS:
            return "a pattern, not random"
        return "a sample, which everybody knows" if any(word in text.lower() for word in SAMPLES) else ""
    if not any(raw):
        return "all zeros"
    if all(0x20 <= byte < 0x7F for byte in raw):
        return "a text somebody chose, not random bytes"
    steps = {(after - before) % 256 for before, after in itertools.pairwise(raw)}
    if min(len(set(raw)), len(steps)) < FEWEST_DIFFERENT_BYTES:
        return "a pattern, not random"
    return ""


def decoded(text: str) -> bytes | None:
    """The 32 bytes that a text spells in base64; None when it does not."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == KEY_BYTES else None


def refuse_weak(named: Iterable[tuple[str, str]]) -> None:
    """Raise `KeyRefused` for the first of these (name, text) that somebody could guess."""
    for name, text in named:
        if problem := weakness(text):
            raise KeyRefused(f"{name} is refused: it is {problem}. Make a random one: openssl rand -base64 32")


def refuse_shared(named: Iterable[tuple[str, str]]) -> None:
    """Raise `KeyRefused` when two of these are the same key: who holds one for its purpose would hold the other."""
    seen: dict[bytes, str] = {}
    for name, text in named:
        key = decoded(text) or text.encode()
        if other := seen.get(key):
            raise KeyRefused(f"{other} and {name} are the same key. Each needs random bytes of its own.")
        seen[key] = name
