"""Who reads the log is told in the log. Every view of it is declared here, and nothing else writes such an event.

One event stands for an hour of reading the same by the same actor: a page that is open asks every five seconds, and a
monitor fetches thousands of tiles, so an event for each request would fill the log with the reading of it, and whoever
follows the log would make it grow by following. People open single events one by one, and of them each event that they
opened is told. The event is written after the view and in its transaction: it commits before the body leaves, and where
nothing was shown, nothing is told.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from audit.models import AuditEvent
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.api import ApiRequest, Endpoint
from provenance.db import database_now
from provenance.ids import parse_public_id, uuid7_floor
from provenance.pages import PageRequest

SAME_READING = timedelta(hours=1)
LOG, TREE, ONE_EVENT = "audit_log", "audit_tree", "audit_event"
"""What is read: events as they are found, the Merkle log as tiles, one event with its details."""
_SHOWN_CHARACTERS = 500

View = TypeVar("View", bound=Callable[..., Any])


def told(view: View) -> View:
    """Declare, below `page`, a page that shows something of the log. `?at=` names the event that it shows whole."""

    @wraps(view)
    def taken(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = view(request, *args, **kwargs)
        if response.status_code < 400:
            opened = kwargs.get("event_id") or request.GET.get("at", "")
            _tell(request.actor, _target(request.actor, LOG, opened), request.get_full_path())
        return response

    taken.tells_reading = True  # type: ignore[attr-defined]  # functions carry attributes
    return cast("View", taken)


class LogEndpoint(Endpoint):
    """An endpoint that shows something of the log."""

    tells_reading = True
    surface: ClassVar[str] = LOG

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell it, once the answer is there."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if cast("HttpResponseBase", answer).status_code < 400:
            actor = cast("ApiRequest", request).actor
            _tell(actor, _target(actor, self.surface, kwargs.get("event_id", "")), request.get_full_path())
        return answer


def _target(actor: Actor, surface: str, event_id: str) -> Target:
    # Programs read one after another as fast as they can: of them the log is what was read.
    if event_id and actor.kind is ActorKind.USER:
        return Target(ONE_EVENT, str(parse_public_id("evt", event_id)))
    return Target(surface, str(actor.workspace_id))


def _tell(actor: Actor, target: Target, address: str) -> None:
    since = uuid7_floor(database_now() - SAME_READING)
    known = AuditEvent.objects.for_actor(actor).filter(
        pk__gte=since,
        actor_id=actor.id,
        action=Event.AUDIT_VIEWED.value,
        object_type=target.type,
        object_id=target.id,
    )
    # Two requests at once may both find none and tell it twice. A lock would cost every reader something for that.
    if not known.exists():
        record(actor=actor, event=Event.AUDIT_VIEWED, target=target, detail={"address": address[:_SHOWN_CHARACTERS]})
