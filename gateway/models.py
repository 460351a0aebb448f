"""Servers, tools, grants, redaction policies and calls. People write the first four; the gateway writes calls."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.governed import Governed
from gateway import schemas
from gateway.contract import CallState, Effect, RetryClass
from provenance.db import TenantForeignKey, TenantModel


class McpServer(Governed):
    """A server of tools that the workspace registered. Unusable until a person reviewed and approved it (M051)."""

    class Status(models.TextChoices):
        PENDING_REVIEW = "pending_review"
        APPROVED = "approved"
        QUARANTINED = "quarantined"
        DISABLED = "disabled"

    slug = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    url = models.CharField(max_length=500)
    # scheme://host:port of the url: what the credential is bound to (T02).
    origin = models.CharField(max_length=300)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING_REVIEW)
    secret_name = models.CharField(max_length=100, blank=True, default="")
    slot = models.CharField(max_length=100, blank=True, default="header:Authorization")
    environment = models.CharField(max_length=20, default="production")
    # Exactly this host and port may be private or plain HTTP: an exception that a person made knowingly (T20).
    private_network = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "slug"], name="gateway_server_slug"),
            models.CheckConstraint(
                condition=Q(status__in=["pending_review", "approved", "quarantined", "disabled"]),
                name="gateway_server_status",
            ),
        ]


class Tool(Governed):
    """One tool of a server, as its definition was when a person reviewed it.

    `pin` is the SHA-256 of the whole definition as the server gave it; a call runs only while the server still offers
    exactly that. `effect` and what follows are a person's judgement and start at the most dangerous value.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        QUARANTINED = "quarantined"

    server = TenantForeignKey(McpServer, related_name="tools")
    name = models.CharField(max_length=128)
    title = models.CharField(max_length=200, blank=True, default="")
    description = models.TextField(blank=True, default="")
    input_schema = models.JSONField(default=dict)
    output_schema = models.JSONField(null=True)
    annotations = models.JSONField(default=dict)
    pin = models.CharField(max_length=64)
    effect = models.CharField(max_length=20, default=Effect.DESTRUCTIVE.value)
    retry_class = models.CharField(max_length=20, default=RetryClass.ONCE.value)
    verify_tool = models.CharField(max_length=128, blank=True, default="")
    idempotency_argument = models.CharField(max_length=100, blank=True, default="")
    data_tier = models.PositiveSmallIntegerField(default=4)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    # What the lint of the definition found (hidden characters, orders to a model); shown to the reviewer.
    findings = models.JSONField(default=list)
    discovered_at = models.DateTimeField(auto_now_add=True)
    reviewed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "server", "name"], name="gateway_tool_name"),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "approved", "quarantined"]), name="gateway_tool_status"
            ),
            models.CheckConstraint(condition=Q(effect__in=[e.value for e in Effect]), name="gateway_tool_effect"),
            models.CheckConstraint(
                condition=Q(retry_class__in=[r.value for r in RetryClass]), name="gateway_tool_retry_class"
            ),
            models.CheckConstraint(condition=Q(data_tier__range=(1, 4)), name="gateway_tool_data_tier"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def full_name(self) -> str:
        """`erp.getVendor`: how agents, grants and workflows call it."""
        return f"{self.server.slug}.{self.name}"

    @property
    def audit_label(self) -> str:
        """The name by which people look for it."""
        return self.full_name

    @property
    def offered_schema(self) -> dict[str, Any]:
        """The schema as callers see it: closed, and without the argument that the gateway fills in."""
        return schemas.without(schemas.closed(self.input_schema), self.idempotency_argument)


class ToolGrant(Governed):
    """An agent may use a tool, until a day. Never a pattern; never without an end (M045, M015)."""

    # The agent is known by its id: agents stand on a lower floor and know tool names only.
    agent_id = models.UUIDField()
    tool = TenantForeignKey(Tool, related_name="grants")
    reason = models.TextField()
    # JSON Schema that the arguments must satisfy besides the tool's own.
    constraints = models.JSONField(default=dict)
    expires_at = models.DateTimeField()
    granted_by = models.CharField(max_length=100)
    granted_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True)
    # When the platform closed it because its time was over. What decides about a call is `expires_at` alone: a sweep
    # that comes late lets nothing through.
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace_id", "agent_id", "tool"],
                condition=Q(revoked_at__isnull=True, ended_at__isnull=True),
                name="gateway_grant_live",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("expires_at")), name="gateway_grant_ended"
            ),
        ]


class DlpPolicy(Governed):
    """Fields that are withheld on the way out to a tool (`input`) or back to the agent (`output`)."""

    class Direction(models.TextChoices):
        INPUT = "input"
        OUTPUT = "output"

    class Action(models.TextChoices):
        REDACT = "redact"
        BLOCK = "block"

    name = models.CharField(max_length=100)
    # "" for every tool, "crm" for a server's, "crm.getAccount" for one.
    selector = models.CharField(max_length=260, blank=True, default="")
    direction = models.CharField(max_length=10, choices=Direction.choices, default=Direction.OUTPUT)
    action = models.CharField(max_length=10, choices=Action.choices, default=Action.REDACT)
    fields = ArrayField(models.CharField(max_length=100))
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "name"], name="gateway_dlp_name"),
            models.CheckConstraint(condition=Q(direction__in=["input", "output"]), name="gateway_dlp_direction"),
            models.CheckConstraint(condition=Q(action__in=["redact", "block"]), name="gateway_dlp_action"),
        ]


class ToolCall(TenantModel):
    """Decision and outcome of one call; its history is the `mcp.*` events. Only the gateway writes it.

    The id is the caller's. Exempt from the guard because every state stands in an event of the same commit.
    """

    call_key = models.CharField(max_length=200)
    run_id = models.UUIDField(null=True)
    step_id = models.UUIDField(null=True)
    agent_id = models.UUIDField()
    agent_version = models.UUIDField(null=True)
    # Null when the agent named a tool that does not exist; `tool_name` is what was asked for.
    tool_id = models.UUIDField(null=True)
    tool_name = models.CharField(max_length=260)
    state = models.CharField(max_length=20)
    rule = models.CharField(max_length=60, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    # SHA-256 over workspace, principal, run, tool, call key and the arguments as asked: with others it is another call.
    request_digest = models.CharField(max_length=64, default="")
    digest = models.CharField(max_length=64, blank=True, default="")
    arguments_ref = models.TextField(blank=True, default="")
    result_ref = models.TextField(blank=True, default="")
    # What the tool answered after the call had been given up. Kept and shown; it changes nothing by itself.
    late_result_ref = models.TextField(blank=True, default="")
    late_at = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    not_after = models.DateTimeField(null=True)
    approval_id = models.UUIDField(null=True)
    edited = models.BooleanField(default=False)
    redactions = models.JSONField(default=list)
    performer = models.UUIDField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in CallState]), name="gateway_call_state"),
            # One approval starts one call, whatever races (T05).
            models.UniqueConstraint(
                fields=["workspace_id", "approval_id"],
                condition=Q(state__in=["started", "succeeded", "failed", "indeterminate"], approval_id__isnull=False),
                name="gateway_call_approval_once",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace_id", "run_id"], name="gateway_call_run"),
            models.Index(fields=["workspace_id", "agent_id", "created_at"], name="gateway_call_agent"),
            # For a search of the log: calls of a tool, approvals of them and of an agent's, and whether an event is of one.
            models.Index(fields=["workspace_id", "tool_id", "id"], name="gateway_call_tool"),
            *(
                models.Index(
                    fields=["workspace_id", f"{of}_id", "approval_id"],
                    condition=Q(approval_id__isnull=False),
                    name=f"gateway_call_{of}_asked",
                )
                for of in ("tool", "agent")
            ),
        ]
