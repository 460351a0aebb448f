"""Every event there is gets raised by some service, or is listed here as of a part that is still to come."""

import re
from pathlib import Path

from audit.taxonomy import Event

CHECKOUT = Path(__file__).resolve().parent.parent.parent
APPS = (
    "provenance",
    "audit",
    "workspaces",
    "secrets_vault",
    "approvals",
    "agents",
    "apikeys",
    "gateway",
    "workflows",
    "streams",
)
OLD_NAMES = re.compile(r"[a-z_]+\.[a-z_]+")

TO_COME = {
    # skills and workflow readiness
    "skill.created",
    "skill.updated",
    "skill.invoked",
    "skill.completed",
    "skill.input_rejected",
    "skill.sandbox_violation",
    "workflow.readiness_waived",
    "workflow.rolled_back",
    "workflow.deleted",
    "workflow.trigger_changed",
    "classification.changed",
    "taint.escalated",
    # replay, debugging and further step kinds
    "run.updated",
    "run.step_created",
    "run.step_retried",
    "run.replayed",
    "run.rejected",
    "run.expired",
    "run.output_released",
    "run.debugger_opened",
    "model.output_blocked",
    "model.budget_warning",
    # screening and further gateway rules
    "mcp.server_updated",
    "mcp.rate_limited",
    "mcp.circuit_opened",
    "mcp.circuit_closed",
    "gateway.policy_changed",
    "gateway.mode_changed",
    "policy.simulated",
    "dlp_policy.deleted",
    "dlp.false_positive_marked",
    "injection.detected",
    "injection.canary_triggered",
    "injection.screened",
    "action.inconsistent",
    # escalation, delegation and grants in advance
    "approval.viewed",
    "approval.evidence_added",
    "approval.delegated",
    "approval.escalated",
    "approval.grant_created",
    "approval.grant_used",
    "approval.grant_revoked",
    # rotation, connections and further sign-in
    "secret.accessed",
    "secret.rotation_failed",
    "connection.created",
    "connection.updated",
    "connection.accessed",
    "connection.failed",
    "api_key.rotated",
    "api_key.expired",
    "api_key.used_from_new_network",
    "user.email_changed",
    "user.authenticator_added",
    "user.authenticator_changed",
    "user.authenticator_removed",
    # settings, erasure, configuration as files
    "workspace.settings_changed",
    "environment.updated",
    "invitation.revoked",
    "config.imported",
    "config.drift_detected",
    # bus and webhooks
    "bus.published",
    "bus.delivered",
    "bus.delivery_failed",
    "bus.loop_stopped",
    "webhook.signature_failed",
    # incidents, monitoring and reviews
    "control.changed",
    "incident.opened",
    "incident.evidence_frozen",
    "incident.note_added",
    "incident.subject_notified",
    "incident.closed",
    "drill.completed",
    "anomaly.detected",
    "baseline.updated",
    "drift.detected",
    "cost.spike_detected",
    "review.started",
    "review.attested",
    "redteam.run_completed",
    "redteam.finding_opened",
    "redteam.finding_closed",
    "threat_model.approved",
}


def raised():
    """What the code of the apps names, the taxonomy itself and the migrations aside."""
    sources = [path for app in APPS for path in (CHECKOUT / app).rglob("*.py")]
    texts = [
        path.read_text("utf-8")
        for path in sources
        if "migrations" not in path.parts and path.name not in {"taxonomy.py", "classes.py"}
    ]
    # The commands that copy keys start without Django, and name theirs to the process that tells them.
    names = {name for text in texts for name in re.findall(r"\b(?:Event\.|_tell\(\")([A-Z][A-Z0-9_]+)\b", text)}
    return {event for event in Event if event.name in names}


def test_every_event_is_raised_or_of_a_part_to_come():
    unraised = {event.value for event in Event} - {event.value for event in raised()}
    assert unraised - TO_COME == set(), "raise it in a service, or list it under its part"
    assert TO_COME - unraised == set(), "it is raised now: take it off the list"


def test_names_and_sentences_are_in_one_form():
    for event in Event:
        assert OLD_NAMES.fullmatch(event.value)
        assert event.name == event.value.replace(".", "_").upper()
        assert event.sentence.endswith(".")
        assert event.sentence[0].isupper()
