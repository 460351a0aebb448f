"""What workflows show on the pages of lower floors."""

import re
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string

from provenance.ids import public_id
from provenance.permissions import Permission
from workflows.models import Run

# A source ends with its call; the path before it is an agent's text.
_CALL = re.compile(r"call_[0-9a-z]{26}")


def call_of_evidence(request: HttpRequest, subject: tuple[Any, dict[str, str]]) -> str:
    """The call in whose answer the platform found a value, as a link into its run; "" for what an agent only claims."""
    asked, item = subject
    actor = request.actor  # type: ignore[attr-defined]  # the session door made it
    call = item.get("source", "").rpartition(" ")[2]
    if not _CALL.fullmatch(call) or asked.run_id is None or not actor.may(Permission.RUNS_READ):
        return ""
    run = public_id("run", asked.run_id)
    return render_to_string("workflows/_call_link.html", {"run": run, "call": call}, request)


def run_of_request(request: HttpRequest, asked: Any) -> str:
    """The run that waits for an approval, as a line with links; "" for a request that no run made."""
    actor = request.actor  # type: ignore[attr-defined]  # the session door made it
    if asked.run_id is None or not actor.may(Permission.RUNS_READ):
        return ""
    run = Run.objects.for_actor(actor).select_related("workflow", "version").filter(pk=asked.run_id).first()
    return render_to_string("workflows/_run_line.html", {"run": run, "asked": asked}, request) if run else ""
