"""Rights that a process has for one thing, and that a hijacked one would use for another (T01, T13, T16)."""

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from provenance.ids import uuid7
from tests import databases, factories
from tests.attacks.walls import governed_tables, siege

TOOLS = next(wall for wall in governed_tables() if wall.table == "gateway_tool")


@pytest.mark.parametrize("status", ["approved", "pending"])
def test_a_gateway_approves_no_tool(django_db_setup, status):
    """T01: it may stop a tool whose definition changed, and that is all its right to the column is for."""
    table = "gateway_tool"
    with siege() as attack:
        row, home = uuid7(), attack.home()
        attack.strip(table)
        attack.connection.execute("ALTER TABLE gateway_tool ENABLE ALWAYS TRIGGER gateway_hold")
        attack.seed("gateway_tool", row, home)
        with attack.as_role("gateway"):
            attack.enter(home)
            attack.store(attack.sign("gateway", TOOLS, home, id=str(row), rev=2, op="update", changed=["status"]))
            with pytest.raises(psycopg.Error, match="may stop tools and approve none"):
                attack.rows("UPDATE gateway_tool SET status = %s WHERE id = %s RETURNING id", status, row)


def test_a_gateway_stops_a_tool(django_db_setup):
    """The control."""
    table = "gateway_tool"
    with siege() as attack:
        row, home = uuid7(), attack.home()
        attack.strip(table)
        attack.connection.execute("ALTER TABLE gateway_tool ENABLE ALWAYS TRIGGER gateway_hold")
        attack.seed("gateway_tool", row, home)
        with attack.as_role("gateway"):
            attack.enter(home)
            attack.store(attack.sign("gateway", TOOLS, home, id=str(row), rev=2, op="update", changed=["status"]))
            attack.rows("UPDATE gateway_tool SET status = 'quarantined' WHERE id = %s RETURNING id", row)
            attack.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_worker_ends_no_request_before_its_time(workspace, as_role):
    """A hijacked worker would take the decision away from the people who have time until then."""
    approval = factories.make_approval(workspace)
    with (
        as_role("worker"),
        connection.cursor() as cursor,
        pytest.raises(IntegrityError, match="is not due before"),
        transaction.atomic(),
    ):
        cursor.execute("UPDATE approvals_approvalrequest SET status = 'expired' WHERE id = %s", [approval.pk])


@pytest.mark.django_db
def test_a_worker_takes_the_lead_for_a_minute_at_most(as_role):
    """Otherwise the deadlines of all workspaces stand still until somebody deletes its row by hand."""
    with as_role("worker"), connection.cursor() as cursor:
        cursor.execute("SELECT workflows_lead('sweep', 'hijacked', 2000000000)")
        assert cursor.fetchone() == (True,)
    before = databases.become(databases.administrator())
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(until) <= clock_timestamp() + interval '60 seconds' FROM workflows_leader")
        assert cursor.fetchone() == (True,)
    databases.become(before)
