"""Halts as the engine, the gateway, its model proxy and the vault read them: the low switch that no floor can argue with.

A halt names one thing by one id (`workspaces.scopes`), and work says by `scopes_of` which things it belongs to.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

from workspaces.models import Control

Scope = tuple[str, str]
"""A kind of `models.SCOPE_KINDS` and the id of the one thing of that kind; of an environment its name."""

# The last look before a secret is opened: right now, and not as of a snapshot.
STOPPING_SQL = """
SELECT scope_kind, reason FROM workspaces_control
 WHERE released_at IS NULL AND (scope_kind, scope_id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::text[]))
 ORDER BY epoch LIMIT 1
"""


def scopes_of(
    workspace_id: UUID,
    *,
    environment: str = "",
    workflow: object = None,
    agent: object = None,
    server: object = None,
    tool: object = None,
    provider: object = None,
    key: object = None,
) -> frozenset[Scope]:
    """What a piece of work belongs to, by ids; what it has not is left out. Everything belongs to the workspace."""
    named = {
        "workspace": workspace_id,
        "environment": environment,
        "workflow": workflow,
        "agent": agent,
        "server": server,
        "tool": tool,
        "provider": provider,
        "key": key,
    }
    return frozenset((kind, str(value)) for kind, value in named.items() if value)


@dataclass(frozen=True, slots=True)
class Halt:
    """One engaged halt. `mode` is `pause` (runs in flight wait) or `terminate` (they end)."""

    id: UUID
    scope_kind: str
    scope_id: str
    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class ControlState:
    """The engaged halts of a workspace. `epoch` grows with every change, so a reader sees cheaply that it is stale."""

    epoch: int
    halts: tuple[Halt, ...] = ()

    def stops(self, scopes: AbstractSet[Scope]) -> Halt | None:
        """The halt that stops the work that belongs to these scopes, if any. With several, one that terminates first."""
        stopping = [halt for halt in self.halts if (halt.scope_kind, halt.scope_id) in scopes]
        return min(stopping, key=lambda halt: halt.mode != "terminate", default=None)


def state(workspace_id: UUID) -> ControlState:
    """The control state now. One query: released halts carry the epochs of their release."""
    rows = list(Control.objects.for_workspace(workspace_id).order_by("epoch"))
    engaged = (
        Halt(id=row.pk, scope_kind=row.scope_kind, scope_id=row.scope_id, mode=row.mode, reason=row.reason)
        for row in rows
        if row.released_at is None
    )
    return ControlState(epoch=rows[-1].epoch if rows else 0, halts=tuple(engaged))
