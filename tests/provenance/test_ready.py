"""Statements that are said often are planned once for a connection, wherever one process of the server answers all of it."""

import psycopg
import pytest
from django.db import DatabaseError, ProgrammingError, connection

from agents.models import Agent
from audit.services import record
from audit.taxonomy import Event
from provenance.db import enter, scope
from provenance.ids import uuid7
from provenance.postgres.connection import ScopedConnection
from provenance.postgres.session import is_straight
from tests import databases, factories

pytestmark = pytest.mark.django_db(transaction=True)

TIMES = 3
"""A statement is met, met again, and ready from then on."""


@pytest.fixture
def agent(admin, workspace):
    with enter(workspace.id):
        return factories.make_agent(admin)


@pytest.fixture(autouse=True)
def driver(agent):
    """A connection that has met nothing yet."""
    connection.close()
    connection.ensure_connection()
    return connection.connection


@pytest.fixture
def rename(admin, workspace, agent):
    def change(title):
        with enter(workspace.id):
            row = Agent.locked(admin, pk=agent.pk)
            row.title = title
            row.save(update_fields=["title"])
            record(actor=admin, event=Event.AGENT_UPDATED, target=row)

    return change


def prepared():
    """The beginnings of what the server keeps for this connection of an agent's change."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement ~ 'agents_agent|audit.store'")
        return sorted(statement.split(" AS ", 1)[1].split()[0] for (statement,) in cursor.fetchall())


def test_lock_change_and_event_are_planned_once(workspace, agent, rename, round_trips):
    for number in range(TIMES):
        rename(f"Reads {number}")
    with round_trips(is_straight=True) as sent:
        rename("Reads and asks")
    first, second = sent
    assert [part.split()[0] for part in first.split("; ")] == ["BEGIN", "SET", "EXECUTE"]
    assert [part.split()[0] for part in second.split("; ")] == ["EXECUTE", "EXECUTE", "COMMIT"]
    assert prepared() == ["SELECT", "SELECT", "UPDATE"]
    with enter(workspace.id):
        assert agent.fresh().title == "Reads and asks"


def test_what_is_said_once_is_not_kept(rename):
    rename("Reads")
    assert prepared() == []


def test_a_plan_that_was_made_in_one_workspace_shows_nothing_of_another(
    workspace, other_workspace, admin, stranger, agent, rename
):
    """The scope is asked for at each time and is no part of the plan (T09)."""
    for _ in range(10):
        rename(uuid7().hex)
        with enter(other_workspace.id):
            assert Agent.locked(stranger, pk=agent.pk) is None
        # Somebody who names this workspace, in the scope of the other one.
        with enter(workspace.id), scope(other_workspace.id):
            assert Agent.locked(admin, pk=agent.pk) is None
    assert prepared() == ["SELECT", "SELECT", "UPDATE"]


def test_a_change_that_is_refused_leaves_the_statement_ready(rename, agent, workspace, admin):
    for number in range(TIMES):
        rename(f"Reads {number}")
    with pytest.raises(DatabaseError, match="too long"):
        rename("x" * 201)
    rename("Reads")
    with enter(workspace.id):
        assert agent.fresh().title == "Reads"


def test_who_empties_the_session_is_answered_once(rename, driver):
    for number in range(TIMES):
        rename(f"Reads {number}")
    driver.execute("DEALLOCATE ALL")
    driver.commit()
    with pytest.raises(DatabaseError, match="does not exist"):
        rename("Reads")
    # Who empties sessions of others is a pooler that did not show itself: nothing is left there a second time.
    for number in range(TIMES):
        rename(f"Reads again {number}")
    assert prepared() == []


@pytest.fixture
def typed():
    """A table of one row, and how its owner changes it."""

    def run(statement):
        with databases.admin() as owner:
            owner.execute(statement)

    run("CREATE TABLE typed (id int, what varchar(5)); GRANT ALL ON typed TO PUBLIC; INSERT INTO typed VALUES (1)")
    yield run
    run("DROP TABLE typed")


@pytest.fixture
def say(workspace, driver):
    def say(statement, *parameters):
        with enter(workspace.id), connection.cursor() as cursor:
            cursor.execute(driver.ready(statement), parameters)
            return cursor.fetchall()

    return say


def test_a_column_of_another_type_is_answered_once(typed, say):
    for _ in range(TIMES):
        assert say("SELECT what FROM typed WHERE id = %s", 1) == [(None,)]
    typed("ALTER TABLE typed ALTER what TYPE varchar(6); UPDATE typed SET what = 'longer'")
    with pytest.raises(DatabaseError, match="must not change result type"):
        say("SELECT what FROM typed WHERE id = %s", 1)
    for _ in range(TIMES):
        assert say("SELECT what FROM typed WHERE id = %s", 1) == [("longer",)]


@pytest.mark.parametrize(
    ("before", "after", "value", "refusal"),
    [
        ("int", "bigint", 5_000_000_000, "integer out of range"),
        ("int", "text", "seven", "invalid input syntax"),
        ("text", "uuid", "01a22ff9-de41-70a9-a414-79fd1d1dc86b", "is of type uuid but expression is of type text"),
    ],
)
def test_a_parameter_of_another_type_is_answered_once(typed, say, before, after, value, refusal):
    """What the server keeps has the types of its parameters as they were, and it plans that anew with them alone."""
    change = "UPDATE typed SET what = %s WHERE id = %s RETURNING what::text"
    typed(f"ALTER TABLE typed ALTER what TYPE {before} USING NULL")
    for _ in range(TIMES):
        say(change, None, 1)
    typed(f"ALTER TABLE typed ALTER what TYPE {after} USING NULL")
    with pytest.raises(DatabaseError, match=refusal):
        say(change, value, 1)
    for _ in range(TIMES):
        assert say(change, value, 1) == [(str(value),)]


def test_what_was_forgotten_is_not_kept_by_the_server_either(typed, say):
    for length in range(6, 12):
        for _ in range(TIMES):
            say("SELECT what FROM typed WHERE id = %s", 1)
        assert say("SELECT count(*) FROM pg_prepared_statements") == [(1,)]
        typed(f"ALTER TABLE typed ALTER what TYPE varchar({length})")
        with pytest.raises(DatabaseError, match="must not change result type"):
            say("SELECT what FROM typed WHERE id = %s", 1)


def test_what_tells_of_many_rows_is_not_kept(say):
    """Each number of rows is a statement of its own, and one of a thousand takes megabytes of the server."""
    statement = f"SELECT {' + '.join(['%s'] * 300)}"
    for _ in range(TIMES):
        assert say(statement, *range(300)) == [(sum(range(300)),)]
    assert say("SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_a_statement_that_cannot_be_prepared_says_itself_why(workspace, driver):
    def look():
        with enter(workspace.id), connection.cursor() as cursor:
            cursor.execute(driver.ready("SELECT FROM nowhere WHERE id = %s"), [1])

    for _ in range(TIMES):
        with pytest.raises(ProgrammingError, match='"nowhere" does not exist'):
            look()


def test_so_many_are_kept_and_no_more(workspace, driver):
    for number in range(300):
        for _ in range(TIMES):
            driver.ready(f"SELECT {number} + %s")
        with enter(workspace.id), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'ready%'")
            (kept,) = cursor.fetchone()
    assert kept == 200


def test_what_was_said_once_takes_no_room(rename, driver):
    for number in range(300):
        driver.ready(f"SELECT {number} + %s")
    for number in range(TIMES):
        rename(f"Reads {number}")
    assert prepared() == ["SELECT", "SELECT", "UPDATE"]


def test_without_parameters_as_well(workspace, driver):
    for _ in range(TIMES):
        with enter(workspace.id), connection.cursor() as cursor:
            cursor.execute(driver.ready("SELECT 7"))
            assert cursor.fetchall() == [(7,)]


def test_a_server_that_is_gone_is_not_taken_for_a_pooler():
    """The sealer waits for a database that is away, and stops before a pooler."""
    with databases.login("web") as fresh, databases.admin() as owner:
        assert is_straight(fresh)
        owner.execute("SELECT pg_terminate_backend(%s, 10000)", [fresh.info.backend_pid])
        with pytest.raises(psycopg.OperationalError, match="terminat"):
            is_straight(fresh)


def test_a_connection_of_which_nothing_is_known_prepares_nothing():
    with ScopedConnection.connect(databases.role_url("web"), autocommit=True) as fresh:
        for _ in range(TIMES):
            assert fresh.ready("SELECT %s") == "SELECT %s"
            with fresh.transaction():
                fresh.execute("SELECT 1")
        assert isinstance(fresh, psycopg.Connection)
