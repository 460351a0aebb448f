"""Secrets in searches of the log."""

from audit import names
from provenance.permissions import Permission
from secrets_vault.models import Secret

names.rows("secret", Permission.SECRETS_WRITE, Secret.objects.for_actor, "name")
