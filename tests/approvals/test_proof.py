"""A decision counts when a web process signed that this person decided exactly this (T01); each compared field counts."""

from base64 import b64encode

import pytest

from approvals.errors import DecisionNotProven
from approvals.models import ApprovalDecision, ApprovalRequest
from approvals.proof import proven
from audit import services as audit
from audit.envelope import EventContext
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.ids import uuid7
from tests.attacks.log import plant, told_by

REASON = "Checked with the contract."
EVENTS = {"approve": Event.APPROVAL_APPROVED, "reject": Event.APPROVAL_REJECTED}


def signed(approval, by, verdict="approve", **changes):
    """An event of the web that says: this person decided this request."""
    says = {
        "actor": by,
        "event": EVENTS[verdict],
        "target": Target(ApprovalRequest.audit_type, str(approval.pk)),
        "context": EventContext(action_digest=approval.digest),
    }
    return record(**{**says, **changes})


def decided(approval, by, event_id, verdict="approve", **changes):
    """A decision as a row would hold it, and the request as it would stand after it."""
    approval.status = "approved" if verdict == "approve" else "rejected"
    approval.approved_digest = approval.digest
    values = {
        "workspace_id": approval.workspace_id,
        "request": approval,
        "verdict": verdict,
        "payload": approval.payload,
        "digest": approval.digest,
        "reason": REASON,
        "decided_by": by.id,
        "event_id": event_id,
    }
    return ApprovalDecision(**{**values, **changes})


def refused(approval, *decisions):
    with pytest.raises(DecisionNotProven):
        proven(approval, decisions)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_decision_with_its_event_is_proven(approval, approver, verdict):
    """The control of every refusal below."""
    decision = decided(approval, approver, signed(approval, approver, verdict).id, verdict)
    assert proven(approval, [decision]) == [decision]


SAYS = {
    "verdict": lambda _approval, _second: {"event": Event.APPROVAL_REJECTED},
    "request": lambda _approval, _second: {"target": Target(ApprovalRequest.audit_type, str(uuid7()))},
    "kind of object": lambda approval, _second: {"target": Target("tool_call", str(approval.pk))},
    "person": lambda _approval, second: {"actor": second},
    "digest": lambda _approval, _second: {"context": EventContext(action_digest="0" * 64)},
    "no digest": lambda _approval, _second: {"context": EventContext()},
}


@pytest.mark.parametrize("field", SAYS)
def test_an_event_of_the_web_that_says_something_else_proves_nothing(approval, approver, second_approver, field):
    event = signed(approval, approver, **SAYS[field](approval, second_approver))
    refused(approval, decided(approval, approver, event.id))


def test_a_decision_without_its_event_proves_nothing(approval, approver):
    signed(approval, approver)
    refused(approval, decided(approval, approver, uuid7()))


def test_a_signature_that_does_not_fit_the_bytes_proves_nothing(approval, approver, settings):
    """The event is there, from the right role and saying the right thing, signed with a key that is not the web's."""
    genuine = settings.AUDIT_MAC_KEYS
    settings.AUDIT_MAC_KEYS = {**genuine, "web-1": b64encode(b"f" * 32).decode()}
    audit._keys.cache_clear()
    try:
        event = signed(approval, approver)
    finally:
        settings.AUDIT_MAC_KEYS = genuine
        audit._keys.cache_clear()
    refused(approval, decided(approval, approver, event.id))


def test_an_event_that_another_process_signed_proves_nothing(approval, approver):
    event = told_by("worker", approver, object_id=str(approval.pk), digest=approval.digest)
    plant(event)
    refused(approval, decided(approval, approver, event.id))


def test_without_the_webs_key_no_decision_counts(approval, approver, settings):
    decision = decided(approval, approver, signed(approval, approver).id)
    settings.AUDIT_MAC_KEYS = {kid: key for kid, key in settings.AUDIT_MAC_KEYS.items() if kid == "worker-1"}
    settings.AUDIT_SIGNS_AS = "worker"
    refused(approval, decision)


def test_a_request_for_two_people_is_not_proven_by_one(approval, approver, second_approver):
    approval.quorum = 2
    one = decided(approval, approver, signed(approval, approver).id)
    refused(approval, one)
    same_again = decided(approval, approver, signed(approval, approver).id)
    refused(approval, one, same_again)
    other = decided(approval, second_approver, signed(approval, second_approver).id)
    assert proven(approval, [one, other]) == [one, other]


def test_one_rejection_is_enough(approval, approver):
    approval.quorum = 2
    decision = decided(approval, approver, signed(approval, approver, "reject").id, "reject")
    assert proven(approval, [decision]) == [decision]


def test_an_approval_of_another_payload_does_not_count_towards_this_one(approval, approver, second_approver):
    approval.quorum = 2
    one = decided(approval, approver, signed(approval, approver).id)
    elsewhere = EventContext(action_digest="1" * 64)
    event = signed(approval, second_approver, context=elsewhere)
    refused(approval, one, decided(approval, second_approver, event.id, digest="1" * 64))
