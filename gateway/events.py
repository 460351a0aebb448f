"""The gateway's events: who acts, about what, in which context. Built here, stored by the journal with the change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit import envelope
from audit.envelope import EventContext, ObjectFacts, Outcome, SignedEvent
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.contract import Effect
from gateway.tokens import RunClaims
from provenance.actor import Actor, ActorKind
from provenance.dlp.engine import Findings
from provenance.risk import Risk

_RISKS = {Effect.READ.value: Risk.LOW, Effect.WRITE.value: Risk.MEDIUM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An agent that calls, as one door established it. `run` is None for an outside client.

    `principal` is what a repeated call is recognized by: the agent, and for an outside client also its key.
    """

    workspace_id: UUID
    agent_id: UUID
    agent_version_id: UUID | None
    environment: str
    principal: str
    via: str
    on_behalf_of: str = ""
    request_id: str = ""
    ip: str = ""
    run: RunClaims | None = None
    key_id: str = ""

    @property
    def run_id(self) -> UUID | None:
        """The run it calls for."""
        return self.run.run_id if self.run else None

    def actor(self, label: str) -> Actor:
        """The agent as actor; `label` is what people call it."""
        return Actor(
            kind=ActorKind.AGENT,
            id=str(self.agent_id),
            label=label,
            workspace_id=self.workspace_id,
            via=self.via,
            on_behalf_of=self.on_behalf_of,
            request_id=self.request_id,
            ip=self.ip,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Signs events about one call."""

    keys: KeyRing
    caller: Caller
    agent_label: str
    call_id: UUID
    tool_name: str
    # None where the agent named a tool that does not exist.
    tool_id: UUID | None
    agent_version: str = ""
    data_tier: int | None = None
    digest: str = ""

    def event(
        self,
        event: Event,
        *,
        outcome: Outcome = "success",
        reason: str = "",
        detail: Mapping[str, Any] | None = None,
        risk: Risk | None = None,
        target: ObjectFacts | None = None,
    ) -> SignedEvent:
        """One event about the call, or about `target` on its occasion."""
        run = self.caller.run
        return envelope.build(
            keys=self.keys,
            actor=self.caller.actor(self.agent_label),
            event=event,
            target=target or ObjectFacts(type="tool_call", id=str(self.call_id), label=self.tool_name),
            workspace_id=self.caller.workspace_id,
            reason=reason,
            detail={"tool": self.tool_name, **(detail or {})},
            context=EventContext(
                run_id=self.caller.run_id,
                step=run.step if run else "",
                workflow_version=run.workflow_version if run else "",
                agent_version=self.agent_version,
                tool=self.tool_id,
                action_id=self.call_id,
                action_digest=self.digest,
                request_id=self.caller.request_id,
                environment=self.caller.environment,
                data_tier=self.data_tier,
            ),
            outcome=outcome,
            risk=risk,
        )

    def violations(self, findings: Findings, direction: str) -> list[SignedEvent]:
        """One event per policy, and one each for cut secrets and hidden characters: names and counts, never values."""
        events = [
            self.event(
                Event.POLICY_VIOLATION,
                outcome="blocked",
                detail={
                    "rule": policy,
                    "detector": "field",
                    "direction": direction,
                    "action": "withhold" if findings.withheld else "redact",
                    "fields": dict(hits),
                    **({"withheld": sorted(findings.withheld)} if findings.withheld else {}),
                },
            )
            for policy, hits in findings.fields.items()
        ]
        if findings.secrets:
            detail = {
                "rule": "injected_secret",
                "detector": "known_secret",
                "direction": direction,
                "count": findings.secrets,
            }
            events.append(self.event(Event.SECRET_LEAK_DETECTED, outcome="blocked", detail=detail))
            events.append(self.event(Event.POLICY_VIOLATION, outcome="blocked", detail={**detail, "action": "cut"}))
        if findings.hidden:
            detail = {
                "rule": "hidden_characters",
                "detector": "hidden",
                "direction": direction,
                "count": findings.hidden,
            }
            events.append(self.event(Event.POLICY_VIOLATION, outcome="blocked", detail={**detail, "action": "strip"}))
        return events


def called_risk(effect: str) -> Risk:
    """The risk of `mcp.tool_called`: medium for a write, high for what cannot be taken back (vocabulary 2.6)."""
    return _RISKS.get(effect, Risk.HIGH)
