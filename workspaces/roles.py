"""What each role may do: one table. A member holds a set of roles and may do what any of them allows."""

from collections.abc import Iterable
from enum import StrEnum

from provenance.permissions import Permission


class Role(StrEnum):
    """The five roles (vocabulary 2.3)."""

    ADMIN = "admin"
    EDITOR = "editor"
    APPROVER = "approver"
    AUDITOR = "auditor"
    VIEWER = "viewer"


# What only a service of the platform does to itself: no person carries it.
SYSTEM_ONLY = frozenset({Permission.APPROVALS_EXPIRE})

READS = frozenset(
    {
        Permission.AGENTS_READ,
        Permission.SKILLS_READ,
        Permission.WORKFLOWS_READ,
        Permission.RUNS_READ,
        Permission.APPROVALS_READ,
        Permission.GATEWAY_READ,
        Permission.MEMBERS_READ,
    }
)

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    # Whoever runs a workspace does not also decide in it: deciding takes the approver's role, given in the open.
    Role.ADMIN: frozenset(Permission) - {Permission.APPROVALS_DECIDE} - SYSTEM_ONLY,
    Role.EDITOR: READS
    | {
        Permission.AGENTS_WRITE,
        Permission.AGENTS_TRUST,
        Permission.AGENTS_PROMPT,
        Permission.SKILLS_WRITE,
        Permission.WORKFLOWS_WRITE,
        Permission.RUNS_WRITE,
        Permission.APPROVALS_WRITE,
        Permission.GATEWAY_WRITE,
        Permission.SECRETS_WRITE,
        Permission.BUS_PUBLISH,
        Permission.BUS_SUBSCRIBE,
        Permission.HALTS_ENGAGE,
    },
    Role.APPROVER: frozenset(
        {
            Permission.APPROVALS_READ,
            Permission.APPROVALS_DECIDE,
            Permission.RUNS_READ,
            Permission.AGENTS_READ,
            Permission.WORKFLOWS_READ,
            Permission.GATEWAY_READ,
            Permission.HALTS_ENGAGE,
        }
    ),
    Role.AUDITOR: READS | {Permission.AUDIT_READ},
    Role.VIEWER: READS,
}


def roles_with(permission: Permission) -> list[str]:
    """The names of the roles that have this permission, for people; empty for one that only the platform has."""
    return [role.value.capitalize() for role, held in ROLE_PERMISSIONS.items() if permission in held]


def permissions_of(roles: Iterable[Role]) -> frozenset[Permission]:
    """Everything that at least one of the roles allows."""
    return frozenset().union(*(ROLE_PERMISSIONS[role] for role in roles))
