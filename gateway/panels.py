"""What the gateway shows on the pages of lower floors."""

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from gateway import selectors
from provenance.permissions import Permission


def grants_of_agent(request: HttpRequest, agent: Any) -> str:
    """The tools that the agent may use now, and until when; what it only asks for is not among them."""
    actor = request.actor  # type: ignore[attr-defined]  # the session door made it
    if not actor.may(Permission.GATEWAY_READ):
        return ""
    standing = selectors.grants(actor).filter(agent_id=agent.pk, expires_at__gt=timezone.now())
    grants = standing.order_by("tool__server__slug", "tool__name")
    return render_to_string("gateway/_grants.html", {"grants": grants}, request)
