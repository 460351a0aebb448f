"""The walls around secrets: web writes values it cannot read back, the gateway reads values it cannot write."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation

from audit.guard import CompositeForeignKey, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

# Everything but ciphertext and wrapped_key.
OPEN_COLUMNS = "id, workspace_id, secret_id, number, kek_id, created_at, destroyed_at, audit_rev, audit_salt"


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("secrets_vault", "0001_initial"), ("audit", "0001_initial")]
    operations: ClassVar[list[Operation]] = [
        TenantTable("secrets_vault_secret"),
        TenantTable("secrets_vault_secretversion"),
        TenantTable("secrets_vault_secretbinding"),
        CompositeForeignKey("secrets_vault_secretversion", "secret_id", "secrets_vault_secret"),
        CompositeForeignKey("secrets_vault_secretbinding", "secret_id", "secrets_vault_secret"),
        GuardTable(
            "secrets_vault_secret",
            object_type="secret",
            events=[Event.SECRET_CREATED, Event.SECRET_ROTATED, Event.SECRET_REVOKED],
        ),
        GuardTable(
            "secrets_vault_secretversion",
            object_type="secret_version",
            events=[Event.SECRET_VERSION_STORED, Event.SECRET_VERSION_DESTROYED],
        ),
        GuardTable(
            "secrets_vault_secretbinding",
            object_type="secret_binding",
            events=[Event.SECRET_BOUND, Event.SECRET_UNBOUND],
        ),
        Grant("secrets_vault_secret", web="select, insert, update", gateway="select"),
        Grant(
            "secrets_vault_secretversion",
            web=f"select ({OPEN_COLUMNS}), insert, update (ciphertext, wrapped_key, destroyed_at, audit_rev)",
            gateway="select",
        ),
        Grant("secrets_vault_secretbinding", web="select, insert, delete", gateway="select"),
    ]
