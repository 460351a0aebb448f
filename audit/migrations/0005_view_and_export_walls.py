"""Row security, guard and rights of saved views and exports, and which exports nobody is at work on."""

from django.db import migrations

from audit.guard import CompositeForeignKey, DefinerFunction, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

# What a lost doorbell or a killed worker left, and what has lain here long enough. Nobody asks for a lease of two minutes,
# or to keep a bundle for two days: such times were set by somebody else, or while the clock of the database was ahead.
# Ids and workspaces only (T09).
_DUE = """
CREATE FUNCTION public.audit_exports_due() RETURNS TABLE (workspace_id uuid, export_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT export.workspace_id, export.id FROM public.audit_export AS export
     WHERE (export.status IN ('queued', 'running')
            AND NOT export.lease_until BETWEEN pg_catalog.now() AND pg_catalog.now() + interval '2 minutes')
        OR (export.status IN ('ready', 'failed')
            AND NOT export.expires_at BETWEEN pg_catalog.now() AND pg_catalog.now() + interval '2 days')
     LIMIT 20
$$
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_views_and_exports")]

    operations = [
        TenantTable("audit_savedview"),
        GuardTable(
            "audit_savedview", object_type="saved_view", events=[Event.AUDIT_VIEW_SAVED, Event.AUDIT_VIEW_REMOVED]
        ),
        Grant("audit_savedview", web="select, insert, update, delete"),
        TenantTable("audit_export"),
        Grant("audit_export", web="select, insert", worker="select, update"),
        TenantTable("audit_exportchunk"),
        CompositeForeignKey("audit_exportchunk", "export_id", "audit_export"),
        Grant("audit_exportchunk", web="select", worker="select, insert, delete"),
        DefinerFunction("public.audit_exports_due()", _DUE, execute_by=["worker"]),
    ]
