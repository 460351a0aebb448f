"""A row that was locked is changed together with its event, in one message, and what was told of it comes with the lock."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from audit.attestation import RowAltered
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now, enter
from provenance.ids import uuid7
from tests import databases
from tests.audit.sealing import WORKSPACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]

SYSTEM = Actor.system("locks", WORKSPACE)
SOON = 60


@pytest.fixture
def lock(probe, row):
    return lambda: probe.locked(SYSTEM, pk=row.pk)


@pytest.fixture
def stored(probe, row, events):
    """The row's name and revision, and the revisions that the log tells of it."""

    def look():
        with enter(WORKSPACE):
            name, rev = probe.objects.values_list("name", "audit_rev").get(pk=row.pk)
            return name, rev, [event.rev for event in events() if event.object_id == str(row.pk)]

    return look


def change(row, name):
    row.name = name
    row.save()
    record(actor=SYSTEM, event=Event.AGENT_UPDATED, target=row)


def waits(sent):
    """Whether somebody waited for the answer of an UPDATE."""
    return any('UPDATE "probe"' in statement and "RETURNING" in statement for statement in sent)


def test_lock_change_event_and_end_are_two_messages(lock, stored, round_trips):
    with round_trips() as sent, enter(WORKSPACE):
        change(lock(), "two")
    first, second = sent
    assert first.startswith("BEGIN; ")
    assert first.endswith("FOR UPDATE")
    assert [part.split()[0] for part in second.split("; ")] == ["UPDATE", "SELECT", "COMMIT"]
    assert stored() == ("two", 2, [1, 2])


def test_several_changes_of_it_travel_in_their_order(lock, stored, round_trips):
    with round_trips() as sent, enter(WORKSPACE):
        locked = lock()
        change(locked, "two")
        change(locked, "three")
    assert len(sent) == 2
    assert stored() == ("three", 3, [1, 2, 3])


def test_the_next_statement_sees_the_change(probe, row, lock):
    with enter(WORKSPACE):
        change(lock(), "two")
        assert probe.objects.get(pk=row.pk).name == "two"


def test_a_change_without_its_event_is_refused_by_commit(lock, stored):
    def change_in_silence():
        with enter(WORKSPACE):
            locked = lock()
            locked.name = "two"
            locked.save()

    with pytest.raises(DatabaseError, match="unaudited update"):
        change_in_silence()
    assert stored() == ("one", 1, [1])


def test_who_had_to_wait_for_the_lock_is_told_of_the_change_that_it_waited_for(lock, stored):
    """What the log says is asked beside the lock, by a statement that began before the other's event was there."""
    is_locked, both = Signal(), ThreadPoolExecutor(2)

    def first():
        with enter(WORKSPACE):
            locked = lock()
            is_locked.set()
            wait_until_somebody_waits()
            change(locked, "first")
        connections.close_all()

    def second():
        assert is_locked.wait(SOON)
        with enter(WORKSPACE):
            change(lock(), "second")
        connections.close_all()

    with both:
        for ended in [both.submit(first), both.submit(second)]:
            ended.result(SOON)
    assert stored() == ("second", 3, [1, 2, 3])


def wait_until_somebody_waits():
    """For the lock of a row of the table."""
    with databases.admin() as owner:
        for _ in range(SOON * 50):
            if owner.execute(
                "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND query ~ 'FOR UPDATE'"
            ).rowcount:
                return
            time.sleep(0.02)
    raise AssertionError("Nobody waits for the lock.")


def test_a_row_that_was_altered_before_the_lock_is_not_signed(row, lock, stored):
    with databases.admin() as owner:
        owner.execute("ALTER TABLE probe DISABLE TRIGGER ALL")
        owner.execute("UPDATE probe SET size = 7 WHERE id = %s", [row.pk])
        owner.execute("ALTER TABLE probe ENABLE TRIGGER ALL")
    with pytest.raises(RowAltered), enter(WORKSPACE):
        change(lock(), "two")
    assert stored() == ("one", 1, [1])


class TestNoLongerLocked:
    """Where the lock may be gone, the change is waited for, and asks for itself what was told."""

    def test_after_its_savepoint_was_taken_back(self, lock, stored, round_trips):
        with round_trips() as sent, enter(WORKSPACE):
            with transaction.atomic():
                locked = lock()
                transaction.set_rollback(True)
            change(locked, "two")
        assert waits(sent)
        assert stored() == ("two", 2, [1, 2])

    def test_in_another_transaction(self, lock, stored, round_trips):
        with enter(WORKSPACE):
            locked = lock()
        with round_trips() as sent, enter(WORKSPACE):
            change(locked, "two")
        assert waits(sent)
        assert stored() == ("two", 2, [1, 2])

    def test_when_it_became_another_row(self, lock):
        with enter(WORKSPACE):
            locked = lock()
            locked.pk = uuid7()
            with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
                locked.save(update_fields=["name"])


class TestSwallowed:
    """Somebody who owns the database lets no change happen. An event must not go on as if it had."""

    @pytest.fixture(autouse=True, params=["trigger", "rule"])
    def _swallowed(self, request, row):
        with databases.admin() as owner:
            if request.param == "rule":
                owner.execute("CREATE RULE swallows AS ON UPDATE TO probe DO INSTEAD NOTHING")
                yield
                owner.execute("DROP RULE swallows ON probe")
            else:
                body = "BEGIN RETURN NULL; END"
                owner.execute(f"CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
                owner.execute("CREATE TRIGGER a BEFORE UPDATE ON probe FOR EACH ROW EXECUTE FUNCTION swallow()")
                owner.execute("ALTER TABLE probe ENABLE ALWAYS TRIGGER a")
                yield
                owner.execute("DROP FUNCTION swallow CASCADE")

    def test_whatever_follows_fails_and_nothing_is_kept(self, lock, stored):
        def change_and_ask():
            with enter(WORKSPACE):
                change(lock(), "two")
                database_now()

        with pytest.raises(OperationalError, match="swallows changes"):
            change_and_ask()
        assert stored() == ("one", 1, [1])

    def test_commit_says_so_and_the_row_is_no_longer_believed(self, lock, stored):
        with pytest.raises(OperationalError, match="swallows changes"), enter(WORKSPACE):
            change(lock(), "two")
        # The event was stored with nothing behind it: from now on the row is not what the log says.
        assert stored() == ("one", 1, [1, 2])
        with pytest.raises(RowAltered), enter(WORKSPACE):
            change(lock(), "three")

    def test_a_copy_that_follows_fails(self, lock, stored):
        def change_and_copy():
            with enter(WORKSPACE), connection.cursor() as cursor:
                change(lock(), "two")
                with cursor.copy("COPY (SELECT 1) TO STDOUT"):
                    pass

        with pytest.raises(psycopg.OperationalError, match="swallows changes"):
            change_and_copy()
        assert stored() == ("one", 1, [1])
