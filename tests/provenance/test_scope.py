"""The workspace travels in BEGIN, and nothing is seen without one (T09)."""

from contextlib import contextmanager, suppress

import psycopg
import pytest
from django.db import DatabaseError, DataError, IntegrityError, ProgrammingError, connection, transaction

from provenance.db import enter, scope, send_with_next
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


@pytest.mark.django_db(transaction=True)
class TestRoundTrips:
    """What opens a transaction travels with its first statement, whatever that is and whichever way it is sent."""

    def test_a_transaction_of_one_statement_is_two(self, round_trips):
        with round_trips() as sent, enter(NOBODY):
            assert setting() == str(NOBODY)
        assert [query.partition(" ")[0] for query in sent] == ["BEGIN;", "COMMIT"]
        assert f"SET LOCAL app.workspace_id = '{NOBODY}'; SELECT current_setting(" in sent[0]

    def test_without_a_workspace_as_well(self, round_trips):
        with round_trips() as sent, transaction.atomic():
            assert not setting()
        assert sent[0].startswith("BEGIN; SELECT")
        assert len(sent) == 2

    def test_what_is_asked_for_is_what_is_answered(self):
        with enter(NOBODY), connection.cursor() as cursor:
            cursor.execute("SELECT %s || '%%', n FROM generate_series(1, 3) AS n", ["a'b;"])
            assert (cursor.rowcount, cursor.fetchall()) == (3, [("a'b;%", 1), ("a'b;%", 2), ("a'b;%", 3)])
            assert cursor.nextset() is None

    def test_a_statement_without_parameters_keeps_its_percent_signs(self):
        with enter(NOBODY), connection.cursor() as cursor:
            cursor.execute("SELECT '100 %s'")
            assert cursor.fetchone() == ("100 %s",)

    def test_a_first_statement_that_fails_is_named_and_takes_the_transaction_with_it(self):
        with pytest.raises(DataError, match="division by zero"), enter(NOBODY), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / %s", [0])
        with enter(NOBODY):
            assert setting() == str(NOBODY)

    def test_a_statement_that_cannot_be_read_leaves_no_transaction_without_a_workspace(self):
        with enter(NOBODY):
            with pytest.raises(ProgrammingError, match="syntax error"), connection.cursor() as cursor:
                cursor.execute("SELEKT 1")
            assert setting() == str(NOBODY)

    def test_a_copy_and_a_cursor_of_the_server_come_after_it(self):
        with enter(NOBODY), connection.cursor() as cursor, cursor.copy("COPY (SELECT audit.ws()) TO STDOUT") as copied:
            assert b"".join(copied).decode().strip() == str(NOBODY)
        with enter(NOBODY), connection.chunked_cursor() as cursor:
            cursor.execute("SELECT audit.ws()")
            assert cursor.fetchone() == (NOBODY,)

    def test_many_at_once_come_after_it(self):
        with enter(NOBODY), connection.cursor() as cursor:
            cursor.executemany("SELECT audit.ws(), %s", [(1,), (2,)])
        with enter(NOBODY), connection.connection.pipeline(), connection.cursor() as cursor:
            cursor.execute("SELECT audit.ws()")
            assert cursor.fetchone() == (NOBODY,)


@pytest.mark.django_db(transaction=True)
class TestWaiting:
    """A statement whose answer nobody needs goes with the next one, and happens where it was said."""

    @pytest.fixture
    def table(self):
        with databases.admin() as owner:
            owner.execute(
                "CREATE TABLE noted (id serial PRIMARY KEY, workspace text, what text CHECK (what <> 'refused'))"
            )
            owner.execute("GRANT ALL ON noted, noted_id_seq TO PUBLIC")
            yield
            owner.execute("DROP TABLE noted")

    @pytest.fixture
    def note(self, table):
        statement = "INSERT INTO noted (workspace, what) VALUES (current_setting('app.workspace_id', true), %s)"

        def say(*whats, then=None):
            for what in whats:
                send_with_next(statement, [what])
            if then:
                raise then

        return say

    @pytest.fixture
    def opened(self):
        @contextmanager
        def transaction_that_is_open():
            with enter(NOBODY):
                setting()
                yield

        return transaction_that_is_open

    @pytest.fixture
    def noted(self, table):
        def look():
            with connection.cursor() as cursor:
                cursor.execute("SELECT what FROM noted ORDER BY id")
                return [what for (what,) in cursor.fetchall()]

        return look

    def test_it_goes_with_the_next_statement_and_is_seen_by_it(self, opened, note, noted, round_trips):
        with round_trips() as sent, opened():
            note("a'b", "%s")
            assert noted() == ["a'b", "%s"]
            note("c")
        assert [query.partition(" ")[0] for query in sent] == ["BEGIN;", "INSERT", "INSERT"]
        assert sent[2].endswith("; COMMIT")
        assert noted() == ["a'b", "%s", "c"]

    def test_its_refusal_is_raised_by_commit_and_nothing_is_kept(self, opened, note, noted):
        with pytest.raises(IntegrityError, match="noted_what_check"), opened():
            note("kept?", "refused")
        assert noted() == []

    def test_its_refusal_is_raised_by_the_next_statement(self, opened, note, noted):
        with suppress(DatabaseError), opened():
            note("refused")
            with pytest.raises(IntegrityError, match="noted_what_check"):
                setting()
        assert noted() == []

    @pytest.mark.parametrize("parameter", ["a\0b", "\ud800", object()], ids=["NUL", "half a character", "no type"])
    def test_a_statement_that_is_refused_before_it_is_sent_takes_nothing_along(self, opened, note, noted, parameter):
        with opened():
            note("kept")
            with (
                pytest.raises((DataError, UnicodeEncodeError, ProgrammingError)),
                connection.cursor() as cursor,
            ):
                cursor.execute("SELECT %s", [parameter])
        assert noted() == ["kept"]

    def test_a_rollback_takes_it_back_and_to_a_savepoint_only_what_came_after(self, opened, note, noted):
        with pytest.raises(ZeroDivisionError), opened():
            note("gone", then=ZeroDivisionError())
        with opened():
            note("before")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                note("inside", then=ZeroDivisionError())
            note("after")
        assert noted() == ["before", "after"]

    def test_it_happens_in_the_scope_in_which_it_was_said(self, opened, note):
        with opened():
            note("here")
            with scope(uuid7()):
                note("there")
        with connection.cursor() as cursor:
            cursor.execute("SELECT what FROM noted WHERE workspace = %s", [str(NOBODY)])
            assert cursor.fetchall() == [("here",)]

    def test_a_transaction_that_failed_takes_no_more(self, note, noted):
        with pytest.raises(DatabaseError), enter(NOBODY):  # noqa: PT012  what comes after the first of them
            with suppress(DataError), connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
            note("too late")
        assert noted() == []


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
