"""A row is carried out of its workspace while one statement changes the scope (T08, T10)."""

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader

from audit.guard import TenantTable
from provenance.ids import uuid7
from tests.attacks.walls import governed_tables, siege

# Row security reads the row in one workspace and checks what is written against the other.
MOVE = """
UPDATE {table} SET workspace_id = %s WHERE id = %s
   AND set_config('app.workspace_id', CASE WHEN id IS NOT NULL THEN %s END, true) IS NOT NULL RETURNING workspace_id
"""
TENANTS = sorted(
    operation.table
    for migration in MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values()
    for operation in migration.operations
    if isinstance(operation, TenantTable)
)


@pytest.mark.parametrize("table", TENANTS)
def test_no_role_moves_a_row_into_another_workspace(django_db_setup, table):
    """T08: exempt tables too, which no event would have to cover at all."""
    guarded = {wall.table: wall for wall in governed_tables()}
    with siege() as attack:
        attack.strip(table)
        row, home, other, run = uuid7(), attack.home(), attack.home(), uuid7()
        attack.seed(table, row, home, run)
        for role in ("web", "gateway", "worker"):
            if "workspace_id" not in attack.writable_by(role, table).get("UPDATE", []):
                continue
            with attack.as_role(role):
                attack.enter(home)
                if table in guarded:
                    # Where the move passed, its event would be accepted: it is about this row, in the log of the other.
                    attack.enter(other)
                    event = attack.sign(
                        role,
                        guarded[table],
                        other,
                        id=str(row),
                        rev=2,
                        op="update",
                        changed=["workspace_id"],
                        run_id=run,
                    )
                    attack.store(event)
                    attack.enter(home)
                with pytest.raises(psycopg.Error, match="stays in the workspace in which it was made"):
                    attack.rows(MOVE.format(table=table), other, row, str(other))
