"""The door of keys: `X-API-Key` becomes an actor in the key's workspace, for endpoints and for nothing else."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from apikeys import keytext
from apikeys.authentication import KeyEnded, actor_for_key
from audit.services import record_anonymous
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.api import endpoint_of, problem_response
from provenance.errors import ProvenanceError, Unauthenticated
from workspaces import doors


class KeyedRequest(HttpRequest):
    """A request that came through the key door; endpoints see it as `ApiRequest`."""

    actor: Actor


class KeyDoor:
    """Lets a request with a good key through to an endpoint. Sessions and cookies count for nothing here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The work is done in `process_view`, where the endpoint is known."""
        return self.get_response(request)

    def process_view(
        self, request: KeyedRequest, view: Callable[..., HttpResponse], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Answer every request for an endpoint; leave pages to the session door."""
        if endpoint_of(view) is None:
            return None
        request_id = getattr(request, "request_id", "")
        ip = getattr(request, "client_ip", "")
        text = request.META.get("HTTP_X_API_KEY", "")
        try:
            actor = actor_for_key(text, request_id=request_id, ip=ip)
        except Unauthenticated as error:
            _record_refused_key(error, text, ip)
            return problem_response(error, request_id)
        except Exception as error:  # noqa: BLE001  a database that is down must answer in the API's own form
            return problem_response(doors.translated(error), request_id)
        request.actor = actor
        try:
            return doors.answer(actor.workspace_id, lambda: view(request, *args, **kwargs))
        except ProvenanceError as error:
            doors.record_refusal(actor, request, error)
            return problem_response(error, request_id)


def _record_refused_key(error: Unauthenticated, text: str, ip: str) -> None:
    """Note the refusal. A key that was good once is counted by itself, so that guesses do not drown that it is used."""
    source = f"key {keytext.prefix_of(text)}" if isinstance(error, KeyEnded) else ip
    facts = {"code": error.code, "address": ip}
    record_anonymous(event=Event.AUTHZ_DENIED, source=source, reason=error.message, detail=facts)
