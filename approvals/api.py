"""Requests for programs, to read. There is no address that decides: no key does, a person with a session does."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from approvals import selectors
from approvals.models import ApprovalDecision, ApprovalRequest, Status
from provenance.api import ApiRequest, Endpoint, etag, found, page_response
from provenance.errors import Invalid
from provenance.ids import parse_public_id, public_id
from provenance.permissions import Permission


class DecisionOutput(serializers.Serializer[ApprovalDecision]):
    """What one person decided."""

    verdict = serializers.CharField()
    reason = serializers.CharField()
    decided_by = serializers.SerializerMethodField(help_text="The person's id, `usr_…`.")
    decided_at = serializers.DateTimeField()
    payload = serializers.JSONField(help_text="What was approved, after the edit.")
    changed_fields = serializers.ListField(child=serializers.CharField())
    digest = serializers.CharField(help_text="SHA-256 of the call that this decision is about.")
    event_id = serializers.SerializerMethodField(help_text="The signed event, `evt_…`.")

    def get_decided_by(self, decision: ApprovalDecision) -> str:
        """The public id of the person."""
        return public_id("usr", decision.decided_by)

    def get_event_id(self, decision: ApprovalDecision) -> str:
        """The public id of the event."""
        return public_id("evt", decision.event_id)


class ApprovalSummary(serializers.Serializer[ApprovalRequest]):
    """A request as it stands in lists."""

    id = serializers.CharField(source="public_id")
    status = serializers.ChoiceField(choices=Status.choices)
    risk = serializers.CharField()
    title = serializers.CharField(help_text="Written by the agent or its workflow, checked by nobody.")
    agent = serializers.CharField(source="agent_label")
    tool = serializers.CharField(source="tool_label")
    run_id = serializers.SerializerMethodField(help_text="`run_…`, or null.")
    sla_minutes = serializers.IntegerField()
    requested_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(help_text="When it is rejected if nobody decides. Never approved by timeout.")
    decided_at = serializers.DateTimeField(allow_null=True)
    consumed_at = serializers.DateTimeField(allow_null=True)

    def get_run_id(self, request: ApprovalRequest) -> str | None:
        """The public id of the run."""
        return public_id("run", request.run_id) if request.run_id else None


class ApprovalOutput(ApprovalSummary):
    """A request with everything that a person sees before deciding, and what was decided."""

    rationale = serializers.CharField(help_text="The agent's words, checked by nobody.")
    payload = serializers.JSONField()
    payload_schema = serializers.JSONField()
    current = serializers.JSONField()
    evidence = serializers.SerializerMethodField(
        help_text="`emerald` and a `source` only where the platform itself found the value; else what the agent claims."
    )
    digest = serializers.CharField()
    quorum = serializers.IntegerField()
    closing_reason = serializers.CharField()
    decisions = serializers.SerializerMethodField()

    @extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}})
    def get_evidence(self, request: ApprovalRequest) -> list[dict[str, str]]:
        """The evidence, held against the platform's own record."""
        return selectors.witnessed_evidence(request)

    @extend_schema_field(DecisionOutput(many=True))
    def get_decisions(self, request: ApprovalRequest) -> list[dict[str, Any]]:
        """The decisions, oldest first."""
        return [dict(DecisionOutput(decision).data) for decision in request.decisions.all()]


class ApprovalList(Endpoint):
    """The requests of the workspace, newest first; `?status=` keeps one status."""

    permission = Permission.APPROVALS_READ

    @extend_schema(
        responses=ApprovalSummary(many=True),
        parameters=[OpenApiParameter("status", str, enum=Status.values)],
    )
    def get(self, request: ApiRequest) -> Response:
        """A page of requests."""
        rows = selectors.requests(request.actor)
        if status := request.GET.get("status", ""):
            if status not in Status.values:
                message = f"One of {', '.join(Status.values)}."
                raise Invalid("status is not one.", errors=[{"path": "status", "message": message}])
            rows = rows.filter(status=status)
        return page_response(request, rows, lambda row: ApprovalSummary(row).data)


class ApprovalView(Endpoint):
    """One request."""

    permission = Permission.APPROVALS_READ

    @extend_schema(responses=ApprovalOutput)
    def get(self, request: ApiRequest, approval_id: str) -> Response:
        """The request as a person sees it before deciding, and what was decided."""
        rows = selectors.requests(request.actor).filter(pk=parse_public_id("apr", approval_id))
        asked = found(rows.first(), "approval")
        return Response(ApprovalOutput(asked).data, headers={"ETag": etag(asked.audit_rev)})
