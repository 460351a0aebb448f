"""Receivers of the sealed log, how far each has confirmed, and digests of the log that go out by mail."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.governed import Governed
from gateway.deliveries.contract import Kind
from provenance.db import TenantForeignKey, TenantModel
from provenance.ids import public_id
from provenance.risk import Risk

LONGEST_NAME = 40
LONGEST_ADDRESS = 500
LONGEST_ERROR = 500


class Sink(Governed):
    """A receiver of the sealed log. Where it is and with which secret stands here alone (T02)."""

    class Status(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    name = models.CharField(max_length=LONGEST_NAME)
    kind = models.CharField(max_length=10)
    # A URL, tls://host:port, or the name of a directory below the one that the host's settings name.
    address = models.CharField(max_length=LONGEST_ADDRESS)
    secret_name = models.CharField(max_length=100, blank=True, default="")
    # For S3 only.
    region = models.CharField(max_length=40, blank=True, default="")
    # Certificates (PEM) that the receiver is checked against; "": the public authorities.
    authorities = models.TextField(blank=True, default="")
    # Exactly this host and port may be private or plain HTTP: an exception that a person made knowingly (T20).
    private_network = models.BooleanField(default=False)
    # Which events: this risk and worse ("": all), and these types or domains (none: all).
    risk = models.CharField(max_length=10, blank=True, default="")
    events = ArrayField(models.CharField(max_length=80), default=list)
    # What people call actors and objects. It leaves the reach of erasure, so somebody has to want it.
    with_labels = models.BooleanField(default=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ENABLED)
    created_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "name"], name="streams_sink_name"),
            models.CheckConstraint(condition=Q(status__in=["enabled", "disabled"]), name="streams_sink_status"),
            models.CheckConstraint(condition=Q(kind__in=[kind.value for kind in Kind]), name="streams_sink_kind"),
            models.CheckConstraint(
                condition=Q(risk="") | Q(risk__in=[risk.value for risk in Risk]), name="streams_sink_risk"
            ),
        ]

    def __str__(self) -> str:
        return public_id("snk", self.pk)

    @property
    def is_enabled(self) -> bool:
        """Whether events go there."""
        return self.status == self.Status.ENABLED


class Cursor(TenantModel):
    """How far a receiver has confirmed, and which worker sends to it now. Only the holder of the fence moves it."""

    sink = TenantForeignKey(Sink, related_name="cursors")
    # The log begins anew after a restore: the epoch says which one, `next_idx` the first index that is not confirmed.
    epoch = models.PositiveIntegerField(default=1)
    next_idx = models.BigIntegerField(default=0)
    # The last index that was sent and confirmed; None before the first of an epoch.
    sent_idx = models.BigIntegerField(null=True)
    # The end of a batch that was begun: it is sent again exactly as it was until it is confirmed.
    pending_end = models.BigIntegerField(null=True)
    owner = models.CharField(max_length=100, blank=True, default="")
    # Counts up with each claim; the gateway sends for the highest only.
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField()
    rung_until = models.DateTimeField()
    # Not before this, after a failure.
    next_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=LONGEST_ERROR, blank=True, default="")
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "sink"], name="streams_cursor_sink"),
            models.CheckConstraint(
                condition=Q(pending_end__isnull=True) | Q(pending_end__gt=F("next_idx")), name="streams_cursor_pending"
            ),
        ]


class Digest(Governed):
    """A mail about the log, once a day, week or month. Its readers are members who may read the log."""

    class Period(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    title = models.CharField(max_length=100)
    period = models.CharField(max_length=10, choices=Period.choices, default=Period.WEEKLY)
    risk = models.CharField(max_length=10, blank=True, default="")
    # [{"user_id": …, "email": …}]: copies, because no process but web may read accounts (T07).
    readers = models.JSONField(default=list)
    # Reminds them to review what production workflows did (M129).
    review = models.BooleanField(default=True)
    created_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "title"], name="streams_digest_title"),
            models.CheckConstraint(
                condition=Q(period__in=["daily", "weekly", "monthly"]), name="streams_digest_period"
            ),
            models.CheckConstraint(
                condition=Q(risk="") | Q(risk__in=[risk.value for risk in Risk]), name="streams_digest_risk"
            ),
        ]

    def __str__(self) -> str:
        return public_id("dgs", self.pk)


class DigestSend(TenantModel):
    """One period of a digest: claimed by one worker at a time until it is sent, and then never again."""

    digest = TenantForeignKey(Digest, related_name="sends")
    period_start = models.DateTimeField()
    fence = models.BigIntegerField(default=1)
    lease_until = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=LONGEST_ERROR, blank=True, default="")
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace_id", "digest", "period_start"], name="streams_digestsend_period"
            ),
        ]
