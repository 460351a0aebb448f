"""The commands of `./manage.py`: ours by a table, everything else is Django's."""

from __future__ import annotations

import errno
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from provenance import database_shell, doctor, key_copies, lifecycle, quality
from provenance import help as answers
from provenance.binaries import EmbeddedError
from provenance.home import Home, HomeError
from provenance.processes import Installation
from provenance.reachable import unreachable_database
from provenance.terminal import complain, say

_HELP = frozenset({"--help", "-h"})

Command = Callable[[Sequence[str]], int]

COMMANDS: Mapping[str, Command] = {
    "up": lifecycle.up,
    "down": lifecycle.down,
    "status": lifecycle.status,
    "doctor": doctor.doctor,
    "run": lifecycle.run_role,
    "psql": database_shell.psql,
    "new_recovery_key": key_copies.new_recovery_key,
    "backup_keys": key_copies.backup_keys,
    "restore_keys": key_copies.restore_keys,
    "test": quality.test,
    "lint": quality.lint,
    "lock": quality.lock,
    "bench": quality.bench,
}


# Django's commands that ask no database and need no secret.
OFFLINE_COMMANDS = frozenset({"help", "check", "makemigrations", "spectacular"})
# Ours that asks none either, though it reads what the apps say of themselves.
NEEDS_NO_DATABASE = frozenset({"event_reference"})
# The others run as the set-up role, except those that change the shape of the database.
MIGRATION_COMMANDS = frozenset({"migrate", "showmigrations", "sqlmigrate"})
# Those about the log itself read all of it and its keys, as the sealer does.
SEALER_COMMANDS = frozenset({"audit_vkeys", "fsck", "start_epoch", "verify"})
# And those that replace keys of the log, which no process that serves may do.
KEY_COMMANDS = frozenset({"rotate_keys"})
# The job that lets months of the log go after their seven years.
RETENTION_COMMANDS = frozenset({"expire"})
ROLE_OF_COMMAND = {
    **dict.fromkeys(RETENTION_COMMANDS, "retention"),
    **dict.fromkeys(MIGRATION_COMMANDS, "migrate"),
    **dict.fromkeys(SEALER_COMMANDS, "sealer"),
    **dict.fromkeys(KEY_COMMANDS, "keys"),
}
# What argparse ends with when it is called wrongly, and our commands when they could not begin.
WRONG_CALL = NOT_BEGUN = 2
# What a shell says of a program that SIGPIPE ended.
READER_GONE = 141


def main(argv: Sequence[str]) -> int:
    """Run one command; its exit code. `argv` is without the program's name."""
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough (`| head`). What is left goes nowhere, or Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


def _run(argv: Sequence[str]) -> int:
    if answers.asks_for_overview(argv):
        say(answers.overview())
        return 0
    name, arguments = argv[0], argv[1:]
    if name == "help" and arguments[0] in COMMANDS:
        name, arguments = arguments[0], ["--help"]
    elif name == "help" and answers.asks_for_everything(argv):
        arguments = []
    name = _module(name)
    command = COMMANDS.get(name)
    try:
        return command(arguments) if command else django_command(name, arguments)
    except (EmbeddedError, HomeError) as problem:
        complain(f"manage.py {name}: {problem}")
        return 1
    except OSError as problem:
        if problem.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        complain(f"manage.py {name}: {Home.locate().lack_of_room() or problem}")
        return 1


def django_command(name: str, arguments: Sequence[str]) -> int:
    """Run one of Django's management commands on the installation that `up` runs."""
    if name == "help" and arguments:
        arguments = [_module(arguments[0]), *arguments[1:]]
    wanted = arguments[0] if name == "help" and arguments else name
    if not answers.may_exist(wanted) and not _is_installed(wanted):
        complain(answers.correction(wanted))
        return WRONG_CALL
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provenance.settings")
    installation = Installation.of(os.environ)
    if name not in OFFLINE_COMMANDS and installation.home.keys.is_dir():
        role = ROLE_OF_COMMAND.get(name, "setup")
        for variable, value in installation.environment(role).items():
            os.environ.setdefault(variable, value)
    if _asks_the_database(name) and not _HELP & set(arguments) and (silence := unreachable_database()):
        complain(f"manage.py {name}: {silence}")
        return NOT_BEGUN
    # Imported only now, because our own commands must work before Django does and start without its weight.
    from django.core.management import execute_from_command_line  # noqa: PLC0415  see above

    execute_from_command_line(["manage.py", name, *arguments])
    return 0


def _asks_the_database(name: str) -> bool:
    """Whether a command of ours, or one about the shape of the database, can do nothing without it."""
    ours = {_module(command) for command in answers.SUMMARIES} - NEEDS_NO_DATABASE
    return name in ours | MIGRATION_COMMANDS


def _module(name: str) -> str:
    """Django finds a command by the name of its module, and people write ours with a hyphen."""
    return name.replace("-", "_") if name in answers.SUMMARIES else name


def _is_installed(name: str) -> bool:
    """Does a package bring this command? Asked of the files: Django knows only with settings, and they may be wrong."""
    packages = Path(sysconfig.get_path("purelib"))
    return any(any(packages.glob(f"{deep}/management/commands/{Path(name).name}.py")) for deep in ("*", "*/*", "*/*/*"))
