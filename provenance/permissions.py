"""Every permission there is. A scope is a permission that an API key may carry (vocabulary 2.2)."""

from enum import StrEnum


class Permission(StrEnum):
    """What an actor may do in a workspace, spelled `noun:verb`."""

    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    SKILLS_READ = "skills:read"
    SKILLS_WRITE = "skills:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    APPROVALS_READ = "approvals:read"
    APPROVALS_WRITE = "approvals:write"
    GATEWAY_READ = "gateway:read"
    GATEWAY_WRITE = "gateway:write"
    SECRETS_WRITE = "secrets:write"
    BUS_PUBLISH = "bus:publish"
    BUS_SUBSCRIBE = "bus:subscribe"
    AUDIT_READ = "audit:read"

    # For people and the system only: no key carries these.
    AGENTS_TRUST = "agents:trust"
    AGENTS_PROMPT = "agents:prompt"
    APPROVALS_DECIDE = "approvals:decide"
    APPROVALS_EXPIRE = "approvals:expire"
    SECRETS_REVEAL = "secrets:reveal"
    API_KEYS_WRITE = "api_keys:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    WORKSPACE_WRITE = "workspace:write"
    HALTS_ENGAGE = "halts:engage"
    HALTS_RELEASE = "halts:release"


SCOPES: frozenset[Permission] = frozenset(
    {
        Permission.AGENTS_READ,
        Permission.AGENTS_WRITE,
        Permission.SKILLS_READ,
        Permission.SKILLS_WRITE,
        Permission.WORKFLOWS_READ,
        Permission.WORKFLOWS_WRITE,
        Permission.RUNS_READ,
        Permission.RUNS_WRITE,
        Permission.APPROVALS_READ,
        Permission.APPROVALS_WRITE,
        Permission.GATEWAY_READ,
        Permission.GATEWAY_WRITE,
        Permission.SECRETS_WRITE,
        Permission.BUS_PUBLISH,
        Permission.BUS_SUBSCRIBE,
        Permission.AUDIT_READ,
    }
)
"""The sixteen permissions that an API key may carry (M142)."""
