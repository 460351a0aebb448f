"""Replacing the key under which a process signs events: on the host alone, as the migrator, and told under both keys.

The new key is known everywhere before the first event under it is written (`provenance.held_keys`), and the old one is good
for a while after, so that no process that runs fails in between.
"""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from audit.envelope import EventContext, ObjectFacts, build, storing
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import service
from provenance.errors import Conflict, NotFound, PermissionDenied
from provenance.held_keys import LOG_FILES, HeldKeys, process_of
from provenance.home import NEXT
from provenance.ids import uuid7
from provenance.vault import VaultTransit

OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=30)
KEY_TYPE = "audit_key"


class KeyRotatedAlready(Conflict):
    """That key is registered already; nothing was changed."""

    code = "key_rotated_already"


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key id that the database knows."""

    kid: str
    db_role: str
    not_before: datetime
    not_after: datetime | None
    now: datetime

    @property
    def is_over(self) -> bool:
        """It signs nothing any more."""
        return self.not_after is not None and self.not_after <= self.now


@dataclass(frozen=True, slots=True)
class Rotation:
    """One key that followed another."""

    old: str
    new: str
    old_ends_at: datetime
    left_to_do: str = ""


def rotate(
    *, actor: Actor, process: str, keys: HeldKeys, overlap: timedelta = OVERLAP, is_lost: bool = False
) -> Rotation:
    """Give a process a new key to sign events with. Its old one signs until `overlap` is over.

    `keys` holds all of the process's keys; what was announced there is taken, else a new one is made. `is_lost`: nobody has
    the old key any more, so only the new one tells of it. Raises `PermissionDenied`, `NotFound`, `KeyRotatedAlready`,
    `KeyRefused`; and the database refuses every role but the migrator.
    """
    _only_the_host(actor)
    with transaction.atomic():
        # First of all, so that two who do this at once make two keys, or one finishes what the other began.
        known = {key.kid: key for key in registered(process, lock=True)}
        new = announce(actor=actor, process=process, keys=keys)
        if new in known:
            # An earlier run came to its end in the database and not here.
            old = list(known.values())[list(known).index(new) - 1]
            rotation = Rotation(old.kid, new, old.not_after or old.now)
        else:
            rotation = register(actor=actor, new=new, keys=keys.again(), overlap=overlap, is_lost=is_lost)
    return replace(rotation, left_to_do=keys.source.begin(new))


def announce(*, actor: Actor, process: str, keys: HeldKeys) -> str:
    """Put the process's next key where verifiers find it; its key id. One that waits already is kept."""
    _only_the_host(actor)
    for name in keys.again():
        if process_of(name) == process and name.endswith(NEXT):
            return name.removesuffix(NEXT)
    known = [key.kid for key in registered(process)] + [name for name in keys if process_of(name) == process]
    kid = f"{process}-{max(int(kid.rpartition('-')[2]) for kid in known) + 1}"
    keys.source.announce(kid, b64encode(secrets.token_bytes(32)).decode())
    return kid


@service
def register(
    *, actor: Actor, new: str, keys: Mapping[str, str], overlap: timedelta = OVERLAP, is_lost: bool = False
) -> Rotation:
    """Let the database take events under the key `new`, end the ones before it, and tell both under both keys.

    Two events with one `action_id`: one under the old key about the new key's id, one under the new key about the old one's.
    """
    _only_the_host(actor)
    process = process_of(new)
    known = registered(process, lock=True)
    if any(key.kid == new for key in known):
        raise KeyRotatedAlready(f"The key {new} is registered already.")
    old = known[-1]
    rotation = Rotation(old.kid, new, old.now + min(overlap, LONGEST_OVERLAP))
    facts = {
        "process": process,
        "old": old.kid,
        "new": new,
        "old_ends_at": rotation.old_ends_at.isoformat(),
        **({"old_is_lost": True} if is_lost else {}),
    }
    action = EventContext(action_id=uuid7())
    _execute(
        "INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES (%s, 'event', 'HMAC-SHA256', %s)", [new, old.db_role]
    )
    pairs = [(new, old.kid)] if is_lost else [(old.kid, new), (new, old.kid)]
    for kid, about in pairs:
        _tell(actor, _only(keys, kid), Event.AUDIT_KEY_ROTATED, about=about, facts=facts, context=action)
    _execute(
        "UPDATE audit.key SET not_after = %s WHERE kid = ANY(%s) AND (not_after IS NULL OR not_after > %s)",
        [rotation.old_ends_at, [key.kid for key in known], rotation.old_ends_at],
    )
    return rotation


def announce_log_keys(keys: HeldKeys, transit: VaultTransit | None = None) -> list[str]:
    """Make the next keys of the log; their key ids. The sealer lets the old ones say that they follow."""
    made = []
    if transit:
        made.append(f"checkpoint-{transit.rotate()}")
    for name in LOG_FILES if transit is None else ["instance"]:
        numbers = [int(kid.removesuffix(NEXT).rpartition("-")[2]) for kid in keys.again() if process_of(kid) == name]
        if not numbers:
            raise NotFound(
                f"The key {LOG_FILES[name]} of the log is not here; run this where the installation was made."
            )
        kid = f"{name}-{max(numbers) + 1}"
        keys.source.announce(kid, b64encode(secrets.token_bytes(32)).decode())
        keys.source.begin(kid)
        made.append(kid)
    return made


@service
def tell(*, actor: Actor, event: Event, keys: KeyRing, facts: Mapping[str, Any]) -> None:
    """Record what became of the installation's keys (copied, put back), as the migrator."""
    _only_the_host(actor)
    _tell(actor, keys, event, about="installation", facts=facts)


def registered(process: str, *, lock: bool = False) -> list[RegisteredKey]:
    """The key ids of a process that the database knows, oldest first. Raises `NotFound` for a process that has none."""
    with connection.cursor() as cursor:
        if lock:
            # A statement of its own: the next one sees what was registered while this one waited.
            cursor.execute(_LOCK, [process])
        cursor.execute(_REGISTERED, [process])
        found = [RegisteredKey(*row) for row in cursor.fetchall()]
    if not found:
        raise NotFound(f"No process signs events as {process!r}.")
    return found


# In one order, so that two who rotate at once wait for each other and do not hold what the other one waits for.
_LOCK = r"""
SELECT FROM audit.key WHERE purpose = 'event' AND regexp_replace(kid, '-\d+$', '') = %s ORDER BY kid FOR UPDATE
"""
_REGISTERED = r"""
SELECT kid, db_role::text, not_before, not_after, clock_timestamp() FROM audit.key
WHERE purpose = 'event' AND regexp_replace(kid, '-\d+$', '') = %s ORDER BY regexp_replace(kid, '^.*-', '')::bigint
"""


def _only_the_host(actor: Actor) -> None:
    if actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied(message="Keys of the log are replaced on the host: `./manage.py rotate_keys`.")


def _only(keys: Mapping[str, str], kid: str) -> KeyRing:
    """A ring that signs under this key and no other."""
    text = keys.get(kid) or keys.get(kid + NEXT)
    if text is None:
        raise NotFound(
            f"The key {kid} is not here, so nothing can be signed with it. Restore it (./manage.py restore_keys), or, when "
            "nobody has it any more, say so: --old-is-lost."
        )
    return KeyRing.parse({kid: text}, process_of(kid))


def _tell(
    actor: Actor,
    keys: KeyRing,
    event: Event,
    *,
    about: str,
    facts: Mapping[str, Any],
    context: EventContext | None = None,
) -> None:
    signed = build(
        keys=keys,
        actor=actor,
        event=event,
        target=ObjectFacts(type=KEY_TYPE, id=about),
        workspace_id=None,
        detail=facts,
        context=context,
    )
    _execute(*storing([signed]))


def _execute(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
