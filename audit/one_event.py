"""One event, whole: its signed body, its erasable facts, and what can be proved about both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings

from audit.envelope import Detail
from audit.errors import DamagedLog, EventExpired
from audit.judging import StoredEvent, mismatch
from audit.models import AuditDetail, AuditEvent
from audit.proofs import NotYetSealed, event_proof
from audit.selectors import PATIENCE_SECONDS, EventFilters, EventRow, search, shown_name
from audit.signing import KeyRing, may_sign
from audit.steps import Evidence, State, Step, position_of, steps_of
from audit.tree import SignedCheckpoint, Tree, django_tree
from provenance.actor import Actor, ActorKind
from provenance.api import Paging
from provenance.db import database_now
from provenance.errors import NotFound
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission

_LONGEST_INDEX = 15  # digits, as in a bundle


@dataclass(frozen=True, slots=True)
class EventProof:
    """What this process can prove about an event. None: it lacks the key, or there is nothing to compare.

    `signature_valid`: the MAC is the one of the stored bytes, under a key that may sign such an event.
    `contents_match`: the columns used for queries say what the signed bytes say. `detail_matches`: the erasable detail
    is the one the signed bytes are bound to. `in_log`: the log has exactly these bytes at the event's index.
    `in_checkpoint`: its inclusion proof leads to the root of a checkpoint. `checkpoint_signed`: that one is signed.
    """

    signature_valid: bool | None
    contents_match: bool
    detail_matches: bool | None
    detail_erased: bool
    in_log: bool | None
    in_checkpoint: bool | None
    checkpoint_signed: bool | None


@dataclass(frozen=True, slots=True)
class EventDetail:
    """One event, whole. `on_behalf_of` names the person it was done for: a label, or the short form of the id; or "".

    `steps` prove it, in words; `sealed_in` is the first published checkpoint that holds it. `proof_text` is its
    `.tlog-proof`; "" while it is not sealed, and where a step failed.
    """

    row: EventRow
    body: dict[str, Any]
    proof: EventProof
    steps: tuple[Step, ...]
    sealed_in: SignedCheckpoint | None = None
    proof_text: str = ""
    on_behalf_of: str = ""


def event_named(actor: Actor, text: str) -> str | None:
    """The id of the event that a text names: by that id, or by its index in the log, as a verifier's report does."""
    actor.require(Permission.AUDIT_READ)
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_INDEX:
        tree, index = django_tree(), int(text)
        logs = tree.logs(actor.workspace_id)
        found = tree.entry_ids(logs[-1].id, index, index + 1) if logs else []
        return public_id("evt", found[0]) if found and found[0] else None
    try:
        event_id = parse_public_id("evt", text)
    except NotFound:
        return None
    return text if AuditEvent.objects.for_actor(actor).filter(pk=event_id).exists() else None


def event_detail(*, actor: Actor, event_id: UUID) -> EventDetail:
    """One event with its signed body, its erasable facts and what can be proved about them."""
    actor.require(Permission.AUDIT_READ)
    event = AuditEvent.objects.for_actor(actor).filter(pk=event_id).first()
    if event is None:
        # Its position is told to whoever may see the log; without one it never was here.
        raise EventExpired if django_tree().positions([event_id]) else NotFound("There is no such event here.")
    detail = AuditDetail.objects.for_actor(actor).filter(pk=event_id).first()
    tree = django_tree()
    evidence = Evidence(
        event=_stored(event),
        detail_matches=_detail_matches(event, detail),
        detail_erased=detail is not None and detail.body is None,
        keys=KeyRing.from_settings(settings.AUDIT_SIGNS_AS),
        tree=tree,
        now=database_now(),
    )
    position = position_of(tree, event_id)
    steps = steps_of(evidence, position)
    where: dict[str, Any] = {"log_id": position.log_id, "log_index": position.index} if position else {}
    return EventDetail(
        row=EventRow(event, detail.facts if detail else {}, **where),
        body=event.signed,
        proof=_proof(evidence, steps),
        steps=steps,
        sealed_in=position.sealed_in if position else None,
        proof_text=_proof_text(tree, event_id, steps),
        on_behalf_of=_person(actor, str(event.signed.get("on_behalf_of") or "")),
    )


def event_proof_text(*, actor: Actor, event_id: UUID) -> str:
    """The `.tlog-proof` of an event (c2sp.org/tlog-proof). Raises `NotYetSealed`."""
    actor.require(Permission.AUDIT_READ)
    if not AuditEvent.objects.for_actor(actor).filter(pk=event_id).exists():
        raise NotFound("There is no such event here.")
    return event_proof(django_tree(), event_id)


def _person(actor: Actor, user_id: str) -> str:
    """What the log calls that user by their newest event here; the short form of the id where it says nothing."""
    if not user_id:
        return ""
    own = EventFilters(actor_type=ActorKind.USER.value, actor_id=user_id)
    rows, _cursor = search(actor=actor, filters=own, paging=Paging(limit=1), patience_seconds=PATIENCE_SECONDS)
    return rows[0].actor_name if rows else shown_name(user_id, ActorKind.USER.value)


def _proof_text(tree: Tree, event_id: UUID, steps: Sequence[Step]) -> str:
    """To be copied. Of an event that does not stand where it should, there is nothing to hand out."""
    if any(step.state in {State.FAILED, State.WAITING} for step in steps):
        return ""
    try:
        return event_proof(tree, event_id)
    except (NotYetSealed, DamagedLog):
        return ""


def _stored(event: AuditEvent) -> StoredEvent:
    return StoredEvent(**{name: getattr(event, name) for name in StoredEvent._fields})


def _detail_matches(event: AuditEvent, detail: AuditDetail | None) -> bool | None:
    committed = event.signed.get("detail")
    if detail is None:
        return committed is None
    if detail.body is None or detail.salt is None:
        return None
    return bool(committed == Detail(bytes(detail.body), bytes(detail.salt)).commitment())


def _proof(evidence: Evidence, steps: Sequence[Step]) -> EventProof:
    """The same as flags. Contents and signature are told apart, whichever failed first."""
    event = evidence.event
    key = evidence.keys.key(event.kid, event.workspace_id)
    is_allowed = may_sign(event.kid, action=event.action, actor_type=event.actor_type)
    flags = {State.OK: True, State.FAILED: False}
    in_log, in_checkpoint, checkpoint_signed = (flags.get(step.state) for step in steps[2:])
    return EventProof(
        signature_valid=is_allowed and key.verifies(event.body.encode(), bytes(event.mac)) if key else None,
        contents_match=not mismatch(event),
        detail_matches=evidence.detail_matches,
        detail_erased=evidence.detail_erased,
        in_log=in_log,
        in_checkpoint=in_checkpoint,
        checkpoint_signed=checkpoint_signed,
    )
