"""Secrets by name: what they are for, their sealed versions, and where each may be sent. Never a plain value."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from audit.governed import Governed
from provenance.db import TenantForeignKey, TenantQuerySet

LONGEST_NAME = 100


class Secret(Governed):
    """A credential known by name. `access` says what it can do at its owner's: the trust matrix reads it."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        REVOKED = "revoked"

    class Access(models.TextChoices):
        READ = "read"
        WRITE = "write"
        ADMIN = "admin"

    name = models.CharField(max_length=LONGEST_NAME)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    access = models.CharField(max_length=10, choices=Access.choices, default=Access.ADMIN)
    # The version that references resolve to; only `rotate_secret` moves it, and only upwards.
    current_version = models.PositiveIntegerField(default=1)
    created_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "name"], name="secrets_vault_secret_name"),
            models.CheckConstraint(condition=Q(status__in=["active", "revoked"]), name="secrets_vault_secret_status"),
            models.CheckConstraint(
                condition=Q(access__in=["read", "write", "admin"]), name="secrets_vault_secret_access"
            ),
            models.CheckConstraint(condition=Q(current_version__gte=1), name="secrets_vault_secret_version"),
        ]

    def __str__(self) -> str:
        return f"secret://{self.name}"

    @property
    def is_active(self) -> bool:
        """Whether references resolve."""
        return self.status == self.Status.ACTIVE


class SealedManager(models.Manager.from_queryset(TenantQuerySet)):  # type: ignore[misc]  # mypy cannot follow a made class
    """Reads versions without what is sealed: the web role has no right to those columns."""

    def get_queryset(self) -> TenantQuerySet:
        """Rows whose sealed columns stay in the database."""
        rows: TenantQuerySet = super().get_queryset()
        return rows.defer("ciphertext", "wrapped_key")


class SecretVersion(Governed):
    """One value, sealed under its own data key, which is wrapped by a key-encryption key outside the database.

    Web writes it and cannot read it back; the gateway reads it and cannot write it. Destroying empties both columns:
    without the data key no backup of the row's later states opens anything.
    """

    secret = TenantForeignKey(Secret, related_name="versions")
    number = models.PositiveIntegerField()
    ciphertext = models.BinaryField()
    wrapped_key = models.BinaryField()
    kek_id = models.CharField(max_length=16)
    created_at = models.DateTimeField(auto_now_add=True)
    destroyed_at = models.DateTimeField(null=True)

    objects: ClassVar[SealedManager] = SealedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "secret", "number"], name="secrets_vault_version_number"),
            models.CheckConstraint(
                condition=Q(destroyed_at__isnull=True) | Q(ciphertext=b"", wrapped_key=b""),
                name="secrets_vault_version_destroyed_is_empty",
            ),
        ]

    @property
    def audit_label(self) -> str:
        """The secret's name; it has none of its own."""
        return str(self.secret.name)

    def __str__(self) -> str:
        return f"version {self.number}"


class SecretBinding(Governed):
    """One place a secret may be sent to: a reviewed origin and a slot there (T02). Anywhere else it does not resolve."""

    secret = TenantForeignKey(Secret, related_name="bindings")
    origin = models.CharField(max_length=300)
    slot = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace_id", "secret", "origin", "slot"], name="secrets_vault_binding"),
        ]

    @property
    def audit_label(self) -> str:
        """The secret's name; it has none of its own."""
        return str(self.secret.name)

    def __str__(self) -> str:
        return f"{self.origin} {self.slot}"
