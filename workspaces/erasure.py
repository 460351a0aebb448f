"""Erasing a person from a workspace: what is personal is destroyed, what was done stays, and every proof goes on holding.

The log's signed bodies hold opaque ids; names, addresses and words stand in erasable details and in a few rows. Erasure
empties both, in one transaction with its event, after a line outside the database that a restore replays (T28).
"""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from audit.attestation import RowAltered
from audit.retention.limits import altered_limits
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import ask, database_now, enter, service, workspace_of
from provenance.errors import NotFound, PermissionDenied
from provenance.permissions import Permission
from provenance.postgres.refusals import UnauditedChange
from provenance.reasons import LONGEST_REASON
from workspaces import departures, erasure_journal, lookups
from workspaces.administrators import demand_another, locked_administrators, not_oneself
from workspaces.erasure_journal import Erasure, JournalBroken
from workspaces.errors import ErasureNotKept, MemberActive, UnderLegalHold
from workspaces.models import Invitation, Membership, User
from workspaces.roles import Role, permissions_of
from workspaces.selectors import active_membership
from workspaces.services import line

ERASED_NAME = "Erased person"
MOST_NAMED = 500


@service
def erase_member(*, actor: Actor, user_id: UUID, reason: str) -> Membership:
    """Destroy what is personal of a member of the actor's workspace, for good; a member is removed by it as well.

    Gone are the erasable details of what they did here and of what names their address, and the address of their
    invitations. A detail goes as a whole, with the labels of others in it: pages name those by their rows. The account
    goes too when they belong to no other workspace. What others wrote about them in free text is not found, unless their
    address stands in it. Asking again changes nothing and is no second event.

    People need `members:write`. A key of an administrator with `gateway:write` may erase who was removed before, so that
    a stolen one takes nobody's place away. Raises `UnderLegalHold` and `ErasureNotKept`, and `RowAltered` while a hold is not
    what the log says; then nothing was changed.
    """
    _demand(actor)
    administrators = locked_administrators(actor)
    rows = Membership.objects.for_actor(actor).select_for_update()
    membership: Membership | None = rows.filter(user_id=user_id).first()
    if membership is None:
        raise NotFound("There is no such member here.")
    if membership.erased_at is not None:
        return membership
    if membership.is_active and actor.key_id is not None:
        raise MemberActive
    not_oneself(actor, user_id)
    # What is erased does not come back with a hold that somebody took away meanwhile (M114).
    if altered := altered_limits(workspace_of(actor)):
        raise RowAltered(*altered)
    if membership.is_active and Role.ADMIN in membership.roles and actor.kind is ActorKind.USER:
        demand_another(administrators, actor, membership)
    reason = line(reason, "reason", LONGEST_REASON)
    membership.erased_at = database_now()
    membership.removed_at = membership.removed_at or membership.erased_at
    membership.save(update_fields=["removed_at", "erased_at"])
    record(actor=actor, event=Event.MEMBER_ERASED, target=membership, reason=reason)
    departures.of_member(actor, user_id)
    _empty(actor, User.objects.select_for_update().get(pk=user_id))
    # Last, and before the commit: an erasure that is noted and fails is done by the next replay, never the other way.
    try:
        erasure_journal.note(settings.ERASURES_FILE, Erasure(workspace_of(actor), user_id))
    except OSError as error:
        raise ErasureNotKept from error
    return membership


def missing() -> list[Erasure]:
    """Erasures that were noted and that this database does not have: it was restored from before them.

    Raises `JournalBroken` and OSError. Needs no scope.
    """
    noted = erasure_journal.read(settings.ERASURES_FILE)
    if not noted:
        return []
    places, people = [item.workspace_id for item in noted], [item.user_id for item in noted]
    found = ask("SELECT workspace_id, person FROM workspaces_not_erased(%s, %s)", [places, people])
    return [Erasure(*row) for row in found]


def problems() -> Iterator[str]:
    """What keeps a process from serving: a restored database is complete only once the erasures were replayed."""
    try:
        found = missing()
    except (JournalBroken, OSError) as error:
        yield f"It cannot be said who was erased: {error}"
        return
    if found:
        yield (
            f"{len(found)} people who were erased are in this database again: it was restored from before that. "
            "Run `./manage.py replay_erasures`."
        )


def replay() -> int:
    """Erase again whoever a restore brought back; how many. Before anything serves."""
    found = missing()
    for erasure in found:
        actor = Actor.system("erasures.replay", erasure.workspace_id, {Permission.MEMBERS_WRITE})
        with enter(erasure.workspace_id):
            erase_member(
                actor=actor, user_id=erasure.user_id, reason="A restore brought back what had been erased before."
            )
    return len(found)


def _demand(actor: Actor) -> None:
    if actor.key_id is None:
        actor.require(Permission.MEMBERS_WRITE)
        return
    actor.require(Permission.GATEWAY_WRITE)
    if actor.kind is not ActorKind.INTEGRATION:
        raise PermissionDenied(message="An agent erases nobody.")
    # What a key may do is bounded by its owner, and no key carries this right by itself.
    owner = active_membership(workspace_of(actor), UUID(actor.on_behalf_of))
    if owner is None or Permission.MEMBERS_WRITE not in permissions_of(owner.role_set):
        raise PermissionDenied(Permission.MEMBERS_WRITE, "Only a key of an administrator erases a member.")


def _empty(actor: Actor, user: User) -> None:
    """Empty the details and rows of this person, the ones of the instance too when this was their last workspace."""
    sent = Invitation.objects.for_actor(actor).select_for_update().filter(email__iexact=user.email)
    invitations = list(sent.order_by("pk"))
    for invitation in invitations:
        invitation.email = _nobody(invitation.pk)
        invitation.save(update_fields=["email"])
        record(actor=actor, event=Event.MEMBER_ERASED, target=invitation)
    # After their events: only what this transaction told of is erased.
    _erase_details(
        user.pk, user.email, [str(invitation.pk) for invitation in invitations], workspace_id=workspace_of(actor)
    )
    if lookups.memberships_of(user.pk):
        # Another workspace's records need to know who this is; they erase for themselves.
        return
    address = user.email
    user.email, user.name, user.theme, user.is_active = _nobody(user.pk), ERASED_NAME, "", False
    user.last_sign_in_at = None
    user.set_unusable_password()
    user.save(update_fields=["email", "name", "theme", "is_active", "last_sign_in_at", "password"])
    record(actor=replace(actor, workspace_id=None), event=Event.USER_DELETED, target=user)
    _erase_details(user.pk, address, [str(user.pk)], workspace_id=None)


def _erase_details(user_id: UUID, address: str, objects: list[str], *, workspace_id: UUID | None) -> None:
    """Erase and tell of each detail that is gone: one that no event names counts as taken away.

    The platform itself tells it, in words that are about nobody, so that no later erasure takes them too.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT audit.erase_person(%s, %s, %s, %s)", [user_id, objects, address.encode(), workspace_id is None]
            )
            erased = [str(event_id) for (event_id,) in cursor.fetchall()]
    except UnauditedChange as error:
        if "under legal hold" in str(error):
            raise UnderLegalHold from error
        raise
    for start in range(0, len(erased), MOST_NAMED):
        named = erased[start : start + MOST_NAMED]
        record(
            actor=Actor.system("erasures", workspace_id),
            event=Event.AUDIT_DETAIL_ERASED,
            target=Target("person", str(user_id)),
            detail={"count": len(named), "events": named},
        )


def _nobody(row_id: UUID) -> str:
    """An address that is nobody's, and unique because the database wants addresses to be."""
    return f"erased-{row_id}@erased.invalid"
