"""Secrets on their way into one request: found by name, origin and slot, opened at the line that sends (T02)."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gateway.database import Connection, one
from provenance.crypto import KeyRing
from provenance.errors import Conflict
from secrets_vault.references import SEALED_VERSION_SQL, NotBound, SealedVersion, open_version
from workspaces.control import STOPPING_SQL, Scope


class Halted(Conflict):
    """A halt stops this work."""

    code = "halted"


@dataclass(frozen=True, slots=True)
class Credential:
    """A sealed secret with the header it belongs into. Opening it twice is opening it anew: nothing is kept."""

    workspace_id: UUID
    header: str
    sealed: SealedVersion = field(repr=False)

    @property
    def name(self) -> str:
        """The secret's name."""
        return self.sealed.name

    def opened(self) -> tuple[dict[str, str], bytes]:
        """The header to send and the plain value to look for in the answer."""
        ring = KeyRing.from_settings("VAULT_KEK")
        value = open_version(self.sealed, self.workspace_id, self.sealed.name, self.sealed.number, ring)
        text = value.decode("utf-8").strip()
        if self.header.lower() == "authorization" and " " not in text:
            text = f"Bearer {text}"
        return {self.header: text}, value


async def load(
    connection: Connection, workspace_id: UUID, *, secret_name: str, origin: str, slot: str, scopes: AbstractSet[Scope]
) -> Credential | None:
    """The sealed credential for a place; None when none is needed. Raises `NotBound` when it is not bound there.

    `scopes` is what the work belongs to. When one of them is halted right now, nothing leaves, with a secret or without
    one: raises `Halted`.
    """
    pairs = sorted(scopes)
    halt = await one(connection, STOPPING_SQL, {"kinds": [kind for kind, _ in pairs], "ids": [id_ for _, id_ in pairs]})
    if halt is not None:
        raise Halted(f"The {halt['scope_kind']} is halted: {halt['reason']}")
    if not secret_name:
        return None
    row: dict[str, Any] | None = await (
        await connection.execute(SEALED_VERSION_SQL, (secret_name, origin, slot))
    ).fetchone()
    if row is None:
        raise NotBound(f"The secret {secret_name} is not bound to {origin} in {slot}.")
    return Credential(workspace_id, slot.removeprefix("header:"), SealedVersion(**row))
