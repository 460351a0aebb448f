"""Members in searches and in the navigation; nothing serves who was erased."""

from audit import labels, names
from provenance import console, readiness
from provenance.permissions import Permission
from workspaces import erasure, selectors

readiness.register("workspaces.erasure", erasure.problems)
names.register("member", selectors.members_called)
labels.register("user", selectors.names_of_users)
labels.register("membership", selectors.names_of_memberships)
console.register(
    console.Link(
        group="control",
        order=80,
        label="Members",
        icon="users",
        route="workspaces:members",
        permission=Permission.MEMBERS_READ,
    )
)
