"""Secrets in searches of the log."""

from audit import labels, names
from provenance.permissions import Permission
from secrets_vault.models import Secret, SecretBinding, SecretVersion

names.rows("secret", Permission.SECRETS_WRITE, Secret.objects.for_actor, "name")
labels.rows("secret_version", Permission.SECRETS_WRITE, SecretVersion.objects.for_actor, "{secret__name}")
labels.rows("secret_binding", Permission.SECRETS_WRITE, SecretBinding.objects.for_actor, "{secret__name}")
