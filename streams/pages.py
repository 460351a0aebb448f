"""Streams and digests for people: what leaves, whether it arrives, and the forms that change it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe

from provenance.actor import Actor
from provenance.errors import Conflict, Invalid, PermissionDenied
from provenance.ids import parse_public_id, public_id
from provenance.pages import PageRequest, form_of, page, render
from provenance.permissions import Permission
from provenance.reasons import reason_of
from streams import selectors
from streams.forms import KINDS, DigestForm, SettingsForm, SinkForm
from streams.models import Digest
from streams.selectors import ShownSink
from streams.services import digests, may_manage, sinks
from streams.services.digests import Contents
from streams.services.sinks import Settings
from workspaces import selectors as workspaces
from workspaces.roles import Role, permissions_of

LONGEST_LIST = 100


@page(Permission.AUDIT_READ)
@require_safe
def stream_list(request: PageRequest) -> HttpResponse:
    """Every stream with how far it is, every digest with its last mail, and the forms for new ones."""
    return _list(request)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def create(request: PageRequest) -> HttpResponse:
    """Register a receiver."""
    form = SinkForm(request.POST)

    def make() -> None:
        data = form.cleaned_data
        sinks.create_sink(
            actor=request.actor,
            name=data["name"],
            kind=data["kind"],
            wanted=Settings(**form.settings()),
            from_beginning=data["from_beginning"],
        )

    if status := _tried(form, make):
        return _list(request, sink_form=form, status=status)
    return redirect("streams:list", request.workspace.slug)


@page(Permission.AUDIT_READ)
@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: PageRequest, sink_id: str) -> HttpResponse:
    """One stream: how far it is, and its settings, which a manager may change."""
    shown = selectors.sink_detail(request.actor, parse_public_id("snk", sink_id))
    if request.method != "POST":
        return _detail(request, shown, SettingsForm(initial=_initial(shown)))
    form = SettingsForm(request.POST)
    if status := _tried(form, lambda: _change(request.actor, shown.sink.pk, form.settings())):
        return _detail(request, shown, form, status)
    return redirect("streams:detail", request.workspace.slug, sink_id)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def disable(request: PageRequest, sink_id: str) -> HttpResponse:
    """Send it nothing for now."""
    sinks.disable_sink(actor=request.actor, sink_id=parse_public_id("snk", sink_id), reason=reason_of(request))
    return redirect("streams:detail", request.workspace.slug, sink_id)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def enable(request: PageRequest, sink_id: str) -> HttpResponse:
    """Go on from where it stopped."""
    sinks.enable_sink(actor=request.actor, sink_id=parse_public_id("snk", sink_id), reason=reason_of(request))
    return redirect("streams:detail", request.workspace.slug, sink_id)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def remove(request: PageRequest, sink_id: str) -> HttpResponse:
    """Remove it for good."""
    sinks.remove_sink(actor=request.actor, sink_id=parse_public_id("snk", sink_id), reason=reason_of(request))
    return redirect("streams:list", request.workspace.slug)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def create_digest(request: PageRequest) -> HttpResponse:
    """Set up a regular mail."""
    form = DigestForm(request.POST, readers=_readers(request.actor))
    if status := _tried(form, lambda: digests.create_digest(actor=request.actor, contents=_contents(form))):
        return _list(request, digest_form=form, status=status)
    return redirect("streams:list", request.workspace.slug)


@page(Permission.AUDIT_READ)
@require_http_methods(["GET", "HEAD", "POST"])
def digest(request: PageRequest, digest_id: str) -> HttpResponse:
    """One digest and its settings, which a manager may change."""
    shown = selectors.digest_detail(request.actor, parse_public_id("dgs", digest_id))
    row, readers = shown.digest, _readers(request.actor)
    if request.method == "POST":
        form = DigestForm(request.POST, readers=readers)
        change: Callable[[], object] = lambda: digests.change_digest(  # noqa: E731  one use
            actor=request.actor, digest_id=row.pk, contents=_contents(form)
        )
        status = _tried(form, change)
        if not status:
            return redirect("streams:digest", request.workspace.slug, digest_id)
    else:
        form, status = DigestForm(initial=_digest_initial(row), readers=readers), 200
    context = {"shown": shown, "form": form, "may_manage": may_manage(request.actor)}
    return render(request, "streams/digest.html", context, status=status)


@page(Permission.AUDIT_READ)
@form_of("streams:list")
def remove_digest(request: PageRequest, digest_id: str) -> HttpResponse:
    """End a regular mail."""
    digests.remove_digest(actor=request.actor, digest_id=parse_public_id("dgs", digest_id), reason=reason_of(request))
    return redirect("streams:list", request.workspace.slug)


def _list(
    request: PageRequest, *, sink_form: SinkForm | None = None, digest_form: DigestForm | None = None, status: int = 200
) -> HttpResponse:
    actor = request.actor
    rows = list(selectors.sinks(actor).order_by("name")[:LONGEST_LIST])
    mails = list(selectors.digests(actor).order_by("title")[:LONGEST_LIST])
    context: dict[str, Any] = {
        "sinks": selectors.shown_sinks(actor, rows),
        "digests": selectors.shown_digests(actor, mails),
        "kinds": KINDS,
        "may_manage": may_manage(actor),
        "sends_mail": bool(settings.EMAIL_FROM),
    }
    if context["may_manage"]:
        context["sink_form"] = sink_form or SinkForm()
        context["digest_form"] = digest_form or DigestForm(readers=_readers(actor))
    return render(request, "streams/list.html", context, status=status)


def _detail(request: PageRequest, shown: ShownSink, form: SettingsForm, status: int = 200) -> HttpResponse:
    context = {
        "shown": shown,
        "kind": KINDS[shown.sink.kind],  # type: ignore[index]  # a kind is a text
        "form": form,
        "may_manage": may_manage(request.actor),
    }
    return render(request, "streams/detail.html", context, status=status)


def _tried(form: SettingsForm | DigestForm, work: Callable[[], object]) -> int:
    """Do it with a form's data: 0 when it is done, else the status of the page that shows the form again."""
    if not form.is_valid():
        return Invalid.status
    try:
        with transaction.atomic():
            work()
    except (Invalid, Conflict, PermissionDenied) as error:
        form.add_error(None, error.message)
        return error.status
    return 0


def _change(actor: Actor, sink_id: UUID, changes: dict[str, Any]) -> None:
    sinks.change_sink(actor=actor, sink_id=sink_id, changes=changes)


def _initial(shown: ShownSink) -> dict[str, Any]:
    sink = shown.sink
    return {
        "address": sink.address,
        "secret": f"secret://{sink.secret_name}" if sink.secret_name else "",
        "risk": sink.risk,
        "events": ", ".join(sink.events),
        "with_labels": sink.with_labels,
        "region": sink.region,
        "private_network": sink.private_network,
        "authorities": sink.authorities,
    }


def _digest_initial(row: Digest) -> dict[str, Any]:
    readers = [public_id("usr", UUID(reader["user_id"])) for reader in row.readers]
    return {"title": row.title, "period": row.period, "risk": row.risk, "review": row.review, "readers": readers}


def _contents(form: DigestForm) -> Contents:
    data = form.cleaned_data
    readers = [parse_public_id("usr", reader) for reader in data["readers"]]
    return Contents(**{**data, "readers": readers})


def _readers(actor: Actor) -> list[tuple[str, str]]:
    """The members who may get a digest. Whoever may not see members sees none."""
    if not actor.may(Permission.MEMBERS_READ):
        return []
    return [
        (public_id("usr", member.user_id), member.name)
        for member in workspaces.members(actor)
        if Permission.AUDIT_READ in permissions_of(Role(role) for role in member.roles)
    ]
