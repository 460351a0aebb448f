"""Whether a halt stops a run, or the call it is about to make. Read from the database right before, so never stale."""

from workflows.facts import AgentPin, RunFacts
from workspaces import control, scopes
from workspaces.control import Halt


def stopping(facts: RunFacts, *, agent: AgentPin | None = None, tool: str = "", provider: str = "") -> Halt | None:
    """The halt that stops this work, one that terminates first. Call it inside the workspace.

    `tool` and `provider` are names (`erp.getVendor`, `scripted`), as definitions and manifests say them.
    """
    engaged = control.state(facts.workspace_id)
    if not engaged.halts:
        return None
    place = facts.workspace_id
    return engaged.stops(
        control.scopes_of(
            place,
            environment=facts.environment,
            workflow=facts.workflow_id,
            agent=agent.agent_id if agent else None,
            server=scopes.resolved(place, "server", tool.partition(".")[0]),
            tool=scopes.resolved(place, "tool", tool),
            provider=scopes.resolved(place, "provider", provider),
            key=facts.key_id,
        )
    )
