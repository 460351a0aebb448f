"""Requests to a person and what persons decided. The database holds both to the rules, whoever writes.

Workers insert requests and may withdraw or expire them; only the web role approves or rejects, and only the gateway
uses an approval up. `approvals/migrations/0002_guards.py` has the triggers behind this.
"""

from typing import ClassVar, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from approvals.rules import Requester
from audit.governed import Governed
from provenance.db import TenantForeignKey, TenantQuerySet
from provenance.ids import public_id, short_id
from provenance.risk import Risk

LONGEST_SLA_MINUTES = 10_080


class Origin(models.TextChoices):
    """Where a request came from, and whom a decision wakes (`approvals.origins`)."""

    RUN_STEP = "run_step"
    TOOL_CALL = "tool_call"


class Status(models.TextChoices):
    """`pending` and `escalated` are open; the rest is final."""

    PENDING = "pending"
    ESCALATED = "escalated"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"


OPEN = (Status.PENDING, Status.ESCALATED)


class Verdict(models.TextChoices):
    """What a person says."""

    APPROVE = "approve"
    REJECT = "reject"


class ApprovalRequests(TenantQuerySet):
    """Requests, with the two halves every page knows."""

    def open(self) -> Self:
        """Those that wait for a person."""
        return self.filter(status__in=OPEN)

    def closed(self) -> Self:
        """Those that are final; they are shown for ever."""
        return self.exclude(status__in=OPEN)


class ApprovalRequest(Governed):
    """One call that waits for a person. What was asked for never changes; a different call is a different request.

    `digest` binds facts and payload as proposed. `approved_digest` binds what the latest approval allows, after its
    edit, and is empty until there is one. Times are the database's.
    """

    audit_type: ClassVar[str] = "approval"

    origin = models.CharField(max_length=20, choices=Origin.choices)
    origin_id = models.UUIDField()
    run_id = models.UUIDField(null=True)
    title = models.CharField(max_length=200)
    rationale = models.TextField(blank=True, default="")
    risk = models.CharField(max_length=10, choices=[(risk.value, risk.value) for risk in Risk])
    quorum = models.PositiveSmallIntegerField(default=1)
    sla_minutes = models.PositiveIntegerField()
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField()
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    payload = models.JSONField()
    payload_schema = models.JSONField()
    current = models.JSONField(default=dict)
    evidence = models.JSONField(default=list)
    facts = models.JSONField()
    digest = models.CharField(max_length=64)
    agent_label = models.CharField(max_length=200)
    tool_label = models.CharField(max_length=200)
    requested_by_kind = models.CharField(max_length=12)
    requested_by_id = models.CharField(max_length=100)
    requested_for = models.CharField(max_length=100, blank=True, default="")
    conflicted_user_ids = ArrayField(models.UUIDField(), default=list)
    # Set while it is open: how much of the time has been warned about, how many have approved, and what.
    warned_percent = models.PositiveSmallIntegerField(default=0)
    approve_count = models.PositiveSmallIntegerField(default=0)
    approved_digest = models.CharField(max_length=64, blank=True, default="")
    # Set once, when it closes. The words of persons are in their decisions; these are the platform's.
    decided_at = models.DateTimeField(null=True)
    closing_reason = models.TextField(blank=True, default="")
    consumed_at = models.DateTimeField(null=True)

    objects = ApprovalRequests.as_manager()  # type: ignore[misc]  # django-stubs takes a manager for a field

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(origin__in=Origin.values), name="approvals_request_origin"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="approvals_request_status"),
            models.CheckConstraint(condition=Q(risk__in=[risk.value for risk in Risk]), name="approvals_request_risk"),
            models.CheckConstraint(
                condition=Q(sla_minutes__range=(1, LONGEST_SLA_MINUTES)), name="approvals_request_sla"
            ),
            models.CheckConstraint(
                condition=Q(quorum__gte=2) | (Q(quorum=1) & ~Q(risk=Risk.CRITICAL)), name="approvals_request_quorum"
            ),
            # Nothing is approved by timeout or by nobody: approved means in time, by as many people as were needed.
            models.CheckConstraint(
                condition=~Q(status=Status.APPROVED)
                | (Q(decided_at__lte=F("due_at"), approve_count__gte=F("quorum")) & ~Q(approved_digest="")),
                name="approvals_request_approved_by_people_in_time",
            ),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, decided_at__isnull=True)
                | (~Q(status__in=OPEN) & Q(decided_at__isnull=False)),
                name="approvals_request_closed_at",
            ),
            models.CheckConstraint(
                condition=Q(consumed_at__isnull=True) | Q(status=Status.APPROVED),
                name="approvals_request_consumed_only_when_approved",
            ),
            models.UniqueConstraint(
                fields=["workspace_id", "origin", "origin_id"],
                condition=Q(status__in=OPEN),
                name="approvals_request_one_open",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace_id", "due_at"], condition=Q(status__in=OPEN), name="approvals_request_due"),
            # For the sweep, which looks across workspaces.
            models.Index(fields=["due_at"], condition=Q(status__in=OPEN), name="approvals_request_overdue"),
            models.Index(fields=["workspace_id", "origin", "origin_id", "-id"], name="approvals_request_by_origin"),
            models.Index(
                fields=["workspace_id", "-decided_at", "-id"],
                condition=~Q(status__in=OPEN),
                name="approvals_request_decided",
            ),
            models.Index(fields=["workspace_id", "run_id"], name="approvals_request_run"),
        ]

    @property
    def public_id(self) -> str:
        """`apr_…`, as it stands in addresses and in the API."""
        return public_id("apr", self.pk)

    @property
    def short_id(self) -> str:
        """`AP-8K2QX`, for people."""
        return short_id("AP", self.pk)

    @property
    def is_open(self) -> bool:
        """Whether it still waits for a person."""
        return self.status in OPEN

    @property
    def risk_class(self) -> Risk:
        """The risk as an ordered value."""
        return Risk(self.risk)

    @property
    def requester(self) -> Requester:
        """Who asked, for `approvals.rules`."""
        return Requester(
            kind=self.requested_by_kind,
            id=self.requested_by_id,
            on_behalf_of=self.requested_for,
            conflicted_user_ids=frozenset(self.conflicted_user_ids),
        )


class ApprovalDecision(Governed):
    """What one person decided: for ever, with the payload it allows. Only the web role writes it, nobody changes it."""

    request = TenantForeignKey(ApprovalRequest, related_name="decisions")
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    payload = models.JSONField()
    digest = models.CharField(max_length=64)
    changed_fields = ArrayField(models.CharField(max_length=200), default=list)
    reason = models.TextField(blank=True, default="")
    decided_by = models.UUIDField()
    decided_at = models.DateTimeField()
    # How the person proved, at that moment, who they are: "" for the session alone.
    step_up = models.CharField(max_length=20, blank=True, default="")
    # The signed `approval.approved` or `approval.rejected`; without it the decision authorizes nothing (T01).
    event_id = models.UUIDField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="approvals_decision_verdict"),
            models.UniqueConstraint(
                fields=["workspace_id", "request", "decided_by"], name="approvals_decision_one_per_person"
            ),
        ]

    request_id: UUID

    @property
    def is_edited(self) -> bool:
        """Whether the person changed the payload."""
        return bool(self.changed_fields)
