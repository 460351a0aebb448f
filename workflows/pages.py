"""Runs and workflows for people: what happened and why, how far it is, and how to stop it."""

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from agents.selectors import scripted_providers
from approvals.selectors import open_requests_of_run
from audit.selectors import run_timeline
from provenance.api import Paging
from provenance.errors import Invalid
from provenance.ids import parse_public_id
from provenance.pages import PageRequest, page, panels, render
from provenance.permissions import Permission
from workflows import run_page, selectors, services
from workflows.forms import CancelForm, ResolveForm, RunFilterForm
from workflows.starters import starters
from workflows.unknown import Settlement

LONGEST_LOG = 200


@page(Permission.RUNS_READ)
@require_safe
def runs(request: PageRequest) -> HttpResponse:
    """Runs, newest first. The filters stand in the address."""
    form = RunFilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    rows, cursor = Paging.of(request).page(selectors.run_list(request.actor, **wanted))
    older = request.GET.copy()
    older["cursor"] = cursor or ""
    who = starters(request.actor, rows)
    context = {
        "form": form,
        "runs": [(run, who[run.pk]) for run in rows],
        "workflows": selectors.workflows(request.actor).order_by("slug")[:200],
        "is_filtered": any(wanted.values()),
        "older": older.urlencode() if cursor else "",
    }
    return render(request, "workflows/runs.html", context, fragment="workflows/_runs.html")


@page(Permission.RUNS_READ)
@require_safe
def run(request: PageRequest, run_id: str) -> HttpResponse:
    """One run: its timeline, the step or call that the address selects, and its log."""
    detail = selectors.run_detail(request.actor, parse_public_id("run", run_id))
    events = run_timeline(actor=request.actor, run_id=detail.run.pk)
    return render(request, "workflows/run.html", _run_context(request, detail, events), fragment="workflows/_run.html")


def _run_context(request: PageRequest, detail: selectors.RunDetail, events: list[Any]) -> dict[str, Any]:
    now = timezone.now()
    axis = run_page.axis_of(detail, now)
    selected = request.GET.get("at", "")
    log = run_page.log_lines(events, detail)
    shown = run_page.inspected(detail, log, selected, request.GET.get("tab", ""), now)
    scripted = scripted_providers(request.actor)
    unknown = selectors.unknown_calls(request.actor, detail.run.pk)
    return {
        "detail": detail,
        "run": detail.run,
        "starter": starters(request.actor, [detail.run])[detail.run.pk],
        "facts": run_page.facts(detail, axis, len(events), scripted),
        "is_scripted": any(agent["provider"] in scripted for agent in detail.agents.values()),
        "nodes": run_page.nodes(detail, axis, shown.key if shown else ""),
        "ticks": axis.ticks(),
        "inspected": shown,
        "log": log[-LONGEST_LOG:],
        "log_left_out": max(0, len(events) - LONGEST_LOG),
        "waiting": open_requests_of_run(request.actor, detail.run.pk),
        "unknown": [(call, None) for call in unknown],
        "may_resolve": bool(unknown) and request.actor.may(Permission.RUNS_WRITE),
        "may_read_log": request.actor.may(Permission.AUDIT_READ),
        "may_cancel": detail.may_be_canceled and request.actor.may(Permission.RUNS_WRITE),
        "address": reverse("workflows:run", args=[request.workspace.slug, detail.run.public_id]),
        "panels": panels(request, "workflows.run", detail.run),
    }


@page(Permission.RUNS_WRITE)
@require_http_methods(["GET", "HEAD", "POST"])
def cancel(request: PageRequest, run_id: str) -> HttpResponse:
    """Stop a run. A GET asks why; only the POST stops it."""
    found = selectors.run_summary(request.actor, parse_public_id("run", run_id))
    form = CancelForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.cancel_run(actor=request.actor, run_id=found.pk, reason=form.cleaned_data["reason"])
        messages.info(request, "The run is being canceled. What was already sent to a tool is not undone.")
        return redirect("workflows:run", request.workspace.slug, found.public_id)
    status = 422 if form.is_bound else 200
    return render(request, "workflows/cancel.html", {"run": found, "form": form}, status=status)


@page(Permission.RUNS_WRITE)
@require_http_methods(["GET", "HEAD", "POST"])
def resolve(request: PageRequest, run_id: str, call_id: str) -> HttpResponse:
    """Say what became of a call of unknown outcome. A GET shows the call and asks; only the POST settles it."""
    found = selectors.run_summary(request.actor, parse_public_id("run", run_id))
    calls = selectors.unknown_calls(request.actor, found.pk)
    call = next((call for call in calls if call.id == call_id), None)
    if call is None:
        # Settled meanwhile, by somebody else or by a late answer: the run says how.
        messages.info(request, "This call does not wait for anybody's word any more.")
        return redirect("workflows:run", request.workspace.slug, found.public_id)
    form = ResolveForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _settle(request, call, form):
        messages.success(request, f"{call.target}: your word is recorded, and the run goes on from it.")
        return redirect("workflows:run", request.workspace.slug, found.public_id)
    context = {"run": found, "call": call, "form": form, "may_resolve": True}
    return render(request, "workflows/resolve.html", context, status=422 if form.is_bound else 200)


def _settle(request: PageRequest, call: selectors.UnknownCall, form: ResolveForm) -> bool:
    """Whether the call was settled; what is wrong stands in the form then."""
    said = form.cleaned_data
    try:
        with transaction.atomic():
            services.resolve_call(
                actor=request.actor,
                call_id=parse_public_id("call", call.id),
                outcome=Settlement(said["outcome"]),
                result=said["result"],
                reason=said["reason"],
            )
    except (Invalid, services.RetryTooEarly, services.CallIsLookedAt) as error:
        paths = {str(entry["path"]).partition(".")[0] for entry in error.data.get("errors", [])}
        form.add_error("result" if "result" in paths else None, error.message)
        return False
    return True


@page(Permission.WORKFLOWS_READ)
@require_safe
def workflow_list(request: PageRequest) -> HttpResponse:
    """Every workflow with the version that new runs use."""
    rows = selectors.workflows(request.actor).order_by("slug")[:200]
    return render(request, "workflows/list.html", {"workflows": rows})


@page(Permission.WORKFLOWS_READ)
@require_safe
def workflow(request: PageRequest, slug: str) -> HttpResponse:
    """One workflow: its steps, its versions, and the definition as text."""
    detail = selectors.workflow_detail(request.actor, slug)
    context = {"detail": detail, **selectors.live_definition(detail)}
    return render(request, "workflows/detail.html", context)
