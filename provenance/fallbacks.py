"""What answers when no view does: Django's four error handlers, as a page for people and a problem for programs."""

from django.http import HttpRequest, HttpResponse

from provenance.api import problem_response
from provenance.errors import InternalError, Invalid, NotFound, PermissionDenied, ProvenanceError
from provenance.pages import problem_page


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 400: a forged Host header, a body that is no form."""
    return _problem(request, Invalid("The request is malformed."), status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 403."""
    return _problem(request, PermissionDenied())


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 404: no such address."""
    return _problem(request, NotFound("There is no such page."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500: what no door caught."""
    return _problem(request, InternalError())


def _problem(request: HttpRequest, problem: ProvenanceError, status: int = 0) -> HttpResponse:
    if request.path_info.startswith("/api/"):
        response = problem_response(problem, getattr(request, "request_id", ""))
        response.status_code = status or problem.status
        return response
    return problem_page(request, problem, status)
