"""Pages for people: who may see one, what it is rendered with, and what a refusal looks like.

A view says which permission it needs with `@page`; the session door (`workspaces.middleware`) does the rest: it finds
the workspace of the address, makes `request.actor`, demands the permission and opens the transaction. A view that says
nothing is not served at all. Addresses are included below `w/<slug:workspace>/…`; the door keeps that argument, so a view
takes only its own and asks `request.workspace.slug` where it needs the name.

    @page(Permission.AGENTS_WRITE)
    def suspend(request: PageRequest, slug: str) -> HttpResponse: ...
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar, cast
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_POST
from django_htmx.middleware import HtmxDetails

from provenance.actor import Actor
from provenance.db import enter
from provenance.errors import PermissionDenied, ProvenanceError
from provenance.permissions import Permission

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class WorkspaceRef:
    """The workspace of a request, as its pages show it."""

    id: UUID
    slug: str
    name: str
    environment_label: str


class PageRequest(HttpRequest):
    """A request that came through the session door."""

    actor: Actor
    # Outside of workspaces there is none; only views declared with `page` and `member_page` may ask.
    workspace: WorkspaceRef
    request_id: str
    client_ip: str
    htmx: HtmxDetails


# --- What a view declares --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """What the session door demands before it lets a request in.

    `in_workspace`: the person must be a member of the workspace in the address, and `permission` says with which right
    (None: any member). Without it a sign-in is enough. `public` is the reason why a page needs not even that, and
    `is_bare` means that the door touches no database for it.
    """

    in_workspace: bool = False
    permission: Permission | None = None
    public: str = ""
    is_bare: bool = False


def page(permission: Permission) -> Callable[[View], View]:
    """Declare a page of a workspace (`/w/<workspace>/…`) and the permission needed to see it."""
    return _declared(Door(in_workspace=True, permission=permission))


def member_page(view: View) -> View:
    """Declare a page of a workspace that every member may see, whatever their roles."""
    return _declared(Door(in_workspace=True))(view)


def personal_page(view: View) -> View:
    """Declare a page for any signed-in person, outside of workspaces: choosing one, the theme, the password."""
    return _declared(Door())(view)


def public_page(reason: str) -> Callable[[View], View]:
    """Declare a page that needs no sign-in, and why. `tests/house/test_urls.py` holds the whole list."""
    return _declared(Door(public=reason))


def probe(reason: str) -> Callable[[View], View]:
    """Declare a public page that must answer while the database is down. It gets no actor and no transaction."""
    return _declared(Door(public=reason, is_bare=True))


def form_of(route: str) -> Callable[[View], View]:
    """Declare, below `page`, that a view only takes a form that stands on the page `route` of the workspace.

    Whoever opens its address (a reload, a link, the way back after signing in) is led to the form and not to nothing.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def taken(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method in {"GET", "HEAD"}:
                return redirect(route, request.workspace.slug)
            answer: HttpResponse = require_POST(view)(request, *args, **kwargs)
            return answer

        return cast("View", taken)

    return declare


def door_of(view: Callable[..., Any]) -> Door | None:
    """What the view declared; None for one that declared nothing and must not be served."""
    return getattr(view, "door", None)


def _declared(door: Door) -> Callable[[View], View]:
    def declare(view: View) -> View:
        view.door = door  # type: ignore[attr-defined]  # functions carry attributes; Callable does not say so
        return view

    return declare


# --- Rendering -------------------------------------------------------------------------------------------------------


def render(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    fragment: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page; or only its `fragment` template when htmx asks for a piece of a page that is already open.

    The template is rendered now, inside the door's transaction. It always has `actor`, `workspace`, and `console`, the
    shell around it (`provenance.console`).
    """
    wanted = fragment if fragment and wants_fragment(request) else template
    frame = {"actor": getattr(request, "actor", None), "workspace": getattr(request, "workspace", None)}
    body = render_to_string(wanted, {**frame, **(context or {})}, request=request)
    response = HttpResponse(body, status=status)
    if fragment:
        patch_vary_headers(response, ["HX-Request"])
    return response


def wants_fragment(request: HttpRequest) -> bool:
    """Does htmx ask for a piece? Boosted links and restored history want the whole page."""
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def problem_page(
    request: HttpRequest, problem: ProvenanceError, status: int = 0, *, roles: Sequence[str] = ()
) -> HttpResponse:
    """What a person sees when a request was refused or failed: what, why, what to do.

    A member keeps the workspace's navigation around it, whatever was refused: the page is the same for an object of
    another tenant and for one that never was. htmx gets only the words. `roles` are those that have the permission
    that was missing.
    """
    status = status or problem.status
    workspace, actor = getattr(request, "workspace", None), getattr(request, "actor", None)
    context = {
        "problem": problem,
        "missing_permission": problem.permission if isinstance(problem, PermissionDenied) else None,
        "roles": roles,
        "workspace": workspace,
        "request_id": getattr(request, "request_id", ""),
    }
    if wants_fragment(request):
        return HttpResponse(render_to_string("_problem.html", context, request=request), status=status)
    if workspace is None or actor is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Where something broke, the navigation and its counts may be what is broken.
        return HttpResponse(render_to_string("problem.html", context, request=request), status=status)
    # The door left the workspace when the request failed; the navigation counts what waits in it.
    with enter(workspace.id):
        return HttpResponse(render_to_string("problem_inside.html", context, request=request), status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  Django passes its reason
    """The page for a form that did not carry this session's token. The reason stays in the log: it helps attackers."""
    return problem_page(
        request,
        PermissionDenied(message="This form is no longer valid. Go back, reload the page and send it again."),
    )


# --- Panels ----------------------------------------------------------------------------------------------------------

_panels: dict[str, dict[str, Callable[[HttpRequest, Any], str]]] = {}


def add_panel(place: str, name: str, show: Callable[[HttpRequest, Any], str]) -> None:
    """Let a higher floor show something on a page of a lower one: `show(request, subject)` returns HTML or ""."""
    _panels.setdefault(place, {})[name] = show


def panels(request: HttpRequest, place: str, subject: Any) -> list[str]:
    """What the floors above have to show at this place about this subject, in order of their names."""
    shown = (show(request, subject) for _, show in sorted(_panels.get(place, {}).items()))
    return [html for html in shown if html]
