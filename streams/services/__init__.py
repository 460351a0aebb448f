"""Every write by people: receivers of the log, and digests of it."""

from provenance.actor import Actor
from provenance.permissions import Permission


def require_manager(actor: Actor) -> None:
    """Raise `PermissionDenied` unless the actor may read the log and decide what leaves the platform.

    A stream goes on after the key or the session that set it up has ended, so reading alone is not enough for it.
    """
    actor.require(Permission.AUDIT_READ)
    actor.require(Permission.GATEWAY_WRITE)
