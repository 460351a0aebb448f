"""The log as the ORM reads it. The tables are made by the migration's own SQL and written by `record()` alone."""

from collections.abc import Collection, Mapping
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.governed import Governed
from audit.judging import json_object, signed_body
from audit.retention.classes import LONGEST_DAYS, RetentionClass
from audit.taxonomy import Event
from provenance.db import TenantForeignKey, TenantModel, TenantQuerySet
from provenance.ids import public_id, short_id

HOLD_KINDS = ("workspace", "run", "object")


class AuditEvent(models.Model):
    """One signed event. `body` is the exact signed text; the other columns repeat parts of it for queries.

    No foreign keys: an event outlives what it describes.
    """

    id = models.UUIDField(primary_key=True)
    workspace_id = models.UUIDField(null=True)
    object_type = models.TextField()
    object_id = models.TextField()
    rev = models.BigIntegerField(null=True)
    op = models.TextField()
    changed = ArrayField(models.TextField())
    action = models.TextField()
    actor_id = models.TextField()
    actor_type = models.TextField()
    outcome = models.TextField()
    risk = models.TextField()
    run_id = models.UUIDField(null=True)
    kid = models.TextField()
    mac = models.BinaryField()
    body = models.TextField()

    objects = TenantQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = '"audit"."event"'

    def __str__(self) -> str:
        return f"{self.action} {self.public_id}"

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **more: Any) -> Self:
        """A stored event. Whoever owns the table can take NOT NULL away: what is not there is empty, and its proof says so."""
        found = zip(field_names, values, strict=True)
        whole = [_EMPTY.get(name) if value is None else value for name, value in found]
        return super().from_db(db, field_names, whole, **more)

    @property
    def public_id(self) -> str:
        """The id outside of the database, `evt_…`."""
        return public_id("evt", self.id)

    @property
    def short_id(self) -> str:
        """The id for people, `E-8K2QX`."""
        return short_id("E", self.id)

    @property
    def signed(self) -> dict[str, Any]:
        """The signed body, parsed. Empty for one that somebody replaced by what is no body: its proof says so."""
        return signed_body(self.body)

    @property
    def context(self) -> dict[str, Any]:
        """In which run, step and request it happened, as signed."""
        context = self.signed.get("context")
        return context if isinstance(context, dict) else {}

    @property
    def sentence(self) -> str:
        """What the taxonomy says about this type of event; empty for a type that this version does not know."""
        known = Event.named(self.action)
        return known.sentence if known else ""


_EMPTY: Mapping[str, Any] = {
    "changed": (),
    "mac": b"",
    **dict.fromkeys(
        ("object_type", "object_id", "op", "action", "actor_id", "actor_type", "outcome", "risk", "kid", "body"), ""
    ),
}


class AuditDetail(models.Model):
    """The erasable part of an event: labels, addresses, before and after, arguments, results."""

    event_id = models.UUIDField(primary_key=True)
    workspace_id = models.UUIDField(null=True)
    salt = models.BinaryField(null=True)
    body = models.BinaryField(null=True)
    media_type = models.TextField()
    retention_class = models.TextField()
    erased_at = models.DateTimeField(null=True)

    objects = TenantQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = '"audit"."detail"'

    def __str__(self) -> str:
        return public_id("evt", self.event_id)

    @property
    def facts(self) -> dict[str, Any]:
        """What it says; empty once erased, and of one that somebody replaced by what says nothing: its proof says so."""
        return json_object(bytes(self.body)) if self.body is not None else {}


class LegalHold(Governed):
    """Nothing that it covers may be erased or expire while it is engaged. Two people release it: one asks, another agrees."""

    scope_kind = models.CharField(max_length=10, choices=[(kind, kind) for kind in HOLD_KINDS])
    # The id of the run or object; of a hold of everything the workspace's own.
    scope_id = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    engaged_by = models.CharField(max_length=100)
    engaged_at = models.DateTimeField()
    release_asked_by = models.CharField(max_length=100, blank=True, default="")
    release_asked_at = models.DateTimeField(null=True)
    released_by = models.CharField(max_length=100, blank=True, default="")
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(scope_kind__in=HOLD_KINDS), name="audit_hold_scope"),
            models.UniqueConstraint(
                fields=["workspace_id", "scope_kind", "scope_id"],
                condition=Q(released_at__isnull=True),
                name="audit_hold_engaged_once",
            ),
            models.CheckConstraint(
                condition=Q(released_at__isnull=True)
                | (~Q(release_asked_by="") & ~Q(released_by="") & ~Q(released_by=F("release_asked_by"))),
                name="audit_hold_released_by_two",
            ),
        ]

    def __str__(self) -> str:
        return public_id("hld", self.pk)


class RetentionSetting(Governed):
    """How many days a workspace keeps details of one class; without a row the class's usual time."""

    retention_class = models.CharField(max_length=20, choices=[(item.value, item.value) for item in RetentionClass])
    days = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "retention_class"], name="audit_retention_class_once"),
            models.CheckConstraint(condition=Q(days__range=(1, LONGEST_DAYS)), name="audit_retention_days"),
        ]

    def __str__(self) -> str:
        return f"{self.retention_class}: {self.days} days"


class SavedView(Governed):
    """Filters of the log that one member wants to find again, under a name of theirs. `query`: as in the address."""

    member_id = models.UUIDField()
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "member_id", "name"], name="audit_saved_view_name"),
        ]


class Export(TenantModel):
    """A bundle that a worker makes for a member, and how far it is. Its events are those of asking, making and fetching.

    `filters`: as `EventFilters.described` has them. `shown`: how many events the screen counted, None where it stopped
    counting. `done` of `total` are entries of the log. The bundle lies in chunks until `expires_at`.
    """

    class Status(models.TextChoices):
        """What became of it."""

        QUEUED = "queued"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"
        EXPIRED = "expired"

    member_id = models.UUIDField()
    recipient = models.CharField(max_length=200, blank=True)
    filters = models.JSONField()
    shown = models.IntegerField(null=True)
    # The event of the request: once it is sealed, so is everything that the screen can have shown.
    request_event_id = models.UUIDField()
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    problem = models.CharField(max_length=500, blank=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    events = models.BigIntegerField(null=True)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    attempts = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    # Until when the worker that makes it is believed to be alive, or the doorbell to be heard.
    lease_until = models.DateTimeField()
    expires_at = models.DateTimeField()

    @property
    def public_id(self) -> str:
        """The id outside of the database, `exp_…`."""
        return public_id("exp", self.pk)

    @property
    def is_over(self) -> bool:
        """Whether nothing about it changes any more by itself, but that it expires."""
        return self.status not in {self.Status.QUEUED, self.Status.RUNNING}

    @property
    def percent(self) -> int:
        """How far it is, for the bar."""
        if self.status == self.Status.READY:
            return 100
        return min(99, 100 * self.done // self.total) if self.total else 0


class ExportChunk(TenantModel):
    """One piece of a bundle, encrypted for its workspace and bound to its place."""

    export = TenantForeignKey(Export, related_name="chunks")
    n = models.IntegerField()
    sealed = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "export", "n"], name="audit_export_chunk_place"),
        ]
