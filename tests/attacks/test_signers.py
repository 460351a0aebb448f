"""A hijacked worker or gateway signs with the key it has, and tells of things that only people do (T01)."""

import pytest
from django.db import connection, transaction

from audit import one_event, verify
from audit.envelope import storing
from audit.signing import may_sign
from audit.taxonomy import DECISIONS, Event
from provenance.actor import Actor
from provenance.postgres.refusals import EventNotAccepted
from tests.attacks.log import plant, told_by


def store(event):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(*storing([event]))


@pytest.mark.parametrize("process", ["worker", "gateway"])
@pytest.mark.parametrize("event", [*sorted(DECISIONS), Event.MEMBER_REMOVED])
def test_it_stores_no_event_of_a_person(approver, as_role, process, event):
    """T01: the log would say that this person did it, and nothing would look wrong."""
    with as_role(process), pytest.raises(EventNotAccepted, match="told by web"):
        store(told_by(process, approver, event))


@pytest.mark.parametrize("process", ["worker", "gateway"])
@pytest.mark.parametrize("event", sorted(DECISIONS))
def test_it_stores_no_decision_of_its_own_either(workspace, as_role, process, event):
    with as_role(process), pytest.raises(EventNotAccepted, match="told by web"):
        store(told_by(process, Actor.system("engine", workspace.id), event))


def test_it_goes_on_telling_what_it_did_itself(workspace, as_role, events):
    """The control."""
    with as_role("worker"):
        store(told_by("worker", Actor.system("engine", workspace.id), Event.APPROVAL_EXPIRED))
    assert len(events(Event.APPROVAL_EXPIRED)) == 1


@pytest.fixture
def forged(workspace, approver):
    """What a log would hold where the database's own check was away for a while."""
    event = told_by("worker", approver)
    plant(event)
    return event


def test_a_decision_under_a_workers_key_is_shown_as_not_valid(forged, auditor):
    """T01: its MAC is good, and it proves nothing."""
    assert one_event.event_detail(actor=auditor, event_id=forged.id).proof.signature_valid is False


def problems(workspace_id, line, said):
    """What the verifier says of an event without MAC keys."""
    return list(verify.problems((str(workspace_id) if workspace_id else None, {}), line, said))


def test_the_verifier_finds_it_without_keys_too(forged):
    line = (forged.body.encode(), forged.mac, b"worker-1", "", {})
    found = problems(forged.workspace_id, line, verify.read_body(line[0]))
    assert [kind for kind, _words in found] == ["wrong signer"]


def test_the_verifier_knows_the_same_rule_as_the_platform():
    assert {str(event).encode() for event in DECISIONS} == verify.DECISIONS
    for kid in ("web-1", "web-12", "setup-1", "worker-1", "gateway-1", "web"):
        said = {"kid": kid.encode(), "workspace": b"", "action": b"approval.approved", "actor": b"user"}
        found = problems(None, (b"", b"", kid.encode(), "", {}), said)
        assert may_sign(kid, action="approval.approved", actor_type="user") is not bool(found)
