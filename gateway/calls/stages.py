"""A call as it goes from room to room: asked, admitted, ended."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.signing import KeyRing
from gateway.calls.consent import Approved
from gateway.contract import CallRequest, CallState, RetryClass, ToolResult
from gateway.credentials import Credential
from gateway.events import Caller, Scribe
from gateway.policy import AgentSnapshot, Snapshot, ToolSnapshot, VersionSnapshot
from provenance.dlp.engine import Findings


class NotStarted(Exception):
    """The one statement that starts a call found the world changed; nothing was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call with everything that is known about it before it is decided."""

    caller: Caller
    request: CallRequest
    snapshot: Snapshot
    agent: AgentSnapshot | None
    version: VersionSnapshot | None
    tool: ToolSnapshot | None
    request_digest: str
    standing: dict[str, Any] | None = None
    existing: dict[str, Any] | None = None
    calls_made: int = 0
    # The call of which this one asks what became of it.
    verifies: UUID | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether a call of unknown outcome may be sent again under the same key."""
        return self.tool is not None and self.tool.facts.retry_class in {RetryClass.READ, RetryClass.IDEMPOTENT}

    def columns(self) -> dict[str, Any]:
        """What the call's row holds whatever becomes of it."""
        run = self.caller.run
        return {
            "call_id": self.request.call_id,
            "workspace_id": self.caller.workspace_id,
            "call_key": self.request.call_key,
            "run_id": self.caller.run_id,
            "step_id": run.step_id if run else None,
            "agent_id": self.caller.agent_id,
            "agent_version": self.version.id if self.version else None,
            "tool_id": self.tool.id if self.tool else None,
            "tool_name": self.request.tool,
            "request_digest": self.request_digest,
            "fence": run.fence if run else 0,
        }

    def scribe(self, keys: KeyRing, digest: str = "") -> Scribe:
        """Who writes this call's events."""
        return Scribe(
            keys=keys,
            caller=self.caller,
            agent_label=self.agent.title if self.agent else "",
            call_id=self.request.call_id,
            tool_name=self.request.tool,
            tool_id=self.tool.id if self.tool else None,
            agent_version=str(self.version.id) if self.version else "",
            data_tier=self.tool.facts.data_tier if self.tool else None,
            digest=digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A call that has started: what to send, until when, and what it rests on."""

    asked: Asked
    tool: ToolSnapshot
    arguments: dict[str, Any]
    credential: Credential | None
    scribe: Scribe
    approval: Approved | None
    attempts: int
    send_by: float


@dataclass(slots=True)
class Outcome:
    """How a performed call ended."""

    state: CallState
    result: ToolResult | None = None
    rule: str = ""
    reason: str = ""
    findings: Findings = field(default_factory=Findings)
    duration_ms: int = 0
