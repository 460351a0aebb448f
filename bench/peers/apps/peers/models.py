"""An agent as ours has it, without the columns of our guard."""

import sys
import uuid
from typing import Any

from django.db import models

MODE = sys.argv[1]


class Agent(models.Model):
    """The row that is saved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace_id = models.UUIDField(default=uuid.uuid4)
    slug = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=10, default="active")
    trust_level = models.CharField(max_length=10, default="low")
    current_version = models.PositiveIntegerField(default=0)
    suspended_reason = models.TextField(blank=True, default="")
    created_by = models.CharField(max_length=100, default="somebody")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "peers"

    def __str__(self) -> str:
        return self.slug


def _tracked(model: Any) -> Any:
    if MODE == "auditlog":
        from auditlog.registry import auditlog

        auditlog.register(model)
    if MODE == "pghistory":
        import pghistory

        return pghistory.track()(model)
    return model


Agent = _tracked(Agent)
