"""What `./manage.py` answers to a person who asks what there is, or who mistyped. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

# Our commands, in the order in which a newcomer meets them.
SUMMARIES: Mapping[str, str] = {
    "up": "start everything and say its address; --detach returns once it is ready",
    "down": "stop everything",
    "status": "what runs, and whether it is ready",
    "doctor": "what is wrong on this machine, and what to do about it",
    "demo": "play the story of the demo and check every step: demo --headless",
    "psql": "a database shell with the rights of one process: psql ROLE",
    "run": "become one process, for containers and systemd: run ROLE",
    "test": "the test suite, against servers of its own",
    "lint": "every linter that CI runs",
    "bench": "measure an area against limits and peers: bench audit --quick",
    "lock": "write requirements/*.txt anew from pyproject.toml",
    "verify": "hold the log against its keys, its checkpoints and what was kept of them elsewhere",
    "fsck": "hold the stored tree of the log against itself",
    "start-epoch": "begin the log anew after a restore to before what was published: start-epoch --reason TEXT",
    "audit_keys": "the keys of one workspace's log, for an auditor: audit_keys WORKSPACE FILE",
    "rotate_keys": "new keys to sign with: rotate_keys web, all or log",
    "new_recovery_key": "a key that copies of all keys are sealed to: new_recovery_key FILE",
    "backup_keys": "a sealed copy of all keys: backup_keys FILE --to RECOVERY.pub",
    "restore_keys": "keys back from a sealed copy: restore_keys FILE --key RECOVERY",
    "audit_export": "a bundle of a log, made on the host: audit_export WORKSPACE FILE.zip",
    "audit_stream": "what is new in the log of the instance, for whatever ships logs: audit_stream CURSOR",
    "audit_vkeys": "the public keys of a log's checkpoints, for an auditor: audit_vkeys WORKSPACE FILE.pub",
    "reconcile": "hold every governed row against the log, and name each that was changed past the platform",
    "expire": "let months of the log go whose seven years are over",
    "replay_erasures": "after a restore, erase again whoever it brought back",
    "setup_link": "the one-time address for the first administrator",
    "release_halt": "let what was halted work again, as a member who may",
    "resume_agent": "let a suspended agent act again, as a member who may",
    "event_reference": "write docs/event-reference.md anew",
}
# Django's commands that this project's documents and machinery call.
DJANGO_COMMANDS = frozenset(
    {"check", "makemigrations", "migrate", "showmigrations", "sqlmigrate", "shell", "spectacular", "version"}
)
_HELP = frozenset({"help", "--help", "-h"})
_WIDTH = max(len(name) for name in SUMMARIES)
_LIST = "\n".join(f"  {name:<{_WIDTH}}  {summary}" for name, summary in SUMMARIES.items())


def overview() -> str:
    """The answer to `./manage.py help`."""
    return (
        "Provenance. Start it with ./manage.py up\n\n"
        f"{_LIST}\n\n"
        "./manage.py COMMAND --help tells more of one; ./manage.py help --all lists Django's commands too."
    )


def correction(name: str) -> str:
    """The answer to a command that does not exist: what was probably meant, and what there is."""
    nearest = difflib.get_close_matches(name, SUMMARIES, n=1)
    meant = f" Did you mean {nearest[0]}?" if nearest else ""
    return f"manage.py: there is no command {name!r}.{meant}\n\n{_LIST}"


def asks_for_overview(arguments: Sequence[str]) -> bool:
    """Nothing, `help`, `--help` or `-h`, and no more."""
    return not arguments or (len(arguments) == 1 and arguments[0] in _HELP)


def asks_for_everything(arguments: Sequence[str]) -> bool:
    """`help --all`: Django's commands too."""
    return list(arguments) == ["help", "--all"]


def may_exist(name: str) -> bool:
    """False for a word that is certainly no command, as far as can be said before Django is installed."""
    return (
        name in SUMMARIES
        or name in DJANGO_COMMANDS
        or name.startswith("-")
        or name in _HELP
        or any(CHECKOUT.glob(f"*/management/commands/{Path(name).name}.py"))
    )
