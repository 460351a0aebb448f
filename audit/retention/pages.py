"""The page of what is kept: days of each class, legal holds, and where checkpoints are kept besides the database."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from audit import names
from audit.condition import condition
from audit.models import LegalHold
from audit.retention import services as retention
from audit.retention.forms import DaysForm, HoldForm
from provenance.actor import Actor
from provenance.errors import Conflict, Invalid
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, form_of, page, render
from provenance.permissions import Permission
from provenance.reasons import ReasonForm, reason_of
from provenance.templatetags.console import days_in_words

_PAGE = "audit:retention"
_LONGEST_LIST = 200


@dataclass(frozen=True, slots=True)
class ShownHold:
    """A hold with what people call what it covers, and who engaged it, asked for its release and agreed."""

    hold: LegalHold
    covers: str
    engaged_by: str
    asked_by: str
    released_by: str


@page(Permission.AUDIT_READ)
@require_safe
def shown(request: PageRequest) -> HttpResponse:
    """How long details are kept, and what is held."""
    return _page_with(request, HoldForm())


def _page_with(request: PageRequest, hold_form: HoldForm, status: int = 200) -> HttpResponse:
    context = {
        "kept": retention.kept(request.actor),
        "holds": _shown(request.actor, list(retention.holds(request.actor).order_by("-pk")[:_LONGEST_LIST])),
        "hold_form": hold_form,
        "places": condition().places,
        "may_change": request.actor.may(Permission.WORKSPACE_WRITE),
    }
    return render(request, "audit/retention.html", context, status=status)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def change(request: PageRequest, retention_class: str) -> HttpResponse:
    """Keep details of a class for so many days."""
    data = _checked(DaysForm(request.POST))
    retention.set_retention(actor=request.actor, retention_class=retention_class, **data)
    messages.success(request, f"Details of the class {retention_class} are kept {days_in_words(data['days'])} now.")
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def engage(request: PageRequest) -> HttpResponse:
    """Hold everything, a run or an object."""
    form = HoldForm(request.POST)
    if not form.is_valid():
        return _page_with(request, form, Invalid.status)
    try:
        with transaction.atomic():
            retention.engage_hold(actor=request.actor, **form.cleaned_data)
    except (Invalid, Conflict) as error:
        for problem in error.data.get("errors", [{"path": None, "message": error.message}]):
            form.add_error(problem["path"], problem["message"])
        return _page_with(request, form, error.status)
    messages.success(request, "The hold is engaged: nothing that it covers is erased or expires.")
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def ask_release(request: PageRequest, hold_id: str) -> HttpResponse:
    """Ask that a hold be released."""
    reason = reason_of(request)
    retention.ask_release(actor=request.actor, hold_id=parse_public_id("hld", hold_id), reason=reason)
    messages.success(request, "You asked for the release. The hold stays until another administrator agrees.")
    return redirect(_PAGE, request.workspace.slug)


@page(Permission.WORKSPACE_WRITE)
@form_of(_PAGE)
def release(request: PageRequest, hold_id: str) -> HttpResponse:
    """Agree that a hold be released."""
    reason = reason_of(request)
    retention.release_hold(actor=request.actor, hold_id=parse_public_id("hld", hold_id), reason=reason)
    messages.success(request, "The hold is released. What it covered may be erased and expire from now on.")
    return redirect(_PAGE, request.workspace.slug)


def _shown(actor: Actor, holds: list[LegalHold]) -> list[ShownHold]:
    people = {id_ for hold in holds for id_ in (hold.engaged_by, hold.release_asked_by, hold.released_by) if id_}
    runs = {hold.scope_id for hold in holds if hold.scope_kind == "run"}
    things = names.known(actor, [*(f"member:{id_}" for id_ in people), *(f"run:{id_}" for id_ in runs)])
    called = {thing.id: thing.name for thing in things}
    return [
        ShownHold(
            hold=hold,
            covers=called.get(hold.scope_id, hold.scope_id),
            engaged_by=called.get(hold.engaged_by, ""),
            asked_by=called.get(hold.release_asked_by, ""),
            released_by=called.get(hold.released_by, ""),
        )
        for hold in holds
    ]


def _checked(form: ReasonForm) -> dict[str, Any]:
    if form.is_valid():
        data: dict[str, Any] = form.cleaned_data
        return data
    raise Invalid(" ".join(str(message) for messages in form.errors.values() for message in messages))
