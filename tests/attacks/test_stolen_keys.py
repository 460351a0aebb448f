"""Somebody has a key of the log, or wants one registered: what Postgres and the sealer make of it (T01, T15)."""

import psycopg
import pytest
from django.db import connection, transaction

from audit.envelope import ObjectFacts, build, storing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.postgres.refusals import EventNotAccepted, UnauditedChange
from tests import databases
from tests.attacks.log import told_by
from tests.audit.keys import as_migrator, forget_rotations
from tests.audit.sealing import all_keys, rows, seal, tamper

REGISTER = "INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('{0}-2', 'event', 'HMAC-SHA256', 'prov_{0}')"
END = "UPDATE audit.key SET not_after = {} WHERE kid = 'web-1'"


def execute(statement, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def of_keys(process, event, workspace_id=None):
    return build(
        keys=all_keys(process),
        actor=Actor.system("rotate_keys", workspace_id),
        event=event,
        target=ObjectFacts(type="audit_key", id="web-2"),
        workspace_id=workspace_id,
    )


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["web", "gateway", "worker", "sealer", "audit_read", "retention"])
@pytest.mark.parametrize("statement", [REGISTER.format("web"), END.format("now()"), "DELETE FROM audit.key"])
def test_no_role_that_runs_registers_ends_or_removes_a_key(as_role, role, statement):
    with as_role(role), pytest.raises(Exception, match="permission denied"), transaction.atomic():
        execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["web", "gateway", "worker"])
@pytest.mark.parametrize(
    "event", [Event.AUDIT_KEY_ROTATED, Event.AUDIT_KEYS_BACKED_UP, Event.AUDIT_KEYS_RESTORED], ids=str
)
def test_no_role_that_runs_tells_of_a_rotation(workspace, as_role, role, event):
    with as_role(role), pytest.raises(EventNotAccepted, match="told on the host"), transaction.atomic():
        execute(*storing([of_keys(role, event, workspace.id)]))


def test_the_migrator_tells_of_keys_and_of_nothing_else(approver):
    with as_migrator(), pytest.raises(EventNotAccepted, match="not registered for prov_migrate"), transaction.atomic():
        execute(*storing([told_by("web", approver)]))


@pytest.mark.django_db
def test_the_owner_registers_no_key_without_telling():
    with as_migrator():
        execute(REGISTER.format("web"))
        with pytest.raises(UnauditedChange, match="no event of this transaction tells it"):
            connection.check_constraints()
        transaction.set_rollback(True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.key SET db_role = 'prov_worker' WHERE kid = 'web-1'",
        "UPDATE audit.key SET not_after = NULL WHERE kid = 'web-1'",
        "UPDATE audit.key SET not_after = not_after + interval '1 day' WHERE kid = 'web-1'",
        "UPDATE audit.key SET not_before = '-infinity' WHERE kid = 'web-1'",
        "DELETE FROM audit.key WHERE kid = 'web-1'",
        "TRUNCATE audit.key",
    ],
)
def test_not_even_the_owner_gives_a_key_more_time_or_another_role(statement):
    """Whoever stole a key that ended would sign on."""
    with as_migrator():
        execute(END.format("now() + interval '1 hour'"))
        with pytest.raises(UnauditedChange, match="refused"), transaction.atomic():
            execute(statement)
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_a_key_signs_nothing_after_its_end(approver):
    with as_migrator():
        execute(END.format("clock_timestamp()"))
    with pytest.raises(EventNotAccepted, match="web-1 is not registered for prov_web now"), transaction.atomic():
        execute(*storing([told_by("web", approver)]))


@pytest.mark.django_db
def test_nor_in_a_transaction_that_was_begun_before(approver):
    """Its time stands still; the clock does not."""
    execute("SELECT now()")
    with as_migrator():
        execute(END.format("now() + interval '1 microsecond'"))
    with pytest.raises(EventNotAccepted, match="not registered"), transaction.atomic():
        execute(*storing([told_by("web", approver)]))


@pytest.mark.django_db(transaction=True)
def test_what_an_old_snapshot_let_through_is_told_when_it_is_sealed():
    """In REPEATABLE READ the database sees the keys of then. The sealer sees those of now, and the event's id its time."""
    event = of_keys("web", Event.AUDIT_EXPORTED)
    try:
        with databases.login("web") as thief, thief.transaction():
            thief.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            thief.execute("SELECT 1")
            tamper(END.format("clock_timestamp() - interval '10 minutes'"))
            thief.execute(*storing([event]))
        seal()
        seal()
    finally:
        forget_rotations()
    ((body,),) = rows(
        "SELECT convert_from(detail.body, 'UTF8') FROM audit.detail JOIN audit.event ON id = event_id WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert "web-1 had ended before it was stored" in body
    assert str(event.id) in body


@pytest.mark.django_db(transaction=True)
def test_the_sealer_adds_no_key_of_events():
    for columns, values in (
        ("kid, purpose, alg", "'web-2', 'event', 'x'"),
        ("kid, purpose, alg, db_role", "'web-2', 'checkpoint', 'x', 'prov_web'"),
    ):
        with databases.login("sealer") as one, pytest.raises(psycopg.Error, match=r"key_check|permission denied"):
            one.execute(f"INSERT INTO audit.key ({columns}) VALUES ({values})")
