"""Reads about keys. Nothing here can give a key's text: it is stored nowhere."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from apikeys.models import ApiKey, ApiKeyUse
from provenance.actor import Actor
from provenance.errors import NotFound
from provenance.permissions import Permission
from workspaces.selectors import user_names


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key as pages and the API show it."""

    key: ApiKey
    status: str
    owner_name: str
    last_used_at: datetime | None


def keys(actor: Actor) -> QuerySet[ApiKey]:
    """The keys of the actor's workspace."""
    actor.require(Permission.API_KEYS_WRITE)
    rows: QuerySet[ApiKey] = ApiKey.objects.for_actor(actor)
    return rows


def shown(rows: list[ApiKey], now: datetime) -> list[ShownKey]:
    """These keys with status, owner and last use. Two queries, whatever their number."""
    uses = dict(ApiKeyUse.objects.filter(key_id__in=[row.pk for row in rows]).values_list("key_id", "last_used_at"))
    names = user_names([row.owner_user_id for row in rows])
    return [ShownKey(row, row.status(now), names.get(row.owner_user_id, ""), uses.get(row.pk)) for row in rows]


def presented_key(actor: Actor) -> ApiKey:
    """The key that a request came with. Raises `NotFound` for an actor without one."""
    if actor.via.startswith("key:"):
        found: ApiKey | None = ApiKey.objects.for_actor(actor).filter(pk=actor.via.removeprefix("key:")).first()
        if found is not None:
            return found
    raise NotFound("This request came without a key.")
