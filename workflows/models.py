"""Workflows, their versions, runs and everything a run leaves behind (runs.md 3.1).

Two temperatures: runs and steps are *governed* and written only when their status changes; tokens, calls and messages
are the engine's hot rows and exempt, because their history is the `run.*`, `model.*` and `mcp.*` events.
Large and personal values (inputs, outputs, arguments, results, messages) are encrypted blobs known by reference.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from audit.governed import Governed
from provenance.db import TenantForeignKey, TenantModel
from provenance.ids import public_id, short_id, uuid7
from workflows.months import OfRun
from workflows.states import (
    RESOLVED_CALL,
    TERMINAL_RUN,
    CallStatus,
    FailureCode,
    RunStatus,
    StepStatus,
    TokenState,
    WaitingOn,
)


def _one_of(column: str, values: type) -> Q:
    return Q(**{f"{column}__in": [value.value for value in values]})  # type: ignore[attr-defined]  # an enum class


class Workflow(Governed):
    """A named procedure. What it does stands in its versions."""

    slug = models.CharField(max_length=63)
    title = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "slug"], name="workflows_workflow_slug")]

    def __str__(self) -> str:
        return self.slug


class WorkflowDraft(Governed):
    """The one text being worked on. It may be wrong; publishing is what checks it."""

    workflow = TenantForeignKey(Workflow, related_name="drafts")
    source = models.TextField()
    saved_by = models.CharField(max_length=100)
    saved_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "workflow"], name="workflows_draft_of")]


class WorkflowVersion(Governed):
    """A published definition. Never changed and never deleted: a run keeps its version for life."""

    workflow = TenantForeignKey(Workflow, related_name="versions")
    number = models.PositiveIntegerField()
    # SHA-256 of the canonical definition: two versions with the same content carry the same hash.
    content_hash = models.CharField(max_length=64)
    # Canonical JSON as text: jsonb would rewrite what the hash covers.
    definition = models.TextField()
    schema_version = models.PositiveSmallIntegerField(default=1)
    published_by = models.CharField(max_length=100)
    published_at = models.DateTimeField()
    rolls_back_to = models.UUIDField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "workflow", "number"], name="workflows_version_number"),
        ]

    @property
    def label(self) -> str:
        """`v3`."""
        return f"v{self.number}"


class WorkflowAlias(Governed):
    """A name that points to a version. New runs start with what `live` points to."""

    LIVE = "live"

    workflow = TenantForeignKey(Workflow, related_name="aliases")
    name = models.CharField(max_length=20, default=LIVE)
    version = TenantForeignKey(WorkflowVersion, related_name="aliases")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "workflow", "name"], name="workflows_alias_name"),
        ]

    @property
    def audit_label(self) -> str:
        """Of which workflow it is: every one has a `live`."""
        return f"{self.workflow.slug}, {self.name}"


class Run(Governed):
    """One execution of a version. A cold row: written only when its status changes."""

    workflow = TenantForeignKey(Workflow, related_name="runs")
    version = TenantForeignKey(WorkflowVersion, related_name="runs")
    status = models.CharField(max_length=12, default=RunStatus.QUEUED.value)
    waiting_on = ArrayField(models.CharField(max_length=12), default=list)
    failure_code = models.CharField(max_length=20, blank=True, default="")
    failure_reason = models.TextField(blank=True, default="")
    environment = models.CharField(max_length=20)
    root_run_id = models.UUIDField()
    parent_token_id = models.UUIDField(null=True)
    depth = models.PositiveSmallIntegerField(default=0)
    replay_of = models.UUIDField(null=True)
    replay_mode = models.CharField(max_length=10, blank=True, default="")
    input_ref = models.TextField()
    output_ref = models.TextField(blank=True, default="")
    manifest_hash = models.CharField(max_length=64)
    # Who started it: the actor, and the person who answers for that key or session.
    started_by_kind = models.CharField(max_length=12)
    started_by_id = models.CharField(max_length=100)
    # The API key through which it was started; an agent's key starts as that agent. A halt of the key reaches the run.
    key_id = models.UUIDField(null=True)
    on_behalf_of = models.CharField(max_length=100, blank=True, default="")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField()
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.CharField(max_length=100, blank=True, default="")
    cancel_reason = models.TextField(blank=True, default="")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=_one_of("status", RunStatus), name="workflows_run_status"),
            models.CheckConstraint(
                condition=Q(failure_code="") | _one_of("failure_code", FailureCode), name="workflows_run_failure_code"
            ),
            models.CheckConstraint(
                condition=Q(waiting_on__contained_by=[value.value for value in WaitingOn]),
                name="workflows_run_waiting_on",
            ),
            models.CheckConstraint(
                condition=(Q(status="failed") & ~Q(failure_code="")) | (~Q(status="failed") & Q(failure_code="")),
                name="workflows_run_failed_says_why",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(TERMINAL_RUN), finished_at__isnull=False)
                | (~Q(status__in=sorted(TERMINAL_RUN)) & Q(finished_at__isnull=True)),
                name="workflows_run_finished_at",
            ),
            models.CheckConstraint(condition=Q(depth__lte=5), name="workflows_run_depth"),
        ]
        indexes = [
            models.Index(fields=["workspace_id", "-id"], name="workflows_run_newest"),
            models.Index(fields=["workspace_id", "status", "-id"], name="workflows_run_by_status"),
            models.Index(fields=["workspace_id", "workflow", "-id"], name="workflows_run_by_workflow"),
        ]

    @property
    def public_id(self) -> str:
        """`run_…`, as it stands in addresses and in the API."""
        return public_id("run", self.pk)

    @property
    def short_id(self) -> str:
        """`R-8K2QX`, for people."""
        return short_id("R", self.pk)

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL_RUN


class RunManifest(TenantModel):
    """The frozen bill of materials of a run. `Run.manifest_hash` binds it; nobody changes it.

    `content`: `{"engine": 1, "agents": {slug: {"agent_id", "version_id", "version", "content_hash", "provider",
    "model", "token_budget"}}, "tools": {full name: {"pin"}}}`.
    """

    run = TenantForeignKey(Run, related_name="manifests")
    content = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "run"], name="workflows_manifest_of")]


class Scope(TenantModel):
    """What a set of tokens belongs to. The one that takes `pending` to 0 continues after it; for a run it ends it."""

    class Kind(models.TextChoices):
        RUN = "run"

    run = TenantForeignKey(Run, related_name="scopes")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.RUN)
    parent_token_id = models.UUIDField(null=True)
    pending = models.IntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pending__gte=0), name="workflows_scope_pending")]


class Token(TenantModel):
    """One path through a run, and the unit of claiming. Whoever holds the newest `fence` may move it; nobody else.

    `wake_at` is the one timer: when a ready token is rung again, a leased one is given up for lost, or a waiting one is
    looked at. `dispatch_no` makes an old doorbell ring in vain. `approval_id` is the request it waits for.
    """

    run = TenantForeignKey(Run, related_name="tokens")
    scope = TenantForeignKey(Scope, related_name="tokens")
    node_key = models.CharField(max_length=63)
    item_index = models.IntegerField(default=0)
    state = models.CharField(max_length=12, default=TokenState.READY.value)
    fence = models.BigIntegerField(default=0)
    owner = models.CharField(max_length=80, blank=True, default="")
    lease_until = models.DateTimeField(null=True)
    wake_at = models.DateTimeField(null=True)
    dispatch_no = models.IntegerField(default=1)
    crash_claims = models.PositiveSmallIntegerField(default=0)
    priority = models.PositiveSmallIntegerField(default=2)
    waiting_on = models.CharField(max_length=12, blank=True, default="")
    step_id = models.UUIDField(null=True)
    approval_id = models.UUIDField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=_one_of("state", TokenState), name="workflows_token_state"),
            models.CheckConstraint(
                condition=~Q(state="leased") | Q(lease_until__isnull=False), name="workflows_token_lease"
            ),
        ]
        indexes = [
            models.Index(
                fields=["wake_at"], condition=Q(state__in=["ready", "leased", "waiting"]), name="workflows_token_due"
            ),
            models.Index(fields=["workspace_id", "run"], name="workflows_token_run"),
            models.Index(
                fields=["workspace_id", "approval_id"],
                condition=Q(state="waiting", approval_id__isnull=False),
                name="workflows_token_asked",
            ),
        ]


class Step(OfRun, Governed):
    """One step of one run. A step that is tried again is a new row with the next attempt number."""

    run = TenantForeignKey(Run, related_name="steps")
    node_key = models.CharField(max_length=63)
    item_index = models.IntegerField(default=0)
    attempt = models.PositiveSmallIntegerField(default=1)
    kind = models.CharField(max_length=12)
    status = models.CharField(max_length=14, default=StepStatus.RUNNING.value)
    fence = models.BigIntegerField(default=0)
    input_ref = models.TextField(blank=True, default="")
    output_ref = models.TextField(blank=True, default="")
    error_code = models.CharField(max_length=40, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    reused_from_step_id = models.UUIDField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace_id", "run", "node_key", "item_index", "attempt"], name="workflows_step_once"
            ),
            models.CheckConstraint(condition=_one_of("status", StepStatus), name="workflows_step_status"),
        ]

    @property
    def public_id(self) -> str:
        """`step_…`."""
        return public_id("step", self.pk)


_BEFORE_ANSWER = frozenset({CallStatus.PLANNED.value, CallStatus.AWAITING_APPROVAL.value})


class Call(OfRun, TenantModel):
    """The engine's journal of one call of a tool or a model: what to do when a worker dies around it.

    `id` is what the gateway knows the call by; `call_key` stays the same over retries and becomes the tool's
    idempotency key. The gateway's own record of the same call is `gateway.ToolCall`.
    """

    class Kind(models.TextChoices):
        TOOL = "tool"
        MODEL = "model"

    step = TenantForeignKey(Step, within="run_id", related_name="calls")
    run_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=6, choices=Kind.choices)
    target = models.CharField(max_length=260)
    agent_slug = models.CharField(max_length=63, blank=True, default="")
    call_key = models.CharField(max_length=200)
    args_ref = models.TextField()
    args_hash = models.CharField(max_length=64)
    retry_class = models.CharField(max_length=20, blank=True, default="")
    effect = models.CharField(max_length=20, blank=True, default="")
    status = models.CharField(max_length=20, default=CallStatus.PLANNED.value)
    fence = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    # Until when the request of the last attempt may be sent on; None when nothing of it is on its way.
    not_after = models.DateTimeField(null=True)
    approval_id = models.UUIDField(null=True)
    rule = models.CharField(max_length=60, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    redactions = models.JSONField(default=list)
    result_ref = models.TextField(blank=True, default="")
    # What a tool answered after the call had been given up. Kept and shown beside what was decided, never acted upon.
    late_result_ref = models.TextField(blank=True, default="")
    late_result_at = models.DateTimeField(null=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=100, blank=True, default="")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # A call that a person had sent again makes room for its successor and stays beside it.
            models.UniqueConstraint(
                fields=["workspace_id", "run_id", "step", "seq"],
                condition=~Q(status="retried"),
                name="workflows_call_once",
            ),
            models.CheckConstraint(condition=_one_of("status", CallStatus), name="workflows_call_status"),
            # NaN is more than any number to Postgres, and would make NaN of every sum.
            models.CheckConstraint(condition=Q(cost__gte=0, cost__lt=10**10), name="workflows_call_cost"),
            models.CheckConstraint(
                condition=Q(status__in=RESOLVED_CALL, resolved_at__isnull=False) & ~Q(resolved_by="")
                | ~Q(status__in=RESOLVED_CALL) & Q(resolved_by="", resolved_at__isnull=True),
                name="workflows_call_resolved_by",
            ),
            models.CheckConstraint(
                condition=Q(late_result_ref="", late_result_at__isnull=True)
                | ~Q(late_result_ref="") & Q(late_result_at__isnull=False),
                name="workflows_call_late_result",
            ),
        ]

    @property
    def is_asked(self) -> bool:
        """Whether the gateway was asked for it and has not answered: it may have been performed by now."""
        return self.not_after is not None and self.status in _BEFORE_ANSWER

    @property
    def shown_status(self) -> str:
        """The status for people: a call that is on its way has started, as far as they can tell."""
        return CallStatus.STARTED.value if self.is_asked else self.status


class Message(OfRun, TenantModel):
    """One entry of an agent step's transcript. Append-only: a turn costs what it says, not what was said before."""

    step = TenantForeignKey(Step, within="run_id", related_name="messages")
    run_id = models.UUIDField()
    ord = models.PositiveIntegerField()
    role = models.CharField(max_length=10)
    body_ref = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "run_id", "step", "ord"], name="workflows_message_once")
        ]


class Timer(TenantModel):
    """Something that must happen to a run at a time. Fires exactly once: `fired_at` is set in the commit of its effect."""

    class Kind(models.TextChoices):
        RUN_DEADLINE = "run_deadline"

    run = TenantForeignKey(Run, related_name="timers")
    token_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    fire_at = models.DateTimeField()
    fired_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["fire_at"], condition=Q(fired_at__isnull=True), name="workflows_timer_due"),
        ]


class Budget(TenantModel):
    """How many model tokens a run may use. `reserved` is held for calls in flight, `spent` is gone (M159)."""

    run = TenantForeignKey(Run, related_name="budgets")
    limit = models.BigIntegerField()
    reserved = models.BigIntegerField(default=0)
    spent = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "run"], name="workflows_budget_of"),
            models.CheckConstraint(condition=Q(reserved__gte=0, spent__gte=0), name="workflows_budget_positive"),
        ]


class BudgetHold(OfRun, TenantModel):
    """What one model call holds of its run's budget until it is settled."""

    budget = TenantForeignKey(Budget, related_name="holds")
    call = TenantForeignKey(Call, within="run_id", related_name="holds")
    run_id = models.UUIDField()
    amount = models.BigIntegerField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["workspace_id", "run_id", "call"], name="workflows_hold_call")]


class IdempotencyKey(TenantModel):
    """A start that must not happen twice: the key a client chose, the request it was for, and the run it made."""

    principal_id = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    run_id = models.UUIDField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "principal_id", "key"], name="workflows_idempotency_key"),
        ]


class Leader(models.Model):
    """Who sweeps. One row per duty, of no workspace; reached only through the function that elects."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    name = models.CharField(max_length=40, unique=True)
    owner = models.CharField(max_length=80)
    fence = models.BigIntegerField(default=0)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
