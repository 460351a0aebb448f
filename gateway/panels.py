"""What the gateway shows on the pages of lower floors."""

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from audit.names import is_uuid
from gateway import selectors
from gateway.models import ToolCall
from provenance.permissions import Permission


def grants_of_agent(request: HttpRequest, agent: Any) -> str:
    """The tools that the agent may use now, and until when; what it only asks for is not among them."""
    actor = request.actor  # type: ignore[attr-defined]  # the session door made it
    if not actor.may(Permission.GATEWAY_READ):
        return ""
    standing = selectors.grants(actor).filter(agent_id=agent.pk, expires_at__gt=timezone.now())
    grants = standing.order_by("tool__server__slug", "tool__name")
    return render_to_string("gateway/_grants.html", {"grants": grants}, request)


def call_of_event(request: HttpRequest, event: AuditEvent) -> str:
    """How a call ended and who let it happen, on the page of an event about it; "" for an event about anything else."""
    actor = request.actor  # type: ignore[attr-defined]  # the session door made it
    if event.object_type != "tool_call" or not is_uuid(event.object_id) or not actor.may(Permission.GATEWAY_READ):
        return ""
    call = ToolCall.objects.for_actor(actor).filter(pk=event.object_id).first()
    if call is None:
        return ""
    approval = None
    if call.approval_id and actor.may(Permission.APPROVALS_READ):
        approval = ApprovalRequest.objects.for_actor(actor).filter(pk=call.approval_id).first()
    return render_to_string("gateway/_call_of_event.html", {"call": call, "approval": approval}, request)
