"""The workspace travels in BEGIN, and nothing is seen without one (T09)."""

import psycopg
import pytest
from django.db import connection, transaction

from provenance.db import enter, scope
from provenance.ids import uuid7
from provenance.postgres.connection import WORKSPACE, ScopedConnection
from provenance.postgres.refusals import NoWorkspaceInScope
from tests import databases
from workspaces.models import Environment

NOBODY = uuid7()


def setting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.workspace_id', true)")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_a_transaction_begins_with_the_workspace_in_scope(self):
        with enter(NOBODY):
            assert setting() == str(NOBODY)

    def test_the_next_transaction_does_not_inherit_it(self):
        with enter(NOBODY):
            setting()
        with transaction.atomic():
            assert not setting()

    def test_rows_outside_of_any_workspace_are_an_error(self):
        with pytest.raises(NoWorkspaceInScope, match=r"no workspace in scope\. Enter one first"):
            list(Environment.objects.all())

    def test_rows_outside_of_a_transaction_are_an_error_even_in_scope(self):
        with scope(NOBODY), pytest.raises(NoWorkspaceInScope):
            list(Environment.objects.all())

    def test_an_open_transaction_is_told_and_told_back(self):
        other = uuid7()
        with enter(NOBODY):
            with scope(other):
                assert setting() == str(other)
            assert setting() == str(NOBODY)

    def test_a_transaction_that_began_inside_a_scope_loses_it_with_the_scope(self):
        with transaction.atomic():
            with scope(NOBODY):
                assert setting() == str(NOBODY)
            assert setting() == ""

    def test_an_error_inside_leaves_no_scope_behind(self):
        with pytest.raises(psycopg.Error) as failure, enter(NOBODY), connection.connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        assert failure.value.sqlstate == "22012"
        assert WORKSPACE.get() is None
        with transaction.atomic():
            assert not setting()


def test_what_is_relied_on_in_the_driver_holds(django_db_setup):
    """`_start_query` is private to psycopg: these are the facts that our four lines need."""
    with ScopedConnection.connect(databases.role_url("web")) as driver:
        assert driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with scope(NOBODY):
            assert driver.execute("SELECT current_setting('app.workspace_id')").fetchone() == (str(NOBODY),)
        driver.rollback()
        assert driver.execute("SELECT current_setting('app.workspace_id', true)").fetchone()[0] in {None, ""}


def test_only_a_uuid_can_be_a_scope():
    with pytest.raises(ValueError, match="badly formed"), scope("'; DROP TABLE workspaces_user; --"):
        pass
