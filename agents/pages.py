"""Agents for people: the list, one agent with its versions and what its trust level allows, and its instructions."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_http_methods

from agents import selectors, services
from agents.diffs import prompt_digest, version_diff
from agents.models import Agent
from agents.trust import LIMITS, MATRIX, Trust
from provenance.errors import NotFound
from provenance.pages import PageRequest, page, panels, render
from provenance.permissions import Permission

LONGEST_LIST = 200


@page(Permission.AGENTS_READ)
@require_GET
def agent_list(request: PageRequest) -> HttpResponse:
    """Every agent with its status, trust level and model."""
    listed = list(selectors.agents(request.actor).order_by("slug")[:LONGEST_LIST])
    versions = selectors.current_versions(request.actor, listed)
    rows = [{"agent": agent, "version": versions.get(agent.pk)} for agent in listed]
    return render(request, "agents/list.html", {"rows": rows})


@page(Permission.AGENTS_READ)
@require_GET
def detail(request: PageRequest, agent: str) -> HttpResponse:
    """One agent: what it is made of, what it asked for, what it may do, and how it became that."""
    found = selectors.agent_detail(request.actor, agent)
    context = {
        "agent": found.agent,
        "version": found.current,
        "prompt_digest": prompt_digest(found.current.system_prompt) if found.current else "",
        "history": _history(found),
        "matrix": _column(found.agent),
        "limits": LIMITS[Trust(found.agent.trust_level)],
        "may_read_prompt": request.actor.may(Permission.AGENTS_PROMPT),
        "may_read_log": request.actor.may(Permission.AUDIT_READ),
        "panels": panels(request, "agents.detail", found.agent),
    }
    return render(request, "agents/detail.html", context)


@page(Permission.AGENTS_PROMPT)
@require_http_methods(["GET", "HEAD", "POST"])
def prompt(request: PageRequest, agent: str, number: int) -> HttpResponse:
    """The instructions of a version, for people who edit them. Only a POST reads them, because each reading is an event."""
    found = selectors.agent_detail(request.actor, agent)
    if found.version(number) is None:
        raise NotFound("There is no such version here.")
    if request.method != "POST":
        return redirect("agents:detail", request.workspace.slug, agent)
    text = services.view_prompt(actor=request.actor, agent_id=found.agent.pk, number=number)
    response = render(request, "agents/prompt.html", {"agent": found.agent, "number": number, "text": text})
    response["Cache-Control"] = "no-store"
    return response


def _history(found: selectors.AgentDetail) -> list[dict[str, Any]]:
    return [
        {"version": version, "changes": version_diff(found.version(version.number - 1), version)}
        for version in found.versions
    ]


def _column(agent: Agent) -> list[dict[str, Any]]:
    """The matrix as it stands for this agent: what the gateway reads is what people see (M003)."""
    level = Trust(agent.trust_level)
    return [{"row": row.value, "cell": cells[level]} for row, cells in MATRIX.items()]
