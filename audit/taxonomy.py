"""Every event there is: its name, its risk and one sentence. `docs/event-reference.md` is generated from here.

Names are noun.past-tense and are never reused for something else: they stand in signed bodies for years. Append to the
right domain; `./manage.py event_reference` writes the page anew.
"""

from enum import StrEnum
from typing import Self

from provenance.risk import Risk


class Event(StrEnum):
    """The type of an event. Its risk is the usual one; `record(risk=…)` may raise it for a worse case."""

    risk: Risk
    sentence: str

    def __new__(cls, name: str, risk: Risk, sentence: str) -> Self:
        """One line of the table below."""
        event = str.__new__(cls, name)
        event._value_ = name
        event.risk = risk
        event.sentence = sentence
        return event

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The event of that name, or None: a log may hold types that this version does not know."""
        return next((event for event in cls if event.value == name), None)

    @property
    def domain(self) -> str:
        """What it is about, for example `agent`."""
        return self.value.partition(".")[0]

    @property
    def verb(self) -> str:
        """What happened, in a word: `suspended`, and of `mcp.tool_called` it is `called`."""
        return self.value.replace("_", ".").rpartition(".")[2]

    AGENT_CREATED = "agent.created", Risk.MEDIUM, "An agent was registered."
    AGENT_UPDATED = "agent.updated", Risk.MEDIUM, "An agent's title, status or current version was changed."
    AGENT_VERSION_PUBLISHED = (
        "agent.version_published",
        Risk.MEDIUM,
        "An immutable version of an agent's configuration was published.",
    )
    AGENT_PROMPT_VIEWED = "agent.prompt_viewed", Risk.HIGH, "A person read the full system prompt of an agent version."
    AGENT_MODEL_CHANGED = "agent.model_changed", Risk.MEDIUM, "An agent was pinned to another model."
    AGENT_TRUST_LEVEL_RAISED = (
        "agent.trust_level_raised",
        Risk.HIGH,
        "An agent was given a higher trust level, with a justification.",
    )
    AGENT_TRUST_LEVEL_LOWERED = "agent.trust_level_lowered", Risk.MEDIUM, "An agent was given a lower trust level."
    AGENT_TOOL_GRANTED = (
        "agent.tool_granted",
        Risk.HIGH,
        "An agent was given the right to use a tool, with a reason and an expiry.",
    )
    AGENT_TOOL_REVOKED = "agent.tool_revoked", Risk.MEDIUM, "An agent lost the right to use a tool."
    AGENT_GRANT_EXPIRED = "agent.grant_expired", Risk.LOW, "A grant reached its end and no longer counts."
    AGENT_SUSPENDED = "agent.suspended", Risk.CRITICAL, "An agent may start no runs and call no tools."
    AGENT_RESUMED = "agent.resumed", Risk.CRITICAL, "A suspended agent may act again."
    AGENT_RETIRED = "agent.retired", Risk.MEDIUM, "An agent was taken out of service for good."

    PROVIDER_CREATED = (
        "provider.created",
        Risk.HIGH,
        "A model provider was registered, with its address and the name of its secret.",
    )
    PROVIDER_UPDATED = (
        "provider.updated",
        Risk.HIGH,
        "A model provider's address, secret, prices or capabilities were changed.",
    )

    SKILL_CREATED = "skill.created", Risk.MEDIUM, "A skill was registered."
    SKILL_UPDATED = "skill.updated", Risk.MEDIUM, "A skill was changed."
    SKILL_INVOKED = "skill.invoked", Risk.LOW, "A skill was about to run."
    SKILL_COMPLETED = "skill.completed", Risk.LOW, "A skill ended, with its outcome."
    SKILL_INPUT_REJECTED = (
        "skill.input_rejected",
        Risk.MEDIUM,
        "A skill's input did not match its schema, and nothing ran.",
    )
    SKILL_SANDBOX_VIOLATION = "skill.sandbox_violation", Risk.CRITICAL, "A skill tried to leave its sandbox."

    WORKFLOW_CREATED = "workflow.created", Risk.MEDIUM, "A workflow was registered."
    WORKFLOW_UPDATED = "workflow.updated", Risk.MEDIUM, "A workflow's title or the version in force was changed."
    WORKFLOW_DRAFT_SAVED = "workflow.draft_saved", Risk.LOW, "The draft of a workflow was saved."
    WORKFLOW_PUBLISHED = "workflow.published", Risk.HIGH, "An immutable version of a workflow was published."
    WORKFLOW_PUBLISH_BLOCKED = (
        "workflow.publish_blocked",
        Risk.MEDIUM,
        "A workflow could not be published because checks failed.",
    )
    WORKFLOW_READINESS_WAIVED = (
        "workflow.readiness_waived",
        Risk.CRITICAL,
        "A person waived a failed check for a workflow, with a reason and an expiry.",
    )
    WORKFLOW_ROLLED_BACK = "workflow.rolled_back", Risk.HIGH, "An earlier version of a workflow was put in force again."
    WORKFLOW_DELETED = "workflow.deleted", Risk.HIGH, "A workflow was removed; its versions and runs stay."
    WORKFLOW_TRIGGER_CHANGED = "workflow.trigger_changed", Risk.MEDIUM, "What starts a workflow was changed."

    RUN_QUEUED = "run.queued", Risk.LOW, "A run was accepted and waits for a worker."
    RUN_STARTED = "run.started", Risk.LOW, "A worker began a run."
    RUN_UPDATED = "run.updated", Risk.LOW, "Facts of a run were changed without a change of its status."
    RUN_STEP_CREATED = "run.step_created", Risk.LOW, "A step of a run was planned."
    RUN_STEP_STARTED = "run.step_started", Risk.LOW, "A step began."
    RUN_STEP_WAITING = "run.step_waiting", Risk.LOW, "A step waits for something outside of it."
    RUN_STEP_RESUMED = "run.step_resumed", Risk.LOW, "A waiting step goes on."
    RUN_STEP_RETRIED = "run.step_retried", Risk.LOW, "A step failed in a way that may be tried again, and will be."
    RUN_STEP_COMPLETED = "run.step_completed", Risk.LOW, "A step ended, with its outcome."
    RUN_STEP_FAILED = "run.step_failed", Risk.MEDIUM, "A step failed."
    RUN_STEP_SKIPPED = "run.step_skipped", Risk.LOW, "A step was not needed on the path that the run took."
    RUN_STEP_CANCELED = "run.step_canceled", Risk.LOW, "A step was stopped because its run was."
    RUN_STEP_UNKNOWN = (
        "run.step_unknown",
        Risk.HIGH,
        "A step was dispatched and nobody knows its outcome; a person must look.",
    )
    RUN_DECISION_RECORDED = "run.decision_recorded", Risk.LOW, "A model chose what to do next."
    RUN_WAITING = "run.waiting", Risk.LOW, "A run waits for a person, a timer, an event or a budget."
    RUN_PAUSED = "run.paused", Risk.LOW, "A run was paused."
    RUN_RESUMED = "run.resumed", Risk.LOW, "A run goes on."
    RUN_CANCELING = "run.canceling", Risk.MEDIUM, "A run was asked to stop."
    RUN_SUCCEEDED = "run.succeeded", Risk.LOW, "A run ended as its workflow says."
    RUN_FAILED = "run.failed", Risk.HIGH, "A run ended without reaching its end."
    RUN_CANCELED = "run.canceled", Risk.MEDIUM, "A run was stopped before its end."
    RUN_REPLAYED = "run.replayed", Risk.MEDIUM, "A run was started again from an earlier one."
    RUN_REJECTED = "run.rejected", Risk.MEDIUM, "A run ended because a person rejected what it asked for."
    RUN_EXPIRED = "run.expired", Risk.MEDIUM, "A run ended because nobody decided in time."
    RUN_OUTPUT_RELEASED = "run.output_released", Risk.LOW, "The output of a run was handed to somebody."
    RUN_DEBUGGER_OPENED = "run.debugger_opened", Risk.MEDIUM, "A person looked into the contents of a run."

    MODEL_CALLED = "model.called", Risk.LOW, "A model was called; tokens, cost and latency are in the detail."
    MODEL_FAILED = "model.failed", Risk.MEDIUM, "A model call failed."
    MODEL_OUTPUT_BLOCKED = "model.output_blocked", Risk.HIGH, "A filter held back what a model wrote."
    MODEL_BUDGET_WARNING = "model.budget_warning", Risk.MEDIUM, "A budget is nearly used up."
    MODEL_BUDGET_EXCEEDED = "model.budget_exceeded", Risk.HIGH, "A budget is used up, and the run was stopped."

    MCP_SERVER_REGISTERED = (
        "mcp.server_registered",
        Risk.HIGH,
        "An MCP server was registered; nothing of it may be used before a review.",
    )
    MCP_SERVER_UPDATED = "mcp.server_updated", Risk.HIGH, "Facts of an MCP server were changed."
    MCP_SERVER_REVIEWED = "mcp.server_reviewed", Risk.HIGH, "A person approved an MCP server or refused it."
    MCP_SERVER_DISABLED = "mcp.server_disabled", Risk.HIGH, "An MCP server was taken out of use."
    MCP_TOOL_DISCOVERED = "mcp.tool_discovered", Risk.MEDIUM, "A server offers a tool that was not known before."
    MCP_TOOL_REVIEWED = (
        "mcp.tool_reviewed",
        Risk.HIGH,
        "A person set the effect, retry class and data tier of a tool and confirmed its definition.",
    )
    MCP_TOOL_DEFINITION_CHANGED = (
        "mcp.tool_definition_changed",
        Risk.CRITICAL,
        "A tool's definition differs from the one that was reviewed.",
    )
    MCP_TOOL_QUARANTINED = "mcp.tool_quarantined", Risk.HIGH, "A tool may not be used until a person reviewed it again."
    MCP_TOOL_REQUESTED = "mcp.tool_requested", Risk.LOW, "A tool call was admitted and is about to be sent."
    MCP_TOOL_CALLED = (
        "mcp.tool_called",
        Risk.LOW,
        "A tool call ended; outcome, duration and redactions are in the detail.",
    )
    MCP_TOOL_ANSWERED_LATE = (
        "mcp.tool_answered_late",
        Risk.HIGH,
        "A tool answered after its call had been given up; the answer was kept and changed nothing.",
    )
    MCP_TOOL_BLOCKED = "mcp.tool_blocked", Risk.HIGH, "A tool call was refused; the rule is in the detail."
    MCP_RATE_LIMITED = "mcp.rate_limited", Risk.MEDIUM, "A limit of calls was reached."
    MCP_CIRCUIT_OPENED = "mcp.circuit_opened", Risk.HIGH, "A failing tool is not called for a while."
    MCP_CIRCUIT_CLOSED = "mcp.circuit_closed", Risk.LOW, "A tool that failed is called again."
    CALL_RESOLVED = "call.resolved", Risk.HIGH, "A person settled the unknown outcome of a call."

    GATEWAY_POLICY_CHANGED = "gateway.policy_changed", Risk.CRITICAL, "What the gateway allows was changed."
    GATEWAY_MODE_CHANGED = (
        "gateway.mode_changed",
        Risk.CRITICAL,
        "The gateway was switched between enforcing and watching.",
    )

    POLICY_VIOLATION = (
        "policy.violation",
        Risk.HIGH,
        "A rule matched what was about to pass, and it was redacted or refused.",
    )
    POLICY_SIMULATED = "policy.simulated", Risk.LOW, "A policy was tried on past runs."
    DLP_POLICY_CREATED = "dlp_policy.created", Risk.CRITICAL, "A redaction policy was created."
    DLP_POLICY_UPDATED = "dlp_policy.updated", Risk.CRITICAL, "A redaction policy was changed."
    DLP_POLICY_DELETED = "dlp_policy.deleted", Risk.CRITICAL, "A redaction policy was removed."
    DLP_FALSE_POSITIVE_MARKED = "dlp.false_positive_marked", Risk.MEDIUM, "A person marked a finding as wrong."
    EGRESS_REQUESTED = "egress.requested", Risk.LOW, "A request left for a listed host."
    EGRESS_BLOCKED = "egress.blocked", Risk.HIGH, "A request to a host that is not allowed was stopped."
    CLASSIFICATION_CHANGED = "classification.changed", Risk.HIGH, "The data tier of a field or a source was changed."
    TAINT_ESCALATED = "taint.escalated", Risk.HIGH, "A run that read untrusted content reached for a gated tool."

    INJECTION_DETECTED = "injection.detected", Risk.HIGH, "Text from outside looks like instructions."
    INJECTION_CANARY_TRIGGERED = (
        "injection.canary_triggered",
        Risk.CRITICAL,
        "A planted canary came back: text from outside is being obeyed.",
    )
    INJECTION_SCREENED = "injection.screened", Risk.LOW, "Text from outside was screened."
    ACTION_INCONSISTENT = "action.inconsistent", Risk.HIGH, "What an agent does is not what it said it would do."

    APPROVAL_REQUESTED = "approval.requested", Risk.MEDIUM, "A person was asked to decide about one action."
    APPROVAL_VIEWED = "approval.viewed", Risk.LOW, "A person opened a request."
    APPROVAL_EVIDENCE_ADDED = "approval.evidence_added", Risk.LOW, "Evidence was added to a request."
    APPROVAL_PAYLOAD_EDITED = (
        "approval.payload_edited",
        Risk.HIGH,
        "An approver changed the payload before approving it.",
    )
    APPROVAL_APPROVED = "approval.approved", Risk.HIGH, "A person approved exactly this action."
    APPROVAL_REJECTED = "approval.rejected", Risk.MEDIUM, "A person, or a missed deadline, rejected an action."
    APPROVAL_DECISION_RECORDED = (
        "approval.decision_recorded",
        Risk.MEDIUM,
        "A person's decision was stored, with the payload it allows.",
    )
    APPROVAL_WITHDRAWN = "approval.withdrawn", Risk.LOW, "A request was taken back before anybody decided."
    APPROVAL_SUPERSEDED = "approval.superseded", Risk.MEDIUM, "A request was replaced because the action changed."
    APPROVAL_DELEGATED = "approval.delegated", Risk.MEDIUM, "A request was handed to another approver."
    APPROVAL_SLA_WARNING = "approval.sla_warning", Risk.MEDIUM, "The time to decide is nearly over."
    APPROVAL_SLA_BREACH = "approval.sla_breach", Risk.HIGH, "Nobody decided in time."
    APPROVAL_ESCALATED = "approval.escalated", Risk.HIGH, "A request was handed to the next level."
    APPROVAL_EXPIRED = "approval.expired", Risk.HIGH, "A request was rejected because its time was over."
    APPROVAL_CONSUMED = "approval.consumed", Risk.MEDIUM, "An approval was used for its one action."
    APPROVAL_DIGEST_MISMATCH = (
        "approval.digest_mismatch",
        Risk.CRITICAL,
        "An approval was presented for another action than the one approved.",
    )
    APPROVAL_GRANT_CREATED = (
        "approval.grant_created",
        Risk.HIGH,
        "A person approved a bounded class of actions in advance.",
    )
    APPROVAL_GRANT_USED = "approval.grant_used", Risk.MEDIUM, "An action ran under an approval given in advance."
    APPROVAL_GRANT_REVOKED = "approval.grant_revoked", Risk.MEDIUM, "An approval given in advance was taken back."

    SECRET_CREATED = "secret.created", Risk.MEDIUM, "A secret was stored."
    SECRET_VERSION_STORED = "secret.version_stored", Risk.LOW, "A sealed value of a secret was stored."
    SECRET_VERSION_DESTROYED = (
        "secret.version_destroyed",
        Risk.MEDIUM,
        "A sealed value of a secret and its data key were destroyed.",
    )
    SECRET_BOUND = "secret.bound", Risk.HIGH, "A secret was bound to an origin and a slot."
    SECRET_UNBOUND = "secret.unbound", Risk.HIGH, "A secret lost its binding to an origin."
    SECRET_ACCESSED = "secret.accessed", Risk.HIGH, "A person read a secret's value."
    SECRET_INJECTED = "secret.injected", Risk.LOW, "A secret was put into a request to its bound origin."
    SECRET_ROTATED = "secret.rotated", Risk.MEDIUM, "A secret has a new value."
    SECRET_ROTATION_FAILED = "secret.rotation_failed", Risk.HIGH, "A secret could not be rotated."
    SECRET_REVOKED = "secret.revoked", Risk.HIGH, "A secret was destroyed."
    SECRET_LEAK_DETECTED = "secret.leak_detected", Risk.CRITICAL, "A secret's value was found where it must not be."

    CONNECTION_CREATED = "connection.created", Risk.MEDIUM, "A connection was created."
    CONNECTION_UPDATED = "connection.updated", Risk.MEDIUM, "A connection was changed."
    CONNECTION_ACCESSED = "connection.accessed", Risk.HIGH, "A connection's credentials were used by a person."
    CONNECTION_FAILED = "connection.failed", Risk.MEDIUM, "A connection does not work."

    API_KEY_CREATED = "api_key.created", Risk.HIGH, "An API key was issued."
    API_KEY_ROTATED = "api_key.rotated", Risk.MEDIUM, "An API key was replaced by a new one."
    API_KEY_REVOKED = "api_key.revoked", Risk.HIGH, "An API key was revoked."
    API_KEY_EXPIRED = "api_key.expired", Risk.MEDIUM, "An API key reached its end."
    API_KEY_USED_FROM_NEW_NETWORK = (
        "api_key.used_from_new_network",
        Risk.MEDIUM,
        "An API key was used from a network not seen before.",
    )

    AUTH_LOGIN_SUCCEEDED = "auth.login_succeeded", Risk.LOW, "A person signed in."
    AUTH_LOGIN_FAILED = "auth.login_failed", Risk.MEDIUM, "A sign-in failed."
    AUTH_LOGGED_OUT = "auth.logged_out", Risk.LOW, "A person signed out."
    AUTH_STEP_UP_COMPLETED = "auth.step_up_completed", Risk.MEDIUM, "A person authenticated again for one action."
    AUTHZ_DENIED = "authz.denied", Risk.HIGH, "Someone asked for what they may not do."

    USER_CREATED = "user.created", Risk.MEDIUM, "An account was created."
    USER_UPDATED = "user.updated", Risk.MEDIUM, "An account was changed."
    USER_PASSWORD_CHANGED = "user.password_changed", Risk.HIGH, "The password of an account was changed."
    USER_EMAIL_CHANGED = "user.email_changed", Risk.HIGH, "The e-mail addresses of an account were changed."
    USER_AUTHENTICATOR_ADDED = "user.authenticator_added", Risk.HIGH, "A second factor was added to an account."
    USER_AUTHENTICATOR_CHANGED = "user.authenticator_changed", Risk.MEDIUM, "A second factor was used or changed."
    USER_AUTHENTICATOR_REMOVED = "user.authenticator_removed", Risk.HIGH, "A second factor was removed from an account."
    USER_DELETED = (
        "user.deleted",
        Risk.HIGH,
        "An account was emptied: its name, address and password are gone, and its id stays.",
    )

    WORKSPACE_CREATED = "workspace.created", Risk.HIGH, "A workspace was created."
    WORKSPACE_SETTINGS_CHANGED = "workspace.settings_changed", Risk.MEDIUM, "Settings of a workspace were changed."
    ENVIRONMENT_CREATED = "environment.created", Risk.MEDIUM, "An environment was created."
    ENVIRONMENT_UPDATED = "environment.updated", Risk.HIGH, "An environment was changed."
    INVITATION_ACCEPTED = "invitation.accepted", Risk.MEDIUM, "An invited person joined."
    INVITATION_REVOKED = "invitation.revoked", Risk.MEDIUM, "An invitation was taken back."
    MEMBER_INVITED = "member.invited", Risk.MEDIUM, "A person was invited."
    MEMBER_ADDED = "member.added", Risk.HIGH, "A person became a member."
    MEMBER_ROLE_CHANGED = "member.role_changed", Risk.HIGH, "The roles of a member were changed."
    MEMBER_REMOVED = "member.removed", Risk.HIGH, "A member was removed."
    MEMBER_ERASED = "member.erased", Risk.CRITICAL, "The personal data of a member was destroyed; the events stay."
    LEGAL_HOLD_ENGAGED = "legal_hold.engaged", Risk.CRITICAL, "What a hold covers may be neither erased nor expire."
    LEGAL_HOLD_RELEASE_ASKED = (
        "legal_hold.release_asked",
        Risk.HIGH,
        "A person asked to release a legal hold; a second one must agree.",
    )
    LEGAL_HOLD_RELEASED = "legal_hold.released", Risk.CRITICAL, "Two people released a legal hold."
    RETENTION_CHANGED = "retention.changed", Risk.CRITICAL, "How long something is kept was changed."
    CONFIG_IMPORTED = "config.imported", Risk.HIGH, "Configuration was imported from files."
    CONFIG_DRIFT_DETECTED = "config.drift_detected", Risk.HIGH, "The configuration differs from its files."

    BUS_PUBLISHED = "bus.published", Risk.LOW, "A message was published."
    BUS_DELIVERED = "bus.delivered", Risk.LOW, "A message was delivered."
    BUS_DELIVERY_FAILED = "bus.delivery_failed", Risk.MEDIUM, "A message could not be delivered."
    BUS_LOOP_STOPPED = "bus.loop_stopped", Risk.HIGH, "Messages went in a circle and were stopped."
    WEBHOOK_SIGNATURE_FAILED = "webhook.signature_failed", Risk.HIGH, "A webhook came with a wrong signature."

    CONTROL_CHANGED = "control.changed", Risk.HIGH, "Facts of a halt were changed."
    HALT_ENGAGED = "halt.engaged", Risk.CRITICAL, "Work of a scope was halted."
    HALT_RELEASED = "halt.released", Risk.CRITICAL, "A halt was released."
    INCIDENT_OPENED = "incident.opened", Risk.HIGH, "An incident was opened."
    INCIDENT_EVIDENCE_FROZEN = "incident.evidence_frozen", Risk.HIGH, "Evidence of an incident was frozen."
    INCIDENT_NOTE_ADDED = "incident.note_added", Risk.LOW, "A note was added to an incident."
    INCIDENT_SUBJECT_NOTIFIED = "incident.subject_notified", Risk.HIGH, "People concerned by an incident were notified."
    INCIDENT_CLOSED = "incident.closed", Risk.HIGH, "An incident was closed."
    DRILL_COMPLETED = "drill.completed", Risk.MEDIUM, "A drill was played to its end."

    ANOMALY_DETECTED = "anomaly.detected", Risk.HIGH, "Behavior left its baseline."
    BASELINE_UPDATED = "baseline.updated", Risk.LOW, "A baseline was computed anew."
    DRIFT_DETECTED = "drift.detected", Risk.HIGH, "The quality of an agent's answers changed."
    COST_SPIKE_DETECTED = "cost.spike_detected", Risk.MEDIUM, "Cost rose above its usual range."

    REVIEW_STARTED = "review.started", Risk.LOW, "A review of rights began."
    REVIEW_ATTESTED = "review.attested", Risk.HIGH, "A person confirmed which rights stay."
    REDTEAM_RUN_COMPLETED = "redteam.run_completed", Risk.MEDIUM, "An attack corpus was played."
    REDTEAM_FINDING_OPENED = "redteam.finding_opened", Risk.HIGH, "An attack worked."
    REDTEAM_FINDING_CLOSED = "redteam.finding_closed", Risk.MEDIUM, "A finding was fixed and tested again."
    THREAT_MODEL_APPROVED = "threat_model.approved", Risk.MEDIUM, "A version of the threat model was approved."

    AUDIT_CHECKPOINT_SIGNED = "audit.checkpoint_signed", Risk.LOW, "The log was sealed up to a point."
    AUDIT_VERIFIED = "audit.verified", Risk.LOW, "A range of the log was verified."
    AUDIT_VERIFICATION_FAILED = "audit.verification_failed", Risk.CRITICAL, "A range of the log does not verify."
    AUDIT_EPOCH_STARTED = (
        "audit.epoch_started",
        Risk.CRITICAL,
        "A log was begun anew, because the database did not continue what was published of it.",
    )
    AUDIT_TIMELINE_RECONCILED = (
        "audit.timeline_reconciled",
        Risk.CRITICAL,
        "Somebody looked into what a restore or a failover may have lost; what must be called once is called again.",
    )
    AUDIT_SEALING_STALLED = "audit.sealing_stalled", Risk.HIGH, "Events wait longer for the sealer than they should."
    AUDIT_ANCHOR_FAILED = (
        "audit.anchor_failed",
        Risk.HIGH,
        "A place outside the database does not take checkpoints of the log.",
    )
    AUDIT_ROW_ALTERED = (
        "audit.row_altered",
        Risk.CRITICAL,
        "A governed row differs from its newest signed event: somebody changed it past the platform.",
    )
    AUDIT_VIEWED = (
        "audit.viewed",
        Risk.LOW,
        "Somebody read the log; one event stands for an hour of reading the same.",
    )
    AUDIT_VIEW_SAVED = "audit.view_saved", Risk.LOW, "A member gave a name to filters of the log."
    AUDIT_VIEW_REMOVED = "audit.view_removed", Risk.LOW, "A member removed named filters of the log."
    AUDIT_EXPORT_REQUESTED = "audit.export_requested", Risk.MEDIUM, "A member asked for a bundle of events."
    AUDIT_EXPORTED = "audit.exported", Risk.HIGH, "Events left in a bundle, or in a stream on the host."
    AUDIT_EXPORT_FETCHED = "audit.export_fetched", Risk.HIGH, "A member took a bundle of events away."
    AUDIT_DETAIL_ERASED = (
        "audit.detail_erased",
        Risk.HIGH,
        "The erasable detail of events was destroyed; the events stay.",
    )
    AUDIT_PARTITION_EXPIRED = (
        "audit.partition_expired",
        Risk.CRITICAL,
        "A month of events left the log after its seven years; its leaves stay, and every proof goes on holding.",
    )
    AUDIT_PARTITION_MISSING = (
        "audit.partition_missing",
        Risk.CRITICAL,
        "The next month of the log could not be made; without it nothing can be written when it begins.",
    )
    AUDIT_GUARD_CHECKED = (
        "audit.guard_checked",
        Risk.LOW,
        "Every wall of the database was compared with the code, and none differs.",
    )
    AUDIT_GUARD_MISSING = "audit.guard_missing", Risk.CRITICAL, "A guard in the database is missing or was changed."
    AUDIT_SINK_CREATED = (
        "audit.sink_created",
        Risk.HIGH,
        "A receiver of the log was registered: from now on events leave for it.",
    )
    AUDIT_SINK_CHANGED = "audit.sink_changed", Risk.HIGH, "A receiver's address, secret or filter was changed."
    AUDIT_SINK_ENABLED = (
        "audit.sink_enabled",
        Risk.HIGH,
        "A disabled receiver gets events again, from where it stopped.",
    )
    AUDIT_SINK_DISABLED = "audit.sink_disabled", Risk.HIGH, "A receiver gets no events until somebody enables it."
    AUDIT_SINK_REMOVED = "audit.sink_removed", Risk.HIGH, "A receiver was removed for good."
    AUDIT_SINK_FAILED = "audit.sink_failed", Risk.HIGH, "A receiver of events does not answer."
    AUDIT_SINK_RECOVERED = "audit.sink_recovered", Risk.LOW, "A receiver that did not answer has confirmed again."
    AUDIT_DIGEST_CREATED = "audit.digest_created", Risk.MEDIUM, "A regular mail about the log was set up."
    AUDIT_DIGEST_CHANGED = "audit.digest_changed", Risk.MEDIUM, "What a regular mail tells, or to whom, was changed."
    AUDIT_DIGEST_REMOVED = "audit.digest_removed", Risk.MEDIUM, "A regular mail about the log was ended."
    AUDIT_DIGEST_SENT = "audit.digest_sent", Risk.LOW, "The mail about one period of the log was handed to the relay."
    AUDIT_DIGEST_FAILED = "audit.digest_failed", Risk.MEDIUM, "The mail about one period of the log could not be sent."
    AUDIT_KEY_ROTATED = "audit.key_rotated", Risk.CRITICAL, "A signing key was replaced."
    AUDIT_KEY_ROTATION_DUE = "audit.key_rotation_due", Risk.MEDIUM, "A signing key is older than it should be."
    AUDIT_KEYS_BACKED_UP = "audit.keys_backed_up", Risk.CRITICAL, "All keys were sealed to a recovery key."
    AUDIT_KEYS_RESTORED = "audit.keys_restored", Risk.CRITICAL, "Keys were put back from a sealed copy."


DECISIONS = frozenset(
    {
        Event.APPROVAL_APPROVED,
        Event.APPROVAL_REJECTED,
        Event.APPROVAL_DECISION_RECORDED,
        Event.APPROVAL_PAYLOAD_EDITED,
    }
)
"""What only people say, where they sign in: events of no process but web (T01)."""
OF_THE_HOST = (
    *(Event.AUDIT_KEY_ROTATED, Event.AUDIT_KEYS_BACKED_UP, Event.AUDIT_KEYS_RESTORED),
    Event.AUDIT_TIMELINE_RECONCILED,
)
"""What is told by whoever keeps the keys, on the host, as the migrator and under any of the keys. Nobody else tells it."""
OF_THE_LOG = (Event.AUDIT_DETAIL_ERASED, Event.AUDIT_PARTITION_EXPIRED, Event.AUDIT_KEY_ROTATED)
"""By what these tell, the log is verified: what may be missing from it, and who may sign. They outlive their month."""
