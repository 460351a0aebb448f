"""From the text of a key to an actor: `actor_for_key` for Django, its pure half for the gateway as well."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apikeys import keytext, lookup
from audit.attestation import Altered, LoadedRow, alteration, newest_of
from audit.services import record_altered, verifying_keys
from audit.signing import KeyRing
from provenance.actor import KEY_DOOR, Actor, ActorKind
from provenance.db import enter
from provenance.errors import Unauthenticated
from provenance.ids import uuid7
from provenance.permissions import SCOPES, Permission
from workspaces.roles import Role, permissions_of


class KeyMissing(Unauthenticated):
    """Send your key in the header X-API-Key."""

    code = "key_missing"


class KeyNotWhole(Unauthenticated):
    """This is not a whole key: its checksum does not match. Was it cut off when it was copied?"""

    code = "key_not_whole"


class KeyUnknown(Unauthenticated):
    """This key is not known here. Was it issued by another installation?"""

    code = "key_unknown"


class KeyEnded(Unauthenticated):
    """This key was good once. Whoever gets to read this has the whole of it."""


class KeyExpired(KeyEnded):
    """This key has expired. Ask its owner for a new one."""

    code = "key_expired"


class KeyRevoked(KeyEnded):
    """This key was revoked. Ask its owner for a new one."""

    code = "key_revoked"


class KeyOrphaned(KeyEnded):
    """The owner of this key is no longer a member of its workspace, so it stopped working. Ask an administrator for a new one."""

    code = "key_orphaned"


class KeyAltered(KeyEnded):
    """What is stored of this key is not what was signed when it was issued, so it opens nothing. Ask an administrator."""

    code = "key_altered"

    def __init__(self, *altered: Altered) -> None:
        super().__init__()
        self.altered = altered


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as `lookup.LOAD` gives it. `owner_roles` is None when the owner is no member any more."""

    id: UUID
    name: str
    digest: str
    scopes: Sequence[str]
    owner_user_id: UUID
    agent_id: UUID | None
    environment: str
    expires_at: datetime
    revoked_at: datetime | None
    owner_roles: Sequence[str] | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row of `lookup.LOAD`."""
        own = {field.name: row[f"key__{field.name}"] for field in fields(cls) if field.name != "owner_roles"}
        return cls(**own, owner_roles=row["member__roles"])


def actor_for_key(text: str, *, request_id: str = "", ip: str = "") -> Actor:
    """Who presents this key. Runs in a transaction of its own and notes the use.

    Raises a subclass of `Unauthenticated`. What is wrong with a key is said only to whoever has the whole of it.
    """
    prefix = whole_prefix(text)
    with connection.cursor() as cursor:
        cursor.execute(lookup.FIND, {"prefix": prefix})
        found = cursor.fetchone()
    if found is None:
        raise KeyUnknown
    workspace_id, key_id = found
    place = {"workspace_id": workspace_id, "key_id": key_id}
    try:
        with enter(workspace_id), connection.cursor() as cursor:
            cursor.execute(lookup.LOAD, place)
            columns = cursor.fetchone()
            if columns is None:
                raise KeyUnknown
            row = dict(zip((column.name for column in cursor.description), columns, strict=True))
            actor = actor_of(
                KeyRow.of(row), text, workspace_id=workspace_id, now=timezone.now(), request_id=request_id, ip=ip
            )
            demand_attested(row, verifying_keys())
            cursor.execute(lookup.TOUCH, {**place, "id": uuid7()})
    except KeyAltered as error:
        record_altered(error.altered, by="apikeys.door")
        raise
    return actor


def whole_prefix(text: str) -> str:
    """The prefix to look up. Raises `KeyMissing` or `KeyNotWhole` before any database is asked."""
    if not text:
        raise KeyMissing
    prefix = keytext.prefix_of(text)
    if prefix is None:
        raise KeyNotWhole
    return prefix


def demand_attested(row: Mapping[str, Any], keys: KeyRing) -> None:
    """Raise `KeyAltered` unless the key and its owner's membership, of a row of `lookup.LOAD`, are as signed (pure).

    Call it with the keys of a process that may verify, and after `actor_of`: only who holds the key learns of it.
    """
    judged = [_judged(row, "key", "api_key", keys)]
    if row["member__id"] is not None:
        judged.append(_judged(row, "member", "membership", keys))
    if altered := [found for found in judged if found]:
        raise KeyAltered(*altered)


def _judged(row: Mapping[str, Any], alias: str, type_: str, keys: KeyRing) -> Altered | None:
    prefix = f"{alias}__"
    columns = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    return alteration(LoadedRow.of(type_, columns), newest_of(row, f"{alias}_event__"), keys)


def actor_of(
    key: KeyRow, presented: str, *, workspace_id: UUID, now: datetime, request_id: str = "", ip: str = ""
) -> Actor:
    """The actor behind a key row, if `presented` is that key and still good (pure). Raises like `actor_for_key`.

    Its permissions are the key's scopes as far as its owner has them now, and nothing that is not a scope.
    """
    # Compare digests, not keys: the lookup is by prefix, so timing must not say how much of the rest matched.
    if not hmac.compare_digest(key.digest, keytext.digest(presented)):
        raise KeyUnknown
    if key.revoked_at is not None:
        raise KeyRevoked
    if now >= key.expires_at:
        raise KeyExpired(f"This key expired on {key.expires_at:%Y-%m-%d}. Ask its owner for a new one.")
    if key.owner_roles is None:
        raise KeyOrphaned
    owner_may = permissions_of(Role(name) for name in key.owner_roles)
    scopes = frozenset(Permission(scope) for scope in key.scopes)
    return Actor(
        kind=ActorKind.AGENT if key.agent_id else ActorKind.INTEGRATION,
        id=str(key.agent_id or key.id),
        label=key.name,
        workspace_id=workspace_id,
        permissions=scopes & owner_may & SCOPES,
        via=f"{KEY_DOOR}{key.id}",
        on_behalf_of=str(key.owner_user_id),
        request_id=request_id,
        ip=ip,
    )
