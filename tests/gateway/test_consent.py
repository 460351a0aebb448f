"""What counts as a person's yes: one decision under the web's key, about exactly this call, and each compared field counts."""

import json
from base64 import b64encode
from uuid import UUID, uuid4

import pytest

from approvals.digest import ActionFacts, action_digest
from audit import envelope
from audit import services as audit
from audit.envelope import EventContext, ObjectFacts
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.calls.consent import CONFLICTED, MISMATCH, NOT_AS_SIGNED, UNPROVEN, Approved, Pending, consent
from gateway.contract import CallState
from gateway.decision import Deny
from provenance.actor import Actor, ActorKind
from tests.gateway.approving import approve, asked

WORKSPACE, REQUEST, RUN, CALL = (UUID(int=number, version=4) for number in range(1, 5))
ALICE, BOB = UUID(int=11, version=4), UUID(int=12, version=4)
KEYS = KeyRing(
    current="gateway-1", roots={kid: kid.encode().ljust(32, b".") for kid in ("web-1", "worker-1", "gateway-1")}
)
ARGUMENTS = {"vendor": "V-1", "terms": "NET60"}
FACTS = ActionFacts(
    workspace_id=WORKSPACE,
    call_key="run:update:1",
    environment="production",
    tool="erp.setTerms",
    pin="a" * 64,
    target="http://127.0.0.1:8421",
    workflow_version="b" * 64,
    policy_digest="c" * 64,
)
DIGEST = action_digest(FACTS, ARGUMENTS)


def decision(*, by=ALICE, kid="web-1", says=None, mac=None, **row):
    """A row of `sql.APPROVAL_DECISIONS` with its event; `says` changes what the event says, under a valid signature."""
    signer = KeyRing(current=kid, roots=KEYS.roots)
    event = envelope.build(
        keys=signer,
        actor=Actor(kind=ActorKind.USER, id=str(by), label="", workspace_id=WORKSPACE, via="session"),
        event=Event.APPROVAL_APPROVED,
        target=ObjectFacts(type="approval", id=str(REQUEST)),
        workspace_id=WORKSPACE,
        context=EventContext(action_digest=DIGEST),
    )
    body = json.dumps({**json.loads(event.body), **(says or {})})
    return {
        "id": uuid4(),
        "request_id": REQUEST,
        "verdict": "approve",
        "payload": ARGUMENTS,
        "digest": DIGEST,
        "decided_by": by,
        "changed_fields": [],
        "event_id": event.id,
        "kid": kid,
        "body": body,
        "mac": mac or signer.signing_key(WORKSPACE).mac(body.encode()),
        **row,
    }


def said(*decisions, call_id=CALL, run_id=RUN, conflicted=(), keys=KEYS, again=False, **request):
    """What `consent` makes of an approved request with these decisions."""
    row = {
        "id": REQUEST,
        "status": "approved",
        "origin": "run_step",
        "origin_id": uuid4(),
        "run_id": RUN,
        "digest": DIGEST,
        "approved_digest": DIGEST,
        "quorum": 1,
        "risk": "high",
        "is_consumed": False,
        **request,
    }
    return consent(
        row,
        decisions,
        facts=FACTS,
        arguments=ARGUMENTS,
        call_id=call_id,
        run_id=run_id,
        consumed_by_this_call=again,
        conflicted=frozenset(conflicted),
        keys=keys,
    )


def rule(answer):
    assert isinstance(answer, Deny), answer
    return answer.rule


def test_one_signed_decision_about_this_call_covers_it():
    """The control of every refusal below."""
    answer = said(decision())
    assert isinstance(answer, Approved)
    assert (answer.arguments, answer.is_edited, answer.digest) == (ARGUMENTS, False, DIGEST)


@pytest.mark.parametrize(
    "says",
    [
        {"action": Event.APPROVAL_REJECTED.value},
        {"kid": "web-2"},
        {"id": str(uuid4())},
        {"workspace": str(uuid4())},
        {"object": {"type": "run", "id": str(REQUEST)}},
        {"object": {"type": "approval", "id": str(uuid4())}},
        {"actor": {"type": "user", "id": str(BOB)}},
        {"actor": {"type": "agent", "id": str(ALICE)}},
        {"context": {"action_digest": "0" * 64}},
        {"context": {}},
    ],
    ids=[
        "verdict",
        "key id",
        "event",
        "workspace",
        "kind of object",
        "request",
        "person",
        "kind of actor",
        "digest",
        "no digest",
    ],
)
def test_an_event_of_the_console_that_says_something_else_is_no_approval(says):
    """T01: the signature is the web's and valid; it is put under another decision than it was made for."""
    assert rule(said(decision(says=says))) == UNPROVEN


@pytest.mark.parametrize("kid", ["worker-1", "gateway-1"])
def test_only_the_console_signs_decisions(kid):
    """T01: the gateway holds this key too, and the signature is valid under it."""
    assert rule(said(decision(kid=kid))) == UNPROVEN


def test_a_signature_that_does_not_fit_the_bytes_proves_nothing():
    assert rule(said(decision(mac=bytes(32)))) == UNPROVEN


def test_a_signature_of_another_workspaces_key_proves_nothing():
    honest = decision()
    foreign = KEYS.key("web-1", uuid4()).mac(honest["body"].encode())
    assert rule(said({**honest, "mac": foreign})) == UNPROVEN


def test_a_signature_under_a_key_that_the_gateway_does_not_hold_proves_nothing():
    without_web = KeyRing(current="gateway-1", roots={"gateway-1": KEYS.roots["gateway-1"]})
    assert rule(said(decision(), keys=without_web)) == UNPROVEN


def test_a_decision_without_an_event_proves_nothing():
    assert rule(said(decision(kid="web-1") | {"kid": None, "body": None, "mac": None})) == UNPROVEN


def test_a_decision_for_other_arguments_does_not_count_towards_these():
    other = action_digest(FACTS, {**ARGUMENTS, "terms": "NET30"})
    assert rule(said(decision(), decision(by=BOB, digest=other), quorum=2)) == UNPROVEN


def test_a_rejection_does_not_count_as_one_of_two_approvals():
    assert rule(said(decision(), decision(by=BOB, verdict="reject"), quorum=2)) == UNPROVEN


@pytest.mark.parametrize("request_says", [{"quorum": 2}, {"quorum": 1, "risk": "critical"}], ids=["quorum", "risk"])
def test_two_people_are_two_people(request_says):
    """T22, M099: one person twice is one, and a request that asks for fewer than its risk needs is not believed."""
    assert rule(said(decision(), **request_says)) == UNPROVEN
    assert rule(said(decision(), decision(), **request_says)) == UNPROVEN
    assert isinstance(said(decision(), decision(by=BOB), **request_says), Approved)


def test_whoever_asked_does_not_approve():
    """T22."""
    assert rule(said(decision(), conflicted=[ALICE])) == CONFLICTED
    assert isinstance(said(decision(), decision(by=BOB), conflicted=[ALICE]), Approved)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"run_id": uuid4()},
        {"run_id": None},
        {"origin": "tool_call", "origin_id": uuid4()},
    ],
    ids=["another run", "an outside client", "another call"],
)
def test_an_approval_does_not_travel(elsewhere):
    """T05: what was approved for one run or call is good for no other."""
    assert rule(said(decision(), **elsewhere)) == MISMATCH


def test_an_approval_of_the_call_itself_needs_no_run():
    assert isinstance(said(decision(), origin="tool_call", origin_id=CALL, run_id=None), Approved)


@pytest.mark.parametrize("status", ["rejected", "expired", "withdrawn", "superseded", "something new"])
def test_what_was_not_approved_covers_nothing(status):
    assert rule(said(decision(), status=status)) == f"approval.{status}"


@pytest.mark.parametrize("status", ["pending", "escalated"])
def test_what_nobody_decided_yet_waits(status):
    assert said(decision(), status=status) == Pending(REQUEST)


def test_an_approval_is_good_for_one_call_and_for_its_repeat():
    """T05."""
    assert rule(said(decision(), is_consumed=True)) == "approval.consumed"
    assert isinstance(said(decision(), is_consumed=True, again=True), Approved)


def test_the_digest_of_the_row_is_computed_anew():
    """T05: a row that claims a digest for other arguments does not make it theirs."""
    other = {**ARGUMENTS, "terms": "NET30"}
    assert rule(said(decision(payload=other))) == MISMATCH


def test_an_edit_covers_the_call_as_it_was_asked_and_sends_the_edit():
    asked_for = action_digest(FACTS, ARGUMENTS)
    edited = {**ARGUMENTS, "terms": "NET30"}
    agreed = action_digest(FACTS, edited)
    yes = decision(payload=edited, digest=agreed, says={"context": {"action_digest": agreed}})
    answer = said(yes, digest=asked_for, approved_digest=agreed)
    assert isinstance(answer, Approved)
    assert (answer.arguments, answer.is_edited) == (edited, True)
    assert rule(said(yes, digest="0" * 64, approved_digest=agreed)) == MISMATCH


def test_a_decision_under_another_web_key_than_the_gateways_performs_nothing(world, erp, settings):
    """T01, end to end: the row, the event and the role are right, and the signature is somebody else's."""
    request = asked(world, vendor="V-1", terms="NET60")
    genuine = settings.AUDIT_MAC_KEYS
    try:
        settings.AUDIT_MAC_KEYS = {**genuine, "web-1": b64encode(b"f" * 32).decode()}
        audit._keys.cache_clear()
        approve(world, request.pk)
    finally:
        settings.AUDIT_MAC_KEYS = genuine
        audit._keys.cache_clear()
    response = world.call(
        "ledger", "erp.setTerms", key="run:update:1", approval_id=request.pk, vendor="V-1", terms="NET60"
    )
    assert (response.state, response.rule) == (CallState.BLOCKED, NOT_AS_SIGNED)
    assert not erp.calls
    assert world.rule(Event.MCP_TOOL_BLOCKED) == NOT_AS_SIGNED
