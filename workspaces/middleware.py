"""The door of sessions: a signed-in browser becomes an actor in the workspace that stands in the address."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from provenance.api import endpoint_of
from provenance.errors import NotFound, PermissionDenied, ProvenanceError
from provenance.pages import Door, PageRequest, door_of, problem_page, wants_fragment
from workspaces import doors, lookups, selectors
from workspaces.accounts import signed_in_actor
from workspaces.models import User
from workspaces.roles import permissions_of, roles_with

View = Callable[..., HttpResponse]


class SessionDoor:
    """Lets a request through to a page that declared what it needs, and to no other page.

    It keeps the workspace's slug (`workspace` in the address pattern) for itself: a view asks `request.workspace`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The work is done in `process_view`, where the view is known."""
        return self.get_response(request)

    def process_view(
        self, request: PageRequest, view: View, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Answer every request that is not the key door's."""
        if endpoint_of(view):
            return None
        door = door_of(view)
        if door is None:
            # A view that forgot to say what it needs is served to nobody.
            return problem_page(request, NotFound())
        if door.is_bare:
            return None
        if not door.public and not isinstance(request.user, User):
            return _to_sign_in(request)
        try:
            return self._through(request, door, lambda: view(request, *args, **kwargs), kwargs)
        except ProvenanceError as error:
            if actor := getattr(request, "actor", None):
                doors.record_refusal(actor, request, error)
            missing = error.permission if isinstance(error, PermissionDenied) else None
            return problem_page(request, error, roles=roles_with(missing) if missing else ())

    def _through(
        self, request: PageRequest, door: Door, view: Callable[[], HttpResponse], kwargs: dict[str, Any]
    ) -> HttpResponse:
        user = request.user
        if isinstance(user, User):
            request.actor = signed_in_actor(user, request)
        if not door.in_workspace or not isinstance(user, User):
            return doors.answer(None, view)
        found = lookups.membership_of(user.pk, kwargs.pop("workspace"))
        if found is None:
            # The same for a workspace that does not exist: its existence is nobody's business.
            raise NotFound("There is no such workspace, or you are not a member of it.")
        workspace_id, _membership_id = found

        def inside() -> HttpResponse:
            _enter(request, user, workspace_id)
            if door.permission:
                request.actor.require(door.permission)
            return view()

        return doors.answer(workspace_id, inside)


def _enter(request: PageRequest, user: User, workspace_id: UUID) -> None:
    """Make the actor and name the workspace, from what the workspace itself says about this member now."""
    membership = selectors.active_membership(workspace_id, user.pk)
    if membership is None:
        raise NotFound("There is no such workspace, or you are not a member of it.")
    request.workspace = selectors.workspace_ref(workspace_id)
    request.actor = replace(
        signed_in_actor(user, request),
        workspace_id=workspace_id,
        permissions=permissions_of(membership.role_set),
    )


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    # Only a page that was asked for can be returned to; a form that was sent cannot.
    query = f"?{urlencode({'next': request.get_full_path()})}" if request.method in {"GET", "HEAD"} else ""
    address = f"{reverse('account_login')}{query}"
    if wants_fragment(request):
        # htmx would put the sign-in form into the middle of the page; this makes it load the page.
        return HttpResponse(status=401, headers={"HX-Redirect": reverse("account_login")})
    return HttpResponseRedirect(address)
