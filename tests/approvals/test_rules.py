"""Who may decide: people with the right who did not ask for the change (T22, M093)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from approvals.rules import Bar, Requester, may_decide, quorum, reason_is_enough, too_new
from provenance.actor import Actor, ActorKind
from provenance.permissions import SCOPES, Permission
from provenance.risk import Risk

PERSON = uuid4()
NOW = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)


def actor(kind=ActorKind.USER, permissions=(Permission.APPROVALS_DECIDE,), person=PERSON):
    return Actor(
        kind=kind, id=str(person), label="Maya", workspace_id=uuid4(), permissions=frozenset(permissions), via="session"
    )


def requester(**changes):
    return Requester(
        **{"kind": "agent", "id": "agent-1", "on_behalf_of": "", "conflicted_user_ids": frozenset(), **changes}
    )


def test_an_approver_who_did_not_ask_may_decide():
    assert may_decide(actor(), requester()) is None


@pytest.mark.parametrize("kind", [ActorKind.INTEGRATION, ActorKind.AGENT, ActorKind.SYSTEM])
def test_only_a_person_decides(kind):
    assert may_decide(actor(kind, Permission), requester()).bar is Bar.NOT_A_PERSON


def test_no_scope_of_a_key_is_the_right_to_decide():
    assert may_decide(actor(permissions=SCOPES), requester()).bar is Bar.MISSING_PERMISSION


@pytest.mark.parametrize(
    ("change", "bar"),
    [
        ({"id": str(PERSON), "kind": "user"}, Bar.REQUESTER),
        ({"on_behalf_of": str(PERSON)}, Bar.REQUESTER),
        ({"conflicted_user_ids": frozenset({PERSON, uuid4()})}, Bar.CONFLICTED),
    ],
    ids=["asked", "owns the key that asked", "published or started it"],
)
def test_whoever_asked_does_not_decide(change, bar):
    assert may_decide(actor(), requester(**change)).bar is bar


def test_nobody_decides_twice():
    assert may_decide(actor(), requester(), decided_by=[UUID(int=1), PERSON]).bar is Bar.HAS_DECIDED


def test_the_refusal_is_a_sentence_for_people():
    refusal = may_decide(actor(), requester(on_behalf_of=str(PERSON)))
    assert refusal.words == "You asked for this change, so someone else decides."


@pytest.mark.parametrize(
    ("risk", "hours", "counts"),
    [
        (Risk.CRITICAL, 0, False),
        (Risk.CRITICAL, 23.99, False),
        (Risk.CRITICAL, 24, True),
        (Risk.CRITICAL, 10_000, True),
        (Risk.CRITICAL, None, False),
        (Risk.HIGH, 0, True),
        (Risk.LOW, None, True),
    ],
)
def test_a_critical_quorum_counts_who_has_had_their_roles_for_a_day(risk, hours, counts):
    given = None if hours is None else NOW - timedelta(hours=hours)
    assert (too_new(risk, given, NOW) is None) is counts


def test_a_newcomer_is_told_from_when_on_their_yes_counts():
    refusal = too_new(Risk.CRITICAL, NOW - timedelta(hours=1), NOW)
    assert refusal.bar is Bar.TOO_NEW
    assert "You may approve after 13:05 UTC on 22 November 2026." in refusal.words


def test_critical_risk_takes_two_people():
    assert [quorum(risk) for risk in Risk] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("risk", "reason", "enough"),
    [
        (Risk.LOW, "", True),
        (Risk.MEDIUM, "", True),
        (Risk.HIGH, "ok", False),
        (Risk.HIGH, "  short   " + " " * 20, False),
        (Risk.HIGH, "0123456789", True),
        (Risk.CRITICAL, "012345678", False),
    ],
)
def test_high_and_critical_risk_need_a_reason_of_ten_characters(risk, reason, enough):
    assert reason_is_enough(risk, reason) is enough
