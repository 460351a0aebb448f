"""Secrets on their way into one request: found by name, origin and slot, opened at the line that sends (T02)."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.attestation import altered_rows
from audit.signing import KeyRing as MacKeys
from gateway.database import Connection, one
from provenance.crypto import KeyRing
from provenance.errors import Conflict
from secrets_vault.references import (
    PERMITTING,
    SEALED_VERSION_SQL,
    NotAsSigned,
    NotBound,
    SealedVersion,
    open_version,
)
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
    connection: Connection,
    keys: MacKeys,
    workspace_id: UUID,
    *,
    secret_name: str,
    origin: str,
    slot: str,
    scopes: AbstractSet[Scope],
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
    return await sealed(connection, keys, workspace_id, secret_name=secret_name, origin=origin, slot=slot)


async def sealed(
    connection: Connection, keys: MacKeys, workspace_id: UUID, *, secret_name: str, origin: str, slot: str
) -> Credential:
    """The sealed credential for a place. Raises `NotBound`; `NotAsSigned` when somebody bound it past the platform (T06)."""
    place = {"name": secret_name, "origin": origin, "slot": slot}
    permitting: list[tuple[str, dict[str, Any]]] = [
        (type_, found)
        for type_, statement in PERMITTING.items()
        for found in await (await connection.execute(statement, place)).fetchall()
    ]
    if altered := altered_rows(permitting, keys):
        raise NotAsSigned(f"What the database holds of the secret {secret_name} is not what was signed.", altered)
    row = await one(connection, SEALED_VERSION_SQL, place)
    version = max((found["current_version"] for type_, found in permitting if type_ == "secret"), default=0)
    # A former version that somebody has put back with its number is none; a newer one was stored meanwhile.
    if row is None or len(permitting) < len(PERMITTING) or row["number"] < version:
        raise NotBound(f"The secret {secret_name} is not bound to {origin} in {slot}.")
    return Credential(workspace_id, slot.removeprefix("header:"), SealedVersion(**row))
