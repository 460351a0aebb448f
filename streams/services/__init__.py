"""Every write by people: receivers of the log, and digests of it."""

from provenance.actor import Actor
from provenance.permissions import Permission


def may_manage(actor: Actor) -> bool:
    """Whether the actor may read the log and decide what leaves the platform.

    `workspace:write` is for people: a stream goes on after whatever set it up, so no stolen key may send the log away.
    """
    return actor.may(Permission.AUDIT_READ) and actor.may(Permission.WORKSPACE_WRITE)


def require_manager(actor: Actor) -> None:
    """Raise `PermissionDenied` unless `may_manage`."""
    actor.require(Permission.AUDIT_READ)
    actor.require(Permission.WORKSPACE_WRITE)
