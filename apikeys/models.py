"""Keys of integrations and outside agents. The key itself is stored nowhere."""

from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from audit.governed import Governed
from provenance.db import TenantModel
from provenance.permissions import SCOPES

LONGEST_LIFE_DAYS = 365


class ApiKey(Governed):
    """What a program presents as `X-API-Key`: some scopes, until a date, for the person who owns it."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8)
    # SHA-256 of the whole key text: reading this table opens no door. The secret is 190 random bits, so a slow hash
    # would slow down nobody but the caller.
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=20))
    owner_user_id = models.UUIDField()
    # Set for the key of an outside agent, which then acts as that agent. No foreign key: agents are a floor of their own.
    agent_id = models.UUIDField(null=True)
    environment = models.CharField(max_length=20, default="production")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        constraints = [
            # Global on purpose: the prefix is looked up before the workspace is known, by a definer function.
            models.UniqueConstraint(fields=["prefix"], name="apikeys_key_prefix"),
            models.CheckConstraint(
                condition=Q(scopes__contained_by=sorted(SCOPES)) & ~Q(scopes=[]), name="apikeys_key_scopes"
            ),
            models.CheckConstraint(
                condition=Q(
                    expires_at__lte=F("created_at")
                    + models.Value(timedelta(days=LONGEST_LIFE_DAYS), models.DurationField())
                ),
                name="apikeys_key_expires",
            ),
        ]

    def status(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else "active"


class ApiKeyUse(TenantModel):
    """When a key was last used, to the minute. Not governed: it grants nothing, and an event per request would drown the log."""

    key_id = models.UUIDField()
    last_used_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace_id", "key_id"], name="apikeys_use_key")]
