"""The error tree: every way to fail has a stable code, an HTTP status and the data a program needs.

Raised where the fact is known, turned into a page or `application/problem+json` (RFC 9457) in one place.
"""

from typing import Any, ClassVar

from provenance.permissions import Permission


class ProvenanceError(Exception):
    """Something that was asked for did not happen; nothing was changed unless the class says so."""

    code: str = "error"
    status: int = 500
    title: ClassVar[str] = "Something failed"

    def __init__(self, message: str = "", **data: Any) -> None:
        self.message = message or (type(self).__doc__ or self.title).split("\n", maxsplit=1)[0]
        self.data = data
        super().__init__(self.message)


PROBLEM_TYPE = "urn:provenance:problem:"


def problem_details(error: ProvenanceError, request_id: str) -> dict[str, Any]:
    """The error as `application/problem+json`: type, title, status, code, detail, request_id and the error's data."""
    return {
        **error.data,
        "type": f"{PROBLEM_TYPE}{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "request_id": request_id,
    }


class Invalid(ProvenanceError):
    """The request is not valid."""

    code = "invalid"
    status = 422
    title = "Not valid"

    def __init__(self, message: str = "", *, errors: list[dict[str, str]] | None = None, **data: Any) -> None:
        """`errors`: one `{"path": "steps.2.when", "message": "…"}` for each thing that is wrong."""
        super().__init__(message, **({"errors": errors} if errors else {}), **data)


class Unauthenticated(ProvenanceError):
    """No valid credentials were presented."""

    code = "unauthenticated"
    status = 401
    title = "Not signed in"


class PermissionDenied(ProvenanceError):
    """The actor may not do this."""

    code = "permission_denied"
    status = 403
    title = "Not permitted"

    def __init__(self, permission: Permission | None = None, message: str = "", **data: Any) -> None:
        if permission is not None:
            message = message or f"This needs the permission {permission.value}."
            data["missing_permission"] = permission.value
        super().__init__(message, **data)
        self.permission = permission


class NotFound(ProvenanceError):
    """There is no such object here."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(ProvenanceError):
    """The object is not in a state that allows this."""

    code = "conflict"
    status = 409
    title = "Conflict"


class StaleRevision(Conflict):
    """Someone else changed this first; nothing of yours was stored."""

    code = "stale_revision"
    title = "Changed meanwhile"


class TooManyRequests(ProvenanceError):
    """The limit for this is used up; try again later."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"


class Unavailable(ProvenanceError):
    """Something this depends on does not answer; nothing was changed."""

    code = "unavailable"
    status = 503
    title = "Not available"


class InternalError(ProvenanceError):
    """Something failed on our side and nothing was changed. The log has the details under the request id."""

    code = "internal_error"
    status = 500
    title = "Internal error"
