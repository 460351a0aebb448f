"""Digests of the log: set up, change, remove. Their readers are members who may read the log themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import service, workspace_of
from provenance.errors import Conflict, Invalid, NotFound
from provenance.permissions import Permission
from provenance.risk import Risk
from streams.models import Digest, DigestSend
from streams.services import require_manager
from workspaces.models import Membership, User
from workspaces.roles import Role, permissions_of

MOST_DIGESTS = 20
MOST_READERS = 50


class DigestExists(Conflict):
    """There is already a digest of this title."""

    code = "digest_exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a digest tells, how often, and to whom. `readers` are ids of members."""

    title: str
    readers: Sequence[UUID]
    period: str = Digest.Period.WEEKLY
    risk: str = ""
    review: bool = True


@service
def create_digest(*, actor: Actor, contents: Contents) -> Digest:
    """Set up a mail about each whole day, week or month, beginning with the one that is now."""
    require_manager(actor)
    rows = Digest.objects.for_actor(actor)
    if rows.count() >= MOST_DIGESTS:
        raise Conflict(f"There are {MOST_DIGESTS} digests already; remove one first.")
    digest = Digest(workspace_id=workspace_of(actor), created_by=actor.answerable or actor.id)
    _set(actor, digest, contents)
    digest.save(force_insert=True)
    record(actor=actor, event=Event.AUDIT_DIGEST_CREATED, target=digest, detail=_told(digest))
    return digest


@service
def change_digest(*, actor: Actor, digest_id: UUID, contents: Contents) -> Digest:
    """Tell something else, or other people, from the next mail on."""
    require_manager(actor)
    digest = _locked(actor, digest_id)
    before = _told(digest)
    _set(actor, digest, contents)
    digest.save()
    detail = {"before": before, "after": _told(digest)}
    record(actor=actor, event=Event.AUDIT_DIGEST_CHANGED, target=digest, detail=detail)
    return digest


@service
def remove_digest(*, actor: Actor, digest_id: UUID, reason: str = "") -> None:
    """End it. What was sent stays in the log."""
    require_manager(actor)
    digest = _locked(actor, digest_id)
    told = _told(digest)
    DigestSend.objects.for_actor(actor).filter(digest=digest).delete()
    digest.delete()
    record(actor=actor, event=Event.AUDIT_DIGEST_REMOVED, target=digest, reason=reason, detail=told)


def forget_reader(actor: Actor, user_id: UUID) -> None:
    """Take a person who leaves, and their address, out of every digest. Whoever may remove a member may do this."""
    for digest in Digest.objects.for_actor(actor).select_for_update().order_by("pk"):
        kept = [reader for reader in digest.readers if reader["user_id"] != str(user_id)]
        if len(kept) < len(digest.readers):
            digest.readers = kept
            digest.save(update_fields=["readers"])
            reason = "A reader left the workspace."
            record(actor=actor, event=Event.AUDIT_DIGEST_CHANGED, target=digest, reason=reason, detail=_told(digest))


def _locked(actor: Actor, digest_id: UUID) -> Digest:
    digest = Digest.locked(actor, pk=digest_id)
    if digest is None:
        raise NotFound("There is no such digest here.")
    return digest


def _set(actor: Actor, digest: Digest, contents: Contents) -> None:
    title = contents.title.strip()
    if not 1 <= len(title) <= 100 or not title.isprintable():
        raise _invalid("title", "1 to 100 characters on one line")
    if Digest.objects.for_actor(actor).filter(title=title).exclude(pk=digest.pk).exists():
        raise DigestExists(title=title)
    if contents.period not in set(Digest.Period):
        raise _invalid("period", "daily, weekly or monthly")
    if contents.risk and contents.risk not in set(Risk):
        raise _invalid("risk", f"one of {', '.join(Risk)}, or nothing")
    digest.title, digest.period, digest.risk, digest.review = title, contents.period, contents.risk, contents.review
    digest.readers = _readers(actor, contents.readers)


def _readers(actor: Actor, wanted: Sequence[UUID]) -> list[dict[str, str]]:
    """Who gets it, with the address of their account. A mail must show nobody what the console would not show them."""
    ids = sorted(set(wanted))
    if not 1 <= len(ids) <= MOST_READERS:
        raise _invalid("readers", f"1 to {MOST_READERS} members")
    roles = dict(
        Membership.objects.for_actor(actor).filter(user_id__in=ids, removed_at=None).values_list("user_id", "roles")
    )
    may_read = {
        user_id
        for user_id, held in roles.items()
        if Permission.AUDIT_READ in permissions_of(Role(role) for role in held)
    }
    if set(ids) - may_read:
        raise _invalid("readers", "each of them must be a member here who may read the audit log")
    emails = dict(User.objects.filter(pk__in=ids).values_list("pk", "email"))
    return [{"user_id": str(user_id), "email": emails[user_id]} for user_id in ids]


def _told(digest: Digest) -> dict[str, Any]:
    return {
        "title": digest.title,
        "period": digest.period,
        "risk": digest.risk,
        "review": digest.review,
        "readers": [reader["user_id"] for reader in digest.readers],
    }


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}.", errors=[{"path": path, "message": message}])
