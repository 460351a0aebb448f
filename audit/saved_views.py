"""Views of the log that members keep: filters under a name, each member's own."""

from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from audit.models import SavedView
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.api import found
from provenance.db import service, workspace_of
from provenance.errors import Invalid, PermissionDenied
from provenance.permissions import Permission

MOST = 50


def saved_views(actor: Actor) -> QuerySet[SavedView]:
    """The actor's own views, by name."""
    actor.require(Permission.AUDIT_READ)
    return SavedView.objects.for_actor(actor).filter(member_id=_member(actor)).order_by("name")


@service
def save_view(*, actor: Actor, name: str, query: str) -> SavedView:
    """Keep filters under a name. One that the member has already gets the new filters."""
    mine = saved_views(actor).select_for_update()
    view = mine.filter(name=name).first()
    if view is None:
        if mine.count() >= MOST:
            raise Invalid(f"You have {MOST} views already. Remove one first.")
        view = SavedView(
            workspace_id=workspace_of(actor), member_id=_member(actor), name=name, created_at=timezone.now()
        )
    view.query = query
    view.save()
    record(actor=actor, event=Event.AUDIT_VIEW_SAVED, target=view)
    return view


@service
def remove_view(*, actor: Actor, view_id: UUID) -> None:
    """Forget a view. Another member's is not found."""
    view = found(saved_views(actor).select_for_update().filter(pk=view_id).first(), "view")
    view.delete()
    record(actor=actor, event=Event.AUDIT_VIEW_REMOVED, target=view)


def _member(actor: Actor) -> UUID:
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(message="Views belong to members, and this is none.")
    return UUID(actor.id)
