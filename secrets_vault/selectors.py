"""What may be read of the vault: names, and where each may go. Never a value, sealed or not."""

from dataclasses import dataclass
from datetime import datetime

from provenance.actor import Actor
from provenance.permissions import Permission
from secrets_vault.models import Secret


@dataclass(frozen=True, slots=True)
class SecretSummary:
    """One line of the list of secrets. `bindings` are pairs of origin and slot."""

    name: str
    status: str
    access: str
    version: int
    bindings: tuple[tuple[str, str], ...]
    created_at: datetime


def list_names(actor: Actor) -> list[SecretSummary]:
    """The workspace's secrets by name."""
    actor.require(Permission.SECRETS_WRITE)
    rows = Secret.objects.for_actor(actor).prefetch_related("bindings").order_by("name")
    return [
        SecretSummary(
            name=row.name,
            status=row.status,
            access=row.access,
            version=row.current_version,
            bindings=tuple(sorted((binding.origin, binding.slot) for binding in row.bindings.all())),
            created_at=row.created_at,
        )
        for row in rows
    ]
