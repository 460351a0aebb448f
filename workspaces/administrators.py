"""Who may take an administrator's place away: another one, and never the last of them."""

from collections.abc import Sequence
from uuid import UUID

from provenance.actor import Actor, ActorKind
from provenance.errors import PermissionDenied
from provenance.permissions import Permission
from workspaces.errors import LastAdministrator, OwnRoles
from workspaces.models import Membership
from workspaces.roles import Role


def not_oneself(actor: Actor, user_id: UUID) -> None:
    """Raise `OwnRoles` when the member is the actor."""
    if actor.kind is ActorKind.USER and actor.id == str(user_id):
        raise OwnRoles


def locked_administrators(actor: Actor) -> list[Membership]:
    """Every administrator of the workspace, locked before the member that a change is about.

    In one order, so that of two who remove each other at once the second waits, and is told what it came to.
    """
    rows = Membership.objects.for_actor(actor).select_for_update()
    return list(rows.filter(roles__contains=[Role.ADMIN.value], removed_at=None).order_by("pk"))


def demand_another(administrators: Sequence[Membership], actor: Actor, leaving: Membership) -> None:
    """Raise `LastAdministrator` when nobody else is one, `PermissionDenied` when the actor is none any more."""
    others = {str(member.user_id) for member in administrators if member.pk != leaving.pk}
    if not others:
        raise LastAdministrator
    if actor.kind is ActorKind.USER and actor.id not in others:
        raise PermissionDenied(Permission.MEMBERS_WRITE, "You are no administrator here any more.")
