"""May this process serve? Not when the walls are down: a role with more than it needs, a guard missing or changed.

`/readyz` and `run ROLE` ask. Everything is compared with what the code says, never with what the database says about
itself: whole sets with `walls.txt` (`provenance.catalog`), and before that, in words of their own, the walls that fall most
easily (`provenance.walls`). Every check reads the catalog only and needs no scope.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader

from audit.signing import KeyRing
from provenance import catalog
from provenance.crypto import KeyMissing
from provenance.db import ask
from provenance.postgres.names import FIND_OWN_NAMES_FIRST, in_the_place_of_its_own
from provenance.roles import RUNTIME_ROLES
from provenance.walls import guards, roles

_further: dict[str, Callable[[], Iterable[str]]] = {}


def register(name: str, check: Callable[[], Iterable[str]]) -> None:
    """Let an upper floor say what keeps a process from serving. Called in `plugs.py`."""
    _further[name] = check


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the walls found: one sentence for each problem, and how many walls were compared with the code."""

    problems: list[str]
    walls: int = 0


def problems() -> list[str]:
    """What keeps this process from serving, one sentence each; empty when it may."""
    return look().problems


def look() -> Look:
    """Compare every wall with the code. One that could not be finished is a problem and compared none."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(FIND_OWN_NAMES_FIRST)
            # With another login or without its migrations everything else would be wrong too and hide the one thing to do.
            if found := _login() or _pending_migrations():
                return Look(found)
            walls = catalog.found()
            checks = (*(check() for check in _CHECKS), _everything_else(walls), _signing_key())
            further = (check() for check in _further.values())
            return Look([problem for check in (*checks, *further) for problem in check], len(walls))
    except DatabaseError as error:
        return Look([f"The database does not answer: {str(error).strip().splitlines()[0]}"])


def _login() -> list[str]:
    user = ask("SELECT session_user::text")[0][0]
    if user in RUNTIME_ROLES.values():
        return []
    return [f"This process is signed in to Postgres as {user}; it needs one of {', '.join(RUNTIME_ROLES.values())}."]


def _pending_migrations() -> list[str]:
    wanted = set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
    done = set(ask("SELECT app, name FROM public.django_migrations"))
    pending = sorted(f"{app}.{name}" for app, name in wanted - done)
    if not pending:
        return []
    return [
        f"Migrations are pending ({', '.join(pending[:5])}{', …' if len(pending) > 5 else ''}). Run `./manage.py up`."
    ]


def _everything_else(found: set[str]) -> Iterator[str]:
    """The database says of its walls what a freshly migrated one says, line by line: nothing is missing, nothing is more."""
    lines = differing_walls(found)
    yield from lines[:_MOST_LINES]
    if lines:
        more = f"{len(lines) - _MOST_LINES} more differ. " if len(lines) > _MOST_LINES else ""
        yield f"{more}{_HOW_TO_MEND}"


def differing_walls(found: set[str]) -> list[str]:
    """What the lines of a database lack of the walls of this version, and what they have more."""
    wanted = catalog.expected(found)
    if not _is_our_cluster():
        found = {line for line in found if not line.startswith(catalog.OF_THE_CLUSTER)}
    return [
        *(f"The database lacks: {line}" for line in sorted(wanted - found)),
        *(f"The code does not have: {line}" for line in sorted(found - wanted)),
    ]


_MOST_LINES = 20
_HOW_TO_MEND = (
    "The walls of the database are not those of this version. Find out who changed them, take the change back, and look "
    "at what was written meanwhile; after a change of the code itself renew provenance/walls.txt (tests/house/test_catalog.py)."
)


def _is_our_cluster() -> bool:
    """Does `up` run the server as its superuser? Elsewhere some rights are the administrator's alone to take."""
    return bool(connection.settings_dict["HOST"] == str(settings.HOME.run))


def _signing_key() -> Iterator[str]:
    """This process can sign, under a key id that the database accepts from it."""
    try:
        keys = KeyRing.from_settings()
    except KeyMissing as missing:
        yield missing.message
        return
    own = "SELECT not_after, not_after <= clock_timestamp() FROM audit.key WHERE kid = %s AND db_role = session_user"
    registered = ask(own, [keys.current])
    if not registered:
        yield (
            f"The key id {keys.current} ({settings.AUDIT_SIGNS_AS}) is not registered for this process's Postgres role. "
            "After a restore to before it was made, put its file aside, start, and replace the key anew: "
            "./manage.py rotate_keys."
        )
    elif registered[0][1]:
        yield (
            f"The key {keys.current} ended at {registered[0][0]:%Y-%m-%d %H:%M} UTC and signs nothing any more. Give this "
            f"process the key that replaced it (./manage.py doctor on the host names it), and start it again."
        )


def _namesakes() -> Iterator[str]:
    """What fits better than Postgres's own is called instead of it: nothing that is asked here would say so."""
    yield from in_the_place_of_its_own(ask)


_CHECKS: tuple[Callable[[], Iterable[str]], ...] = (
    _namesakes,
    roles.attributes_of_roles,
    roles.ownership,
    roles.creation,
    roles.rights_on_the_log,
    roles.rights_on_tables,
    guards.guards,
    guards.functions,
    guards.tables,
    guards.partitions,
)
