"""Pages before a workspace is known (sign-in, invitation, set-up, choosing), and those about its members."""

from typing import Any
from uuid import UUID

from allauth.account.views import LoginView, LogoutView, PasswordChangeView
from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.attestation import RowAltered
from audit.condition import seal_at_the_entrance
from audit.services import record_altered
from provenance import console
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, form_of, member_page, page, personal_page, public_page, render
from provenance.permissions import Permission
from provenance.reasons import reason_of
from workspaces import lookups, selectors, services
from workspaces.erasure import erase_member
from workspaces.errors import InvitationClosed, SetupClosed
from workspaces.forms import AcceptForm, InviteForm, RolesForm, SetupForm
from workspaces.models import User
from workspaces.setup_token import SetupToken

# Called by the template, so that it is of this moment. It tells nothing of any workspace.
sign_in = public_page("People sign in here.")(LoginView.as_view(extra_context={"log": seal_at_the_entrance}))
change_password = personal_page(PasswordChangeView.as_view())


@personal_page
@require_POST
def sign_out(request: PageRequest) -> HttpResponse:
    """End the session. Only by a form: a link in somebody's page must not sign people out."""
    response: HttpResponse = LogoutView.as_view()(request)
    # What the browser keeps of pages must not be reachable by the back button.
    response["Clear-Site-Data"] = '"cache"'
    return response


@personal_page
@require_safe
def choose(request: PageRequest) -> HttpResponse:
    """The workspaces of a person; with a single one, straight into it."""
    workspaces = selectors.workspaces_of(UUID(request.actor.id))
    if len(workspaces) == 1:
        return redirect("workspaces:home", workspaces[0].slug)
    return render(request, "workspaces/choose.html", {"workspaces": workspaces})


@member_page
@require_safe
def home(request: PageRequest) -> HttpResponse:
    """The first page of a workspace that this person may see."""
    return redirect(console.first_page(request.actor, request.workspace.slug))


@member_page
def nowhere(request: PageRequest, rest: str) -> HttpResponse:  # noqa: ARG001  the address is what is wrong
    """Every address of a workspace that is no page: said inside of it, where a member finds the way back."""
    raise NotFound("There is no such page.")


@personal_page
@require_POST
def theme(request: PageRequest) -> HttpResponse:
    """Keep the person's theme and go back to where they were."""
    services.set_theme(actor=request.actor, theme=request.POST.get("theme", ""))
    wanted = request.POST.get("next", "")
    is_ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return redirect(wanted if is_ours else "workspaces:choose")


@public_page("An invited person has no account yet; the address is the proof.")
@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: PageRequest, token: str) -> HttpResponse:
    """Accept an invitation: a new person gives name and password, a signed-in one confirms."""
    if lookups.invitation_of_token(services.token_digest(token)) is None:
        raise InvitationClosed
    user = request.user if isinstance(request.user, User) else None
    form = AcceptForm(request.POST or None)
    if request.method == "POST" and (user or form.is_valid()):
        try:
            with transaction.atomic():
                services.accept_invitation(
                    token=token,
                    user=user,
                    request_id=request.request_id,
                    ip=request.client_ip,
                    **({} if user else form.cleaned_data),
                )
        except (Invalid, Conflict, PermissionDenied) as error:
            if isinstance(error, RowAltered):
                record_altered(error.altered, by="invitation")
            form.add_error(None, error.message)
        else:
            messages.success(request, "Welcome." if user else "Your account is ready. Sign in with your new password.")
            return redirect("workspaces:choose")
    return render(request, "workspaces/invitation.html", {"form": form, "user": user}, status=_status(form))


@public_page("A new installation has no accounts; the token printed on its host is the proof.")
@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: PageRequest, token: str) -> HttpResponse:
    """Make the first administrator and the first workspace."""
    if not SetupToken.locate().matches(token) or User.objects.exists():
        raise SetupClosed
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                services.create_first_administrator(
                    token=token, request_id=request.request_id, ip=request.client_ip, **form.cleaned_data
                )
        except (Invalid, Conflict) as error:
            form.add_error(None, error.message)
        else:
            messages.success(request, "Your installation is ready. Sign in with your new password.")
            return redirect("account_login")
    return render(request, "workspaces/setup.html", {"form": form}, status=_status(form))


@page(Permission.MEMBERS_READ)
@require_safe
def members(request: PageRequest) -> HttpResponse:
    """Who belongs to the workspace, with which roles, and who is invited."""
    return _members(request, InviteForm())


@page(Permission.MEMBERS_WRITE)
@form_of("workspaces:members")
def invite(request: PageRequest) -> HttpResponse:
    """Invite an address and show the link, for the only time: the console sends no mail."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _members(request, form, status=422)
    try:
        with transaction.atomic():
            made, token = services.invite(actor=request.actor, **form.cleaned_data)
    except Invalid as error:
        form.add_error(None, error.message)
        return _members(request, form, status=error.status)
    link = request.build_absolute_uri(reverse("workspaces:invitation", args=[token]))
    response = render(request, "workspaces/invited.html", {"invitation": made, "link": link})
    response["Cache-Control"] = "no-store"
    return response


@page(Permission.MEMBERS_WRITE)
@form_of("workspaces:members")
def change_roles(request: PageRequest, user_id: str) -> HttpResponse:
    """Give a member other roles."""
    form = RolesForm(request.POST)
    if not form.is_valid():
        raise Invalid("A member has at least one role.")
    services.change_roles(actor=request.actor, user_id=parse_public_id("usr", user_id), **form.cleaned_data)
    messages.success(request, "The roles are changed.")
    return redirect("workspaces:members", request.workspace.slug)


@page(Permission.MEMBERS_WRITE)
@form_of("workspaces:members")
def remove(request: PageRequest, user_id: str) -> HttpResponse:
    """Take a member's rights away."""
    services.remove_member(actor=request.actor, user_id=parse_public_id("usr", user_id), reason=reason_of(request))
    messages.success(
        request, "The member is removed. What they did stays in the log, with their name until it is erased."
    )
    return redirect("workspaces:members", request.workspace.slug)


@page(Permission.MEMBERS_WRITE)
@form_of("workspaces:members")
def erase(request: PageRequest, user_id: str) -> HttpResponse:
    """Destroy what is personal of a member."""
    erase_member(actor=request.actor, user_id=parse_public_id("usr", user_id), reason=reason_of(request))
    messages.success(request, "Their name, address and words are destroyed. What was done stays, and its proofs hold.")
    return redirect("workspaces:members", request.workspace.slug)


def _members(request: PageRequest, form: InviteForm, status: int = 200) -> HttpResponse:
    context: dict[str, Any] = {
        "members": selectors.members(request.actor),
        "former": selectors.former_members(request.actor),
        "invitations": selectors.open_invitations(request.actor),
        "form": form,
        "may_change": request.actor.may(Permission.MEMBERS_WRITE),
        "may_read_log": request.actor.may(Permission.AUDIT_READ),
    }
    return render(request, "workspaces/members.html", context, status=status)


def _status(form: forms.Form) -> int:
    return 422 if form.is_bound and form.errors else 200
