"""Commands on the host that act as a member: what only people may do, done by one whose console is out of reach."""

from audit.attestation import RowAltered
from audit.services import record_altered
from provenance.actor import Actor, ActorKind
from provenance.db import enter
from provenance.errors import NotFound
from workspaces.lookups import membership_of
from workspaces.models import User
from workspaces.roles import permissions_of
from workspaces.selectors import active_membership


def member_on_host(*, workspace: str, email: str) -> Actor:
    """The member with that address in the workspace with that short name, with the rights of their roles, via `host`.

    Raises `NotFound` and `RowAltered`. Whoever may run commands on the host is trusted to say who they are; the log says that it was here.
    """
    user = User.objects.filter(email__iexact=email, is_active=True).first()
    found = membership_of(user.pk, workspace) if user else None
    if user is None or found is None:
        raise NotFound(f"{email} is no member of {workspace}.")
    workspace_id, _membership_id = found
    try:
        with enter(workspace_id):
            membership = active_membership(workspace_id, user.pk)
    except RowAltered as error:
        record_altered(error.altered, by="host")
        raise
    if membership is None:
        raise NotFound(f"{email} is no member of {workspace}.")
    return Actor(
        kind=ActorKind.USER,
        id=str(user.pk),
        label=user.name,
        workspace_id=workspace_id,
        permissions=permissions_of(membership.role_set),
        via="host",
    )
