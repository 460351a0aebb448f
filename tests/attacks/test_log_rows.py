"""What a process that runs an attacker's code adds to the log beside honest events (T08, T28)."""

import psycopg
import pytest

from provenance.ids import uuid7
from tests.attacks.walls import governed_tables, siege


@pytest.mark.parametrize("wall", governed_tables(), ids=lambda wall: wall.table)
def test_an_event_names_no_column_that_the_table_has_not(django_db_setup, wall):
    """T08: what an event says that changed is at least a thing that can change."""
    with siege() as attack:
        attack.strip(wall.table)
        row, home, run = uuid7(), None if wall.instance else attack.home(), uuid7()
        roles = [
            role for role in ("web", "worker") if "audit_rev" in attack.writable_by(role, wall.table).get("UPDATE", [])
        ]
        if not roles or wall.instance:
            pytest.skip("nobody updates it row by row in a workspace")
        attack.seed(wall.table, row, home, run)
        with attack.as_role(roles[0]):
            attack.enter(home)
            columns = ["audit_rev", "status_of_another_table"]
            attack.store(
                attack.sign(roles[0], wall, home, id=str(row), rev=2, op="update", changed=columns, run_id=run)
            )
            attack.connection.execute(f"UPDATE {wall.table} SET audit_rev = audit_rev WHERE id = %s", [row])
            with pytest.raises(psycopg.Error, match="these are not all columns"):
                attack.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
