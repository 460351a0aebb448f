"""The page of what is kept: days of each class, and legal holds."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from audit import retention
from audit.retention_forms import DaysForm, HoldForm, ReasonForm
from provenance.errors import Invalid
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, form_of, page, render
from provenance.permissions import Permission

_PAGE = "audit:retention"
_LONGEST_LIST = 200


@page(Permission.AUDIT_READ)
@require_safe
def shown(request: PageRequest) -> HttpResponse:
    """How long details are kept, and what is held."""
    context = {
        "kept": retention.kept(request.actor),
        "holds": retention.holds(request.actor).order_by("-pk")[:_LONGEST_LIST],
        "hold_form": HoldForm(),
        "may_change": request.actor.may(Permission.WORKSPACE_WRITE),
    }
    return render(request, "audit/retention.html", context)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def change(request: PageRequest, retention_class: str) -> HttpResponse:
    """Keep details of a class for so many days."""
    data = _checked(DaysForm(request.POST))
    retention.set_retention(actor=request.actor, retention_class=retention_class, **data)
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def engage(request: PageRequest) -> HttpResponse:
    """Hold everything, a run or an object."""
    retention.engage_hold(actor=request.actor, **_checked(HoldForm(request.POST)))
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def ask_release(request: PageRequest, hold_id: str) -> HttpResponse:
    """Ask that a hold be released."""
    data = _checked(ReasonForm(request.POST))
    retention.ask_release(actor=request.actor, hold_id=parse_public_id("hld", hold_id), **data)
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def release(request: PageRequest, hold_id: str) -> HttpResponse:
    """Agree that a hold be released."""
    data = _checked(ReasonForm(request.POST))
    retention.release_hold(actor=request.actor, hold_id=parse_public_id("hld", hold_id), **data)
    return redirect(_PAGE, request.workspace.slug)


def _checked(form: ReasonForm) -> dict[str, Any]:
    if form.is_valid():
        data: dict[str, Any] = form.cleaned_data
        return data
    raise Invalid(" ".join(str(message) for messages in form.errors.values() for message in messages))
