"""The sixteen scopes that a key may carry, each with what it allows (vocabulary 2.2).

A meaning says only what an address of the API, or `/mcp`, does today; a scope that opens nothing yet says so.
"""

from collections.abc import Iterable

from provenance.errors import Invalid
from provenance.permissions import SCOPES, Permission

SCOPE_MEANINGS: dict[Permission, str] = {
    Permission.AGENTS_READ: "List and get agents; prompts only as digest and version",
    Permission.AGENTS_WRITE: "Suspend an agent, never resume one",
    Permission.SKILLS_READ: "Nothing yet: skills are not built",
    Permission.SKILLS_WRITE: "Nothing yet: skills are not built",
    Permission.WORKFLOWS_READ: "List and get workflows",
    Permission.WORKFLOWS_WRITE: "Edit drafts and publish",
    Permission.RUNS_READ: "List and get runs",
    Permission.RUNS_WRITE: "Start and cancel runs",
    Permission.APPROVALS_READ: "List and get approval requests",
    Permission.APPROVALS_WRITE: "Nothing yet: agents and runs ask for approvals, and no key decides",
    Permission.GATEWAY_READ: "List servers, tools, grants and halts",
    Permission.GATEWAY_WRITE: "Revoke a grant; engage a halt, never release one",
    Permission.SECRETS_WRITE: "Nothing yet: people create and rotate secrets; no key reveals one",
    Permission.BUS_PUBLISH: "Nothing yet: the message bus is not built",
    Permission.BUS_SUBSCRIBE: "Nothing yet: the message bus is not built",
    Permission.AUDIT_READ: "Read and export the audit log",
}


def parse_scopes(names: Iterable[str]) -> frozenset[Permission]:
    """The scopes with these names. Raises `Invalid` naming each one that is unknown, and when there is none."""
    wanted = list(names)
    known = {scope.value: scope for scope in SCOPES}
    errors = [
        {"path": "scopes", "message": f"{name[:64]!r} is not one of the {len(known)} scopes."}
        for name in wanted
        if name not in known
    ]
    if errors or not wanted:
        raise Invalid("A key needs at least one scope, each of them by its name; there is no wildcard.", errors=errors)
    return frozenset(known[name] for name in wanted)
