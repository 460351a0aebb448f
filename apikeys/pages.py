"""Pages about keys: list, issue, revoke."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe

from apikeys import selectors, services
from apikeys.forms import IssueForm
from provenance.errors import Invalid, PermissionDenied
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, form_of, page, render
from provenance.permissions import Permission
from provenance.reasons import reason_of

LARGEST_LIST = 200


@page(Permission.API_KEYS_WRITE)
@require_safe
def key_list(request: PageRequest) -> HttpResponse:
    """All keys, newest first, and the form for a new one."""
    return _list(request, IssueForm())


@page(Permission.API_KEYS_WRITE)
@form_of("apikeys:list")
def issue(request: PageRequest) -> HttpResponse:
    """Make a key and show its text, for the only time."""
    form = IssueForm(request.POST)
    if not form.is_valid():
        return _list(request, form, status=422)
    try:
        with transaction.atomic():
            key, text = services.issue_key(actor=request.actor, **form.cleaned_data)
    except (Invalid, PermissionDenied) as error:
        form.add_error(None, error.message)
        return _list(request, form, status=error.status)
    response = render(
        request, "apikeys/issued.html", {"key": key, "text": text, "api": f"{settings.PUBLIC_URL}/api/v1"}
    )
    response["Cache-Control"] = "no-store"
    return response


@page(Permission.API_KEYS_WRITE)
@form_of("apikeys:list")
def revoke(request: PageRequest, key_id: str) -> HttpResponse:
    """End a key."""
    services.revoke_key(actor=request.actor, key_id=parse_public_id("key", key_id), reason=reason_of(request))
    return redirect("apikeys:list", request.workspace.slug)


def _list(request: PageRequest, form: IssueForm, status: int = 200) -> HttpResponse:
    rows = list(selectors.keys(request.actor).order_by("-pk")[:LARGEST_LIST])
    context: dict[str, Any] = {"keys": selectors.shown(rows, timezone.now()), "form": form}
    return render(request, "apikeys/list.html", context, status=status)
