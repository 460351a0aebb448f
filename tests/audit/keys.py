"""Keys of a throw-away installation, and the migrator who replaces them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection, transaction

from audit import rotation
from audit.signing import KeyRing
from provenance.actor import Actor
from provenance.held_keys import LOG_FILES, Files, HeldKeys
from provenance.home import Home, write_once
from provenance.role_keys import MAC_KEYS_OF
from tests import databases
from tests.audit.sealing import tamper

HOST = Actor.system("rotate_keys", None)


def copied_home(root: Path) -> Home:
    """A data directory with this test run's MAC keys, so that rotating them changes nothing for other tests."""
    real, home = Home.locate(), Home(root.resolve()).ensure()
    for name in MAC_KEYS_OF["keys"]:
        write_once(home.key_path(f"mac-{name}"), real.read_key(f"mac-{name}"))
    return home


def keys_of(home: Home, role: str = "keys") -> HeldKeys:
    """What a process of that role holds; `log`: the keys of the log itself."""
    return HeldKeys(Files(home), MAC_KEYS_OF.get(role, tuple(LOG_FILES)))


@contextmanager
def as_migrator() -> Iterator[None]:
    """Django's connection is the migrator's, who became the owner."""
    before = databases.become("prov_migrate")
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL ROLE prov_owner")
            yield
            if not connection.needs_rollback:
                with connection.cursor() as cursor:
                    cursor.execute("RESET ROLE")
    finally:
        databases.become(before)


def rotate(home, process="web", **options):
    """Replace the key of a process, as the migrator."""
    with as_migrator():
        return rotation.rotate(actor=HOST, process=process, keys=keys_of(home), **options)


def ring(home):
    """The sealer's, over the files of that installation."""
    held = keys_of(home, "sealer")
    return KeyRing("sealer-1", KeyRing.parse(held.now(), "sealer").roots, held)


def forget_rotations() -> None:
    """Give the database the keys back that the migrations gave it."""
    tamper("DELETE FROM audit.key WHERE kid !~ '-1$'")
    tamper("UPDATE audit.key SET not_after = NULL, not_before = now()")
