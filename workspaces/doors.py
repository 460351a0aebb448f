"""How a request runs once its door knows who asks: inside the scope, in one transaction, rolled back whole on failure.

Both doors use this, the one of sessions (`workspaces.middleware`) and the one of keys (`apikeys.middleware`).
"""

from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from uuid import UUID

import structlog
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse

from audit.attestation import RowAltered
from audit.services import Target, record_altered, record_denied
from provenance.actor import Actor
from provenance.api import TooLarge
from provenance.db import scope, whole
from provenance.errors import InternalError, Invalid, NotFound, PermissionDenied, ProvenanceError, Unavailable
from provenance.postgres.refusals import EventNotAccepted

log = structlog.get_logger(__name__)


def answer(workspace_id: UUID | None, view: Callable[[], HttpResponse]) -> HttpResponse:
    """Run the view in one transaction and one scope and give its finished response.

    Raises only `ProvenanceError`; then, and for a response of 500 and above, nothing was stored. The template is
    rendered inside, and COMMIT happens inside too: what Postgres refuses at the very end is an error like any other,
    never a success that was not. `NotSealed` alone comes after COMMIT: what was recorded stays, and is not answered.
    """
    try:
        with scope(workspace_id) if workspace_id else nullcontext(), whole():
            return _finished(view())
    except _NotKept as failed:
        return failed.response
    except Exception as error:
        raise translated(error) from error


class _NotKept(Exception):
    """A view answered that it failed: the answer stands, and nothing else."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


def _finished(response: HttpResponse) -> HttpResponse:
    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
        response = response.render()
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _NotKept(response)
    return response


def translated(error: Exception) -> ProvenanceError:
    """The error as one of our tree. What clients have no business reading is logged, and they get its request id."""
    if isinstance(error, ProvenanceError) and not _is_internal(error):
        return error
    for kind, make in _TRANSLATIONS:
        if isinstance(error, kind):
            return make()
    if isinstance(error, EventNotAccepted):
        log.error("door.event_not_accepted", exc_info=error)
        return Unavailable(
            "The audit log accepts no event from this process, so nothing is done here. Its operator finds out why: /readyz, "
            "and the log of the process under the id of this request."
        )
    if isinstance(error, OperationalError | InterfaceError):
        log.error("door.database_unavailable", exc_info=error)
        return Unavailable("The database does not answer. Nothing was changed; try again.")
    log.error("door.failed", exc_info=error)
    return InternalError()


def _is_internal(error: ProvenanceError) -> bool:
    """What the walls refused names tables and columns: for the log, not for a client."""
    return isinstance(error, DatabaseError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[], ProvenanceError]], ...] = (
    (Http404, NotFound),
    (DjangoPermissionDenied, PermissionDenied),
    (RequestDataTooBig, TooLarge),
    (SuspiciousOperation, lambda: Invalid("The request is malformed.")),
)


def record_refusal(actor: Actor, request: HttpRequest, error: ProvenanceError) -> None:
    """Write `authz.denied` for a refusal, in a transaction of its own: the request's own was rolled back.

    Before it the critical event about rows that were changed past the platform, when they are why.
    """
    if isinstance(error, RowAltered):
        record_altered(error.altered, by="doors")
    if error.status != HTTPStatus.FORBIDDEN:
        return
    permission = error.permission if isinstance(error, PermissionDenied) else None
    record_denied(
        actor=actor,
        permission=permission,
        reason=error.message,
        target=Target("route", _route(request)),
        detail={"method": request.method or "", "path": request.path[:500]},
    )


def _route(request: HttpRequest) -> str:
    """The name of the address pattern: signed for ever, so without what a caller can write into a path."""
    return (request.resolver_match.view_name if request.resolver_match else "") or "unknown"
