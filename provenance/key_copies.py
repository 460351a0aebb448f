"""`new_recovery_key`, `backup_keys` and `restore_keys`: copies of all keys, apart from all data.

They work where nothing runs, because that is where they are needed. Where a database answers, what was done is in the log.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from provenance import keyfiles, pidfiles
from provenance.children import SUPERVISOR_RECORD
from provenance.home import Home, replace_text, write_once
from provenance.keyfiles import KeyRefused
from provenance.processes import Installation
from provenance.terminal import complain, place_problem, say


class Refused(Exception):
    """Nothing was done; the text says why and what to do."""


def new_recovery_key(arguments: Sequence[str]) -> int:
    """Make a recovery key: FILE is its private part, to be kept offline; copies are sealed to FILE.pub."""
    from provenance import recovery  # noqa: PLC0415  needs packages; the table of commands does not

    parser = argparse.ArgumentParser(prog="./manage.py new_recovery_key", description=new_recovery_key.__doc__)
    parser.add_argument("file", type=Path)
    path: Path = parser.parse_args(arguments).file
    private, public = recovery.new_pair()

    def write() -> None:
        _write_new(path, private)
        _write_new(path.with_name(f"{path.name}.pub"), public)

    return _ended(
        "new_recovery_key",
        write,
        f"{path} opens what is sealed to {path}.pub (key {recovery.key_id(public)}). It was written once and is nowhere "
        "else: move it off this machine, to where the copies of keys are not.",
    )


def backup_keys(arguments: Sequence[str]) -> int:
    """Seal a copy of all keys of this installation to the public part of a recovery key."""
    parser = argparse.ArgumentParser(prog="./manage.py backup_keys", description=backup_keys.__doc__)
    parser.add_argument("file", type=Path, help="the copy to make")
    parser.add_argument("--to", type=Path, required=True, metavar="RECOVERY.pub", help="the public part")
    options = parser.parse_args(arguments)
    return _ended("backup_keys", lambda: _back_up(options.file, options.to))


def restore_keys(arguments: Sequence[str]) -> int:
    """Put keys back from a sealed copy. Keys that are there and differ are not touched, unless you say --replace."""
    parser = argparse.ArgumentParser(prog="./manage.py restore_keys", description=restore_keys.__doc__)
    parser.add_argument("file", type=Path, help="the copy")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="RECOVERY", help="the private part of the recovery key"
    )
    parser.add_argument("--replace", action="store_true", help="keys that differ too; the ones there are put aside")
    options = parser.parse_args(arguments)
    return _ended("restore_keys", lambda: _restore(options.file, options.key, replace=options.replace))


def _back_up(path: Path, to: Path) -> None:
    from provenance import recovery  # noqa: PLC0415  see above

    home = Home.locate()
    keys = home.all_keys()
    if not keys:
        raise Refused(f"There are no keys in {home.keys}.")
    public = _read(to, "The public part of the recovery key", "./manage.py new_recovery_key makes one: FILE.pub.")
    sealed = recovery.seal(recovery.Copy(keys, home.log_origin(), recovery.now()), public)
    _write_new(path, sealed)
    try:
        recorded = _tell("AUDIT_KEYS_BACKED_UP", {"keys": sorted(keys), "recovery_key": recovery.key_id(public)})
    except BaseException:
        # No copy leaves of which the log does not know.
        path.unlink()
        raise
    say(f"{path}: {len(keys)} keys, sealed to the recovery key {recovery.key_id(public)}. {recorded}")
    if elsewhere := [name for name in ("AUDIT_MAC_KEYS", "AUDIT_KEY_SOURCE", "LOG_KEY_SOURCE") if _is_set(name)]:
        say(
            f"Not in it: the keys that {' and '.join(elsewhere)} take from elsewhere. Keep copies of them where they are."
        )


def _restore(path: Path, key: Path, *, replace: bool) -> None:
    from provenance import recovery  # noqa: PLC0415  see above

    home = Home.locate().ensure()
    sealed = _read(path, "The copy", "./manage.py backup_keys made it.")
    try:
        private = keyfiles.read(key, is_named=True)
    except FileNotFoundError:
        raise Refused(f"The recovery key {key} is not there. Name its private part, which is kept offline.") from None
    copy = recovery.open_copy(sealed, private)
    there = {name: home.key_path(name).read_text("ascii").strip() for name in copy.keys if home.key_path(name).exists()}
    differ = sorted(name for name, text in there.items() if text != copy.keys[name])
    other_name = home.log_origin_file.exists() and home.log_origin() != copy.log_origin
    if (differ or other_name) and not replace:
        named = ", ".join([*differ, *(["log-origin"] if other_name else [])])
        raise Refused(
            f"Keys in {home.keys} differ from the copy: {named}. Nothing was changed. If the copy is the one to keep, stop "
            "everything (./manage.py down) and say --replace; the ones that are there are put aside."
        )
    if differ and pidfiles.read(home.pids / SUPERVISOR_RECORD):
        raise Refused("Processes run with the keys that would be replaced. Stop them first: ./manage.py down")
    if differ or other_name:
        say(f"The keys that were there are in {_put_aside(home, differ, with_name=other_name)}.")
    missing = sorted(set(copy.keys) - set(there))
    for name in [*missing, *differ]:
        replace_text(home.key_path(name), copy.keys[name])
    write_once(home.log_origin_file, f"{copy.log_origin}\n")
    say(f"{len(missing)} keys were put back, {len(differ)} replaced, {len(there) - len(differ)} were there already.")
    facts = {"put_back": missing, "replaced": differ, "copy_of": copy.created_at}
    try:
        say(_tell("AUDIT_KEYS_RESTORED", facts))
    except Refused as problem:
        raise Refused(f"The keys are in place, and the log does not know it. {problem}") from problem


def _put_aside(home: Home, names: Sequence[str], *, with_name: bool) -> Path:
    aside = home.root / f"keys-replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    aside.mkdir(mode=0o700)
    for name in names:
        home.key_path(name).rename(aside / name)
    if with_name:
        home.log_origin_file.rename(aside / "log-origin")
    return aside


def _write_new(path: Path, text: str) -> None:
    """Make a file that only this user can read, outside of the data directory; never over another one."""
    home = Home.locate()
    if path.resolve().is_relative_to(home.root):
        raise Refused(
            f"{path} is in the data directory {home.root}: whoever takes that would have both. Name another place."
        )
    if hindrance := place_problem(path):
        raise Refused(hindrance)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Refused(f"{path} exists; name a new file.") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _read(path: Path, what: str, origin: str) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{what}, {path}, is no text. {origin}") from None
    except OSError as problem:
        raise Refused(f"{what}, {path}, cannot be read: {problem.strerror}. {origin}") from None


def _tell(name: str, facts: Mapping[str, object]) -> str:
    """Record it where a database answers; in words, whether it is in the log. Raises `Refused` when it does not take it."""
    installation = Installation.of(os.environ)
    for variable, value in installation.environment("keys").items():
        os.environ.setdefault(variable, value)
    import django  # noqa: PLC0415  only what is recorded needs Django

    django.setup()
    from django.db import Error, OperationalError, connection  # noqa: PLC0415  see above

    from audit import rotation  # noqa: PLC0415  see above
    from audit.signing import KeyRing  # noqa: PLC0415  see above
    from audit.taxonomy import Event  # noqa: PLC0415  see above
    from provenance.actor import Actor  # noqa: PLC0415  see above

    event = Event[name]
    is_there = False
    try:
        connection.ensure_connection()
        is_there = True
        rotation.tell(actor=Actor.system("keys", None), event=event, keys=KeyRing.from_settings(), facts=facts)
    except Error as problem:
        if isinstance(problem, OperationalError) and not is_there:
            return "No database answers, so it is not in the log."
        raise Refused(f"The database did not take the event: {str(problem).strip().splitlines()[0]}") from problem
    return f"It is in the log ({event})."


def _is_set(name: str) -> bool:
    return name in os.environ or f"{name}_FILE" in os.environ


def _ended(command: str, work: Callable[[], object], said: str = "") -> int:
    from provenance.recovery import CannotOpen  # noqa: PLC0415  see above

    try:
        work()
    except (Refused, CannotOpen, KeyRefused, OSError) as problem:
        complain(f"manage.py {command}: {problem}")
        return 1
    if said:
        say(said)
    return 0
