"""What a process that runs an attacker's code adds to the log beside honest events (T08, T28)."""

from dataclasses import replace

import psycopg
import pytest
from django.db import connection, transaction

from audit.envelope import insert_rows
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7
from provenance.postgres.refusals import EventNotAccepted
from tests.attacks.log import told_by
from tests.attacks.walls import governed_tables, siege

DETAIL = """
INSERT INTO audit.detail (event_id, workspace_id, salt, body, media_type, retention_class)
VALUES (%s, %s, %s, %s, 'application/json', 'standard')
"""


def add_detail(event_id, workspace_id):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(DETAIL, [event_id, workspace_id, b"s" * 32, b'{"reason":"made up"}'])


@pytest.mark.parametrize("role", ["web", "gateway", "worker"])
def test_no_detail_without_an_event(workspace, as_role, role):
    """It would wait for an event with this id, or fill the log with what no event tells."""
    with as_role(role), pytest.raises(EventNotAccepted, match="no event of this transaction is bound to it"):
        add_detail(uuid7(), workspace.id)


def test_no_detail_for_an_event_that_has_none(workspace, as_role):
    """A reader would see it beside the honest event."""
    with as_role("worker"):
        # Nobody's name, no reason: such an event has nothing that could be erased.
        nobody = replace(Actor.system("engine", workspace.id), label="")
        event = record(actor=nobody, event=Event.RUN_STARTED, target=Target("run", str(uuid7())))
        assert event.detail is None
        with pytest.raises(EventNotAccepted, match="bound to it"):
            add_detail(event.id, workspace.id)


def test_no_detail_for_an_event_that_is_there_already(django_db_setup):
    """What an honest process committed gets nothing more."""
    with siege() as attack:
        home = attack.home()
        event = told_by("web", Actor.system("engine", home), Event.RUN_STARTED)
        attack.connection.execute("ALTER TABLE audit.event DISABLE TRIGGER audit_accept")
        statement, parameters = insert_rows([replace(event, detail=None)])
        # As if by transaction 1, which is over.
        statement = statement.replace("(id,", "(xid, id,", 1).replace("(%s::uuid", "('1', %s::uuid", 1)
        attack.connection.execute(statement, parameters)
        with attack.as_role("worker"):
            attack.enter(home)
            with pytest.raises(psycopg.Error, match="bound to it"):
                attack.connection.execute(DETAIL, [event.id, home, b"s" * 32, b"{}"])


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
