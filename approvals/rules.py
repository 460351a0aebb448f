"""Who may decide: a person with the right, who neither asked for the change nor gains by it. Plain values, no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from provenance.actor import Actor, ActorKind
from provenance.permissions import Permission
from provenance.risk import Risk

MINIMUM_REASON = 10
"""Characters of a reason for high and critical risk: auditors read it."""

SETTLED_AFTER = timedelta(hours=24)
"""How long somebody has had their roles before their yes counts in a critical quorum."""


class Bar(StrEnum):
    """Why someone may not decide."""

    NOT_A_PERSON = "not_a_person"
    MISSING_PERMISSION = "missing_permission"
    REQUESTER = "requester"
    CONFLICTED = "conflicted"
    HAS_DECIDED = "has_decided"
    TOO_NEW = "too_new"


_WORDS = {
    Bar.NOT_A_PERSON: "Only a person who is signed in decides. A key, an agent and the system cannot.",
    Bar.MISSING_PERMISSION: "Approvers decide. You may read this and follow what happens.",
    Bar.REQUESTER: "You asked for this change, so someone else decides.",
    Bar.CONFLICTED: "You started, own or published what asks for this change, so someone else decides.",
    Bar.HAS_DECIDED: "You have approved this. A second person decides now.",
    Bar.TOO_NEW: (
        "You were given your roles here less than 24 hours ago, so your approval of critical risk does not count yet. "
        "You may approve after {until:%H:%M} UTC on {until:%-d %B %Y}. You may reject now."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asked: the actor, the person it acts for, and everyone else who counts as having asked (T22)."""

    kind: str
    id: str
    on_behalf_of: str
    conflicted_user_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bar and the sentence a person reads beside the disabled button. `until`: when it lifts by itself."""

    bar: Bar
    until: datetime | None = None

    @property
    def words(self) -> str:
        """The sentence."""
        return _WORDS[self.bar].format(until=self.until)


def may_decide(actor: Actor, requester: Requester, *, decided_by: Iterable[UUID] = ()) -> Refusal | None:
    """None when the actor may decide; otherwise why not. Neither risk nor role lifts a separation of duties.

    `decided_by`: who has already decided this request, where it needs two people.
    """
    if actor.kind is not ActorKind.USER:
        return Refusal(Bar.NOT_A_PERSON)
    if not actor.may(Permission.APPROVALS_DECIDE):
        return Refusal(Bar.MISSING_PERMISSION)
    if actor.id in {requester.id, requester.on_behalf_of}:
        return Refusal(Bar.REQUESTER)
    person = UUID(actor.id)
    if person in requester.conflicted_user_ids:
        return Refusal(Bar.CONFLICTED)
    if person in set(decided_by):
        return Refusal(Bar.HAS_DECIDED)
    return None


def too_new(risk: Risk, roles_given_at: datetime | None, now: datetime) -> Refusal | None:
    """None when the yes of somebody who may decide counts at this risk; otherwise why not yet, and until when (T22).

    Two accounts that one administrator made just now are no two people, and everyone else gets a day to notice them.
    `roles_given_at` is None for somebody whose membership nobody knows of.
    """
    until = (roles_given_at or now) + SETTLED_AFTER
    return Refusal(Bar.TOO_NEW, until) if risk is Risk.CRITICAL and now < until else None


def quorum(risk: Risk) -> int:
    """How many different people must approve: two for critical risk, otherwise one."""
    return 2 if risk is Risk.CRITICAL else 1


def needs_reason(risk: Risk) -> bool:
    """Whether a decision must carry a written reason."""
    return risk >= Risk.HIGH


def needs_confirmation(risk: Risk) -> bool:
    """Whether approving takes a second look at the change as it will be sent."""
    return risk >= Risk.HIGH


def needs_step_up(risk: Risk) -> bool:
    """Whether approving takes a fresh proof of who is sitting there."""
    return risk is Risk.CRITICAL


def reason_is_enough(risk: Risk, reason: str) -> bool:
    """Whether the reason is long enough for the risk; spaces do not count at the ends."""
    return not needs_reason(risk) or len(reason.strip()) >= MINIMUM_REASON


def users_among(*names: str) -> list[UUID]:
    """Of those who started, own or published what asks: the users, who therefore may not decide (T22).

    The name of a process, and "" for nobody, is no user.
    """
    return sorted({user for name in names if (user := _user_id(name))})


def _user_id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
