"""The log for people: find events, read one with what can be proved about it, keep views, take events away."""

import hashlib
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

from django.contrib import messages
from django.http import FileResponse, HttpResponse, HttpResponseNotModified, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_POST, require_safe

from audit import background, exports, labels, names, narrative, one_event, saved_views, selectors
from audit.evidence import evidence_pack, frameworks
from audit.forms import EventSearchForm, EvidenceForm, ExportForm, SaveViewForm
from audit.one_event import EventDetail
from audit.rail import Point, railed
from audit.reads import told
from audit.seal import seal_of
from audit.selectors import EventFilters
from audit.spool import spooled
from audit.tree import django_tree
from audit.words import called, in_words, named_like, one_by_one, understood
from provenance.actor import ActorKind
from provenance.api import Paging
from provenance.errors import Invalid, NotFound
from provenance.ids import parse_public_id, public_id, uuid7, uuid7_time
from provenance.pages import PageRequest, page, panels, render
from provenance.permissions import Permission

COUNTED_AT_MOST = 10_000
NEW_COUNTED_AT_MOST = 100
MOST_SUGGESTED = 12
MOST_EXPORTS = 50
_TIMELINES = ("user", "agent")
_OBJECT_PAGES = {"approval": ("approvals:detail", "apr"), "run": ("workflows:run", "run")}


@page(Permission.AUDIT_READ)
@require_safe
@told
def events(request: PageRequest) -> HttpResponse:
    """Events, newest first. The filters stand in the address; what is exported is what they find.

    `?at=` shows one event whole beside the others, `?add=` puts a filter into the address.
    """
    form = EventSearchForm(request.GET, actor=request.actor)
    if request.GET.get("add", "").strip():
        return _with_added(request, form)
    if not form.is_valid():
        # All events instead would look like what the filter found, and be exported as that.
        mistyped = {"form": form, "pills": form.pills(request.GET), "seal": seal_of(request.actor)}
        return render(request, "audit/events.html", mistyped, status=Invalid.status)
    # Nothing that comes while this is rendered: what is counted, shown and exported ends at the same event.
    shown_to = uuid7()
    filters, paging = form.filters(before=shown_to), Paging.of(request)
    rows, cursor, count = selectors.search_and_count(
        actor=request.actor, filters=filters, paging=paging, at_most=COUNTED_AT_MOST
    )
    rows = labels.with_names(request.actor, rows)
    tree = django_tree()
    selected = request.GET.get("at", "")
    railed_rows = railed(rows, tree.sealed_at(request.workspace.id), tree.checkpoints_over)
    context = {
        "form": form,
        "seal": seal_of(request.actor),
        "today": datetime.now(UTC),
        "rows": railed_rows,
        "gaps": sum(row.point is Point.GAP for row in railed_rows),
        "pills": form.pills(request.GET),
        "count": count.number,
        "is_more": count.is_more,
        "is_first": paging.before is None,
        "is_live": request.GET.get("live") != "off" and paging.before is None,
        "older": _query(request, cursor=cursor) if cursor else "",
        "searched_to": _searched_to(cursor) if len(rows) < paging.limit else None,
        "kept": form.kept(),
        "live_off": _query(request, live="off"),
        "live_on": _query(request, live=""),
        "bare": _query(request, at="", cursor=""),
        "periods": [
            (word, _query(request, last=value, since="", until="", cursor="")) for value, word in form.periods()
        ],
        "views": saved_views.saved_views(request.actor),
        "is_of_the_instance": form.is_of_the_instance(),
        "export": ExportForm(
            initial={"before": shown_to, "shown": None if count.is_more or paging.before else count.number}
        ),
        "after": public_id("evt", rows[0].event.pk if rows and paging.before is None else shown_to),
        "query": _query(request, cursor=""),
        **(_panel(request, selected) if selected else {}),
    }
    return render(request, "audit/events.html", context)


@page(Permission.AUDIT_READ)
@require_safe
@told
def tail(request: PageRequest) -> HttpResponse:
    """How many events came after the newest on the screen: asked for every five seconds by a page that is open."""
    form = EventSearchForm(request.GET, actor=request.actor)
    if not form.is_valid():
        raise Invalid("The filters are not valid.")
    after = parse_public_id("evt", request.GET.get("after", ""))
    number = selectors.count_newer(
        actor=request.actor, filters=form.filters(), after=after, at_most=NEW_COUNTED_AT_MOST + 1
    )
    etag = f'"{hashlib.sha256(f"{after}/{number}".encode()).hexdigest()[:16]}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    context = {"number": number, "most": NEW_COUNTED_AT_MOST, "kept": form.kept(), "workspace": request.workspace}
    return HttpResponse(render_to_string("audit/_new.html", context, request=request), headers={"ETag": etag})


@page(Permission.AUDIT_READ)
@require_safe
@told
def event(request: PageRequest, event_id: str) -> HttpResponse:
    """One event: who, for whom, what, why, and each step of its proof in words."""
    return render(request, "audit/event.html", _panel(request, event_id))


@page(Permission.AUDIT_READ)
@require_safe
@told
def proof_file(request: PageRequest, event_id: str) -> HttpResponse:
    """The `.tlog-proof` of one event: with the log's public key it can be checked anywhere."""
    found = one_event.event_proof_text(actor=request.actor, event_id=parse_public_id("evt", event_id))
    headers = {"Content-Disposition": f'attachment; filename="{event_id}.tlog-proof"'}
    return HttpResponse(found, content_type="text/plain; charset=utf-8", headers=headers)


@page(Permission.AUDIT_READ)
@require_POST
def export(request: PageRequest) -> FileResponse:
    """The events that the address's filters find, at once, as a bundle that can be checked elsewhere. Itself an event."""
    filters = _wanted(request)[0]
    bundle = spooled(lambda out: exports.export_bundle(actor=request.actor, out=out, filters=filters))
    return _handed_out(bundle, request.workspace.slug)


@page(Permission.AUDIT_READ)
@require_safe
@told
def timeline(request: PageRequest, kind: str, actor_id: str) -> HttpResponse:
    """What a member or an agent did and what was done to them, as sentences."""
    if kind not in _TIMELINES:
        raise NotFound("There are timelines of users and agents here; that of a run is its page.")
    actor_id = names.subject(request.actor, kind, actor_id)
    rows, cursor = selectors.timeline(actor=request.actor, kind=kind, subject=actor_id, paging=Paging.of(request))
    rows = labels.with_names(request.actor, rows)
    name = next((row.actor_name for row in rows if row.event.actor_id == actor_id), "") or next(
        (row.object_name for row in rows if row.event.object_id == actor_id), "Nothing yet"
    )
    context = {
        "name": name,
        "kind": kind,
        "lines": [(row, narrative.told(row)) for row in rows],
        "older": _query(request, cursor=cursor) if cursor else "",
    }
    return render(request, "audit/timeline.html", context)


# --- Exports in the background -----------------------------------------------------------------------------------------


@page(Permission.AUDIT_READ)
@require_POST
def ask_for_export(request: PageRequest) -> HttpResponse:
    """Let a worker make the bundle of what the screen showed, and go to where it can be watched."""
    filters, form = _wanted(request)
    asked = background.request_export(
        actor=request.actor,
        filters=filters,
        shown=form.cleaned_data["shown"],
        recipient=form.cleaned_data["recipient"],
    )
    return redirect("audit:export_job", request.workspace.slug, asked.public_id)


@page(Permission.AUDIT_READ)
@require_safe
@told
def export_jobs(request: PageRequest) -> HttpResponse:
    """The member's exports of the last days."""
    rows = background.exports_of(request.actor)[:MOST_EXPORTS]
    shown = [(row, in_words(request.actor, row.filters)) for row in rows]
    return render(request, "audit/exports.html", {"exports": shown})


@page(Permission.AUDIT_READ)
@require_safe
@told
def export_job(request: PageRequest, export_id: str) -> HttpResponse:
    """One export: how far it is, and the bundle once it is there."""
    found = background.export_of(request.actor, parse_public_id("exp", export_id))
    context = {"export": found, "filters": in_words(request.actor, found.filters)}
    return render(request, "audit/export.html", context, fragment="audit/_export.html")


@page(Permission.AUDIT_READ)
@require_POST
def fetch_export(request: PageRequest, export_id: str) -> FileResponse:
    """The bundle. Each fetching is an event; the door has asked for the permission again."""
    wanted = parse_public_id("exp", export_id)
    bundle = spooled(lambda out: background.fetched(actor=request.actor, export_id=wanted, out=out))
    return _handed_out(bundle, f"{request.workspace.slug}-{public_id('exp', wanted)}")


# --- Evidence for auditors ---------------------------------------------------------------------------------------------


@page(Permission.AUDIT_READ)
@require_safe
def evidence(request: PageRequest) -> HttpResponse:
    """The frameworks for which the log holds evidence, with each control and what supports it."""
    context = {"frameworks": list(frameworks().values()), "form": EvidenceForm()}
    return render(request, "audit/evidence.html", context)


@page(Permission.AUDIT_READ)
@require_POST
def take_evidence(request: PageRequest, framework_id: str) -> FileResponse:
    """The pack of one framework. Taking it is an event."""
    form = EvidenceForm(request.POST)
    if not form.is_valid():
        why = " ".join(str(error) for error in form.non_field_errors()) or "The days are not valid."
        raise Invalid(f"{why} Nothing was exported.")
    times = form.times()
    pack = spooled(lambda out: evidence_pack(actor=request.actor, framework_id=framework_id, times=times, out=out))
    return _handed_out(pack, f"{request.workspace.slug}-evidence-{framework_id}")


def _wanted(request: PageRequest) -> tuple[EventFilters, ExportForm]:
    """The filters of the address, up to the event that the screen showed last. Raises `Invalid`."""
    form, sent = EventSearchForm(request.GET, actor=request.actor), ExportForm(request.POST)
    if not form.is_valid() or not sent.is_valid():
        raise Invalid("The filters are not valid; nothing was exported.")
    return form.filters(before=sent.cleaned_data["before"]), sent


def _handed_out(bundle: IO[bytes], name: str) -> FileResponse:
    name = f"provenance-{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"
    return FileResponse(bundle, as_attachment=True, filename=name, content_type="application/zip")


# --- Saved views -------------------------------------------------------------------------------------------------------


@page(Permission.AUDIT_READ)
@require_POST
def save_view(request: PageRequest) -> HttpResponse:
    """Keep the filters of the address under a name."""
    search, form = EventSearchForm(request.GET, actor=request.actor), SaveViewForm(request.POST)
    if not search.is_valid() or not form.is_valid():
        raise Invalid("A view needs a name of at most 60 characters, and filters that are valid. Nothing was saved.")
    view = saved_views.save_view(actor=request.actor, name=form.cleaned_data["name"], query=search.kept())
    messages.success(request, f"The view “{view.name}” is saved.")
    return redirect(f"{reverse('audit:events', args=[request.workspace.slug])}?{view.query}")


@page(Permission.AUDIT_READ)
@require_POST
def remove_view(request: PageRequest, view_id: UUID) -> HttpResponse:
    """Forget a view of one's own."""
    saved_views.remove_view(actor=request.actor, view_id=view_id)
    messages.info(request, "The view is removed.")
    return redirect("audit:events", request.workspace.slug)


# --- Parts -------------------------------------------------------------------------------------------------------------


def _with_added(request: PageRequest, form: EventSearchForm) -> HttpResponse:
    """The address with what was typed as a filter; or the page, saying why it is none and what comes close."""
    text = request.GET["add"].strip()
    if sought := one_event.event_named(request.actor, text):
        return redirect("audit:event", request.workspace.slug, sought)
    spelled = understood(text)
    things, filters = ([], spelled) if spelled else called(request.actor, text)
    rest = ""
    if not filters and not things:
        filters, rest = one_by_one(request.actor, text)
    if filters and not rest:
        query = _query(request, add="", cursor="", at="", **filters)
        return redirect(f"{reverse('audit:events', args=[request.workspace.slug])}?{query}")
    context = {
        "form": form,
        "pills": form.pills(request.GET),
        "seal": seal_of(request.actor),
        "typed": text,
        "rest": rest if filters else "",
        "too_many": [(thing, _query(request, add="", about=thing.key)) for thing in things[:MOST_SUGGESTED]],
        "number": len(things),
        "kinds": [f"{kind}s" for kind in names.kinds()],
        "kept": form.kept(),
        "alike": [
            (event, _query(request, add="", **{**filters, "action": event.value}))
            for event in named_like(rest or text)[:MOST_SUGGESTED]
        ],
    }
    return render(request, "audit/events.html", context, status=Invalid.status)


def _searched_to(cursor: str | None) -> datetime | None:
    """How far back a search looked that ended before its page was full."""
    before = Paging(before=None) if cursor is None else Paging.of_cursor(cursor)
    return uuid7_time(before.before) if before.before else None


def _panel(request: PageRequest, event_id: str) -> dict[str, Any]:
    """What the page of an event shows, and the panel beside the list."""
    detail = one_event.event_detail(actor=request.actor, event_id=parse_public_id("evt", event_id))
    (row,) = labels.with_names(request.actor, [detail.row])
    return {
        "detail": detail,
        "row": row,
        "context": row.event.context,
        "agent_version": labels.name_of(
            request.actor, "agent_version", str(row.event.context.get("agent_version") or "")
        ),
        "steps": detail.steps,
        "facts": _shown_facts(detail),
        "object_address": _object_address(detail, request.workspace.slug),
        "who_address": _timeline_address(row.event.actor_type, row.event.actor_id, request.workspace.slug),
        "panels": panels(request, "audit.event", row.event),
    }


def _query(request: PageRequest, **changes: str | None) -> str:
    """The address's query with some parameters changed; an empty one goes."""
    query: QueryDict = request.GET.copy()
    for name, value in changes.items():
        if value:
            query[name] = value
        else:
            query.pop(name, None)
    return query.urlencode()


def _shown_facts(detail: EventDetail) -> list[tuple[str, Any]]:
    """What else the details say, without what the head of the page shows already."""
    shown = {"actor_label", "object_label", "reason", "ip"}
    told_facts = ((name, value) for name, value in detail.row.facts.items() if name not in shown)
    return [(name.replace("_", " "), value) for name, value in told_facts if value not in ("", None, [], {})]


def _object_address(detail: EventDetail, workspace: str) -> str:
    """The page of what the event is about; "" for what has none."""
    route, prefix = _OBJECT_PAGES.get(detail.row.event.object_type, ("", ""))
    try:
        return reverse(route, args=[workspace, public_id(prefix, UUID(detail.row.event.object_id))]) if route else ""
    except ValueError:
        return ""


def _timeline_address(kind: str, actor_id: str, workspace: str) -> str:
    """Everything that a member or an agent did; "" for the platform itself, and for an id that no address can hold."""
    if kind not in {ActorKind.USER, ActorKind.AGENT}:
        return ""
    try:
        return reverse("audit:timeline", args=[workspace, kind, actor_id])
    except NoReverseMatch:
        return ""
