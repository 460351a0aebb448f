"""Who acts, where, with which permissions. Doors make actors; services demand permissions of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from provenance.errors import PermissionDenied
from provenance.permissions import Permission

KEY_DOOR = "key:"
"""How `via` begins for whoever presents an API key; the key's id follows."""


class ActorKind(StrEnum):
    """The four kinds of actor in the log (vocabulary 2.1)."""

    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"
    INTEGRATION = "integration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Someone or something that acts, as one door established it.

    `id` is opaque (a user, key or agent id, or the name of a system process); `label` and `ip` are personal data and
    go only into erasable event detail. `workspace_id` is None only for instance matters such as a failed sign-in.
    `on_behalf_of` is the user id of the person an agent or key acts for ("" when there is none).
    """

    kind: ActorKind
    id: str
    label: str
    workspace_id: UUID | None
    permissions: frozenset[Permission] = frozenset()
    via: str = ""
    on_behalf_of: str = ""
    request_id: str = ""
    ip: str = field(default="", repr=False)

    @property
    def answerable(self) -> str:
        """The user who answers for what it does: a person themselves, else whom it acts for; "" for the system."""
        return self.id if self.kind is ActorKind.USER else self.on_behalf_of

    @property
    def key_id(self) -> UUID | None:
        """The API key that it acts through; None for everybody else."""
        return UUID(self.via.removeprefix(KEY_DOOR)) if self.via.startswith(KEY_DOOR) else None

    @classmethod
    def system(cls, name: str, workspace_id: UUID | None, permissions: Iterable[Permission] = ()) -> "Actor":
        """The platform itself, acting under a name such as `approvals.sla` and with only the permissions given."""
        return cls(
            kind=ActorKind.SYSTEM,
            id=name,
            label=name,
            workspace_id=workspace_id,
            permissions=frozenset(permissions),
            via="system",
        )

    def may(self, permission: Permission) -> bool:
        """Whether the actor carries the permission."""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise `PermissionDenied` naming the permission unless the actor carries it."""
        if permission not in self.permissions:
            raise PermissionDenied(permission)
