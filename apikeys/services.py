"""Issue and revoke keys. A key is shown once, to whoever issued it, and stored nowhere."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from apikeys import keytext
from apikeys.models import LONGEST_LIFE_DAYS, ApiKey
from apikeys.scopes import parse_scopes
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import service
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from workspaces.models import ENVIRONMENT_NAMES
from workspaces.selectors import active_membership

DEFAULT_LIFE_DAYS = 90


class AlreadyRevoked(Conflict):
    """This key was revoked already."""

    code = "already_revoked"


@service
def issue_key(
    *,
    actor: Actor,
    name: str,
    scopes: Iterable[str],
    expires_in_days: int = DEFAULT_LIFE_DAYS,
    agent_id: UUID | None = None,
    environment: str = "production",
    owner_user_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and give it with its text, which cannot be shown again.

    A person owns what they issue and can give no scope that they lack themselves. The platform itself (seeding) names
    the owner, who must be a member. `agent_id` makes the key act as that outside agent. A key issues no keys.
    """
    actor.require(Permission.API_KEYS_WRITE)
    workspace_id, owner = _place(actor, owner_user_id)
    wanted = parse_scopes(scopes)
    if actor.kind is ActorKind.USER and not wanted <= actor.permissions:
        missing = sorted(scope.value for scope in wanted - actor.permissions)
        raise PermissionDenied(message=f"You cannot give what you may not do yourself: {', '.join(missing)}.")
    _check(name, expires_in_days, environment)
    text = keytext.new_key()
    now = timezone.now()
    key = ApiKey.objects.create(
        workspace_id=workspace_id,
        name=name.strip(),
        prefix=text.split("_")[1],
        digest=keytext.digest(text),
        scopes=sorted(scope.value for scope in wanted),
        owner_user_id=owner,
        agent_id=agent_id,
        environment=environment,
        created_at=now,
        expires_at=now + timedelta(days=expires_in_days),
    )
    record(
        actor=actor,
        event=Event.API_KEY_CREATED,
        target=key,
        detail={
            "name": key.name,
            "prefix": key.prefix,
            "scopes": key.scopes,
            "agent_id": str(agent_id) if agent_id else None,
            "environment": environment,
            "expires_at": key.expires_at.isoformat(),
        },
    )
    return key, text


@service
def revoke_key(*, actor: Actor, key_id: UUID, reason: str) -> ApiKey:
    """Make a key useless from the next request on."""
    actor.require(Permission.API_KEYS_WRITE)
    return _revoke(actor, key_id, reason)


@service
def revoke_presented_key(*, actor: Actor, reason: str) -> ApiKey:
    """End the key that this very request came with. Needs no scope: whoever found a leaked key may stop it."""
    if not actor.via.startswith("key:"):
        raise PermissionDenied(message="This ends the key a request comes with, and this one came without.")
    return _revoke(actor, UUID(actor.via.removeprefix("key:")), reason)


def _revoke(actor: Actor, key_id: UUID, reason: str) -> ApiKey:
    reason = reason.strip()
    if not 1 <= len(reason) <= 1000:
        raise Invalid("Say why the key is revoked.", errors=[{"path": "reason", "message": "1 to 1000 characters"}])
    key = ApiKey.locked(actor, pk=key_id)
    if key is None:
        raise NotFound("There is no such key here.")
    if key.revoked_at is not None:
        raise AlreadyRevoked
    key.revoked_at, key.revoked_reason = timezone.now(), reason
    key.save(update_fields=["revoked_at", "revoked_reason"])
    record(actor=actor, event=Event.API_KEY_REVOKED, target=key, reason=reason, detail={"name": key.name})
    return key


def _place(actor: Actor, named: UUID | None) -> tuple[UUID, UUID]:
    """The workspace and the owner of a new key."""
    if actor.workspace_id is None:
        raise PermissionDenied(message="A key belongs to a workspace, and the actor is in none.")
    if actor.kind is ActorKind.USER:
        if named is not None and str(named) != actor.id:
            raise PermissionDenied(message="You can only issue keys of your own.")
        return actor.workspace_id, UUID(actor.id)
    if actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied(message="A key issues no keys.")
    if named is None or active_membership(actor.workspace_id, named) is None:
        raise NotFound("A key needs an owner who is a member here.")
    return actor.workspace_id, named


def _check(name: str, expires_in_days: int, environment: str) -> None:
    errors = []
    if not 1 <= len(name.strip()) <= 100 or not name.isprintable():
        errors.append({"path": "name", "message": "1 to 100 characters that say what uses the key."})
    if not 1 <= expires_in_days <= LONGEST_LIFE_DAYS:
        errors.append({"path": "expires_in_days", "message": f"1 to {LONGEST_LIFE_DAYS} days; no key lives for ever."})
    if environment not in ENVIRONMENT_NAMES:
        errors.append({"path": "environment", "message": f"One of {', '.join(ENVIRONMENT_NAMES)}."})
    if errors:
        raise Invalid("The key cannot be issued like this.", errors=errors)
