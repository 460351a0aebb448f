"""A hijacked door counts whom it turned away: it can count more, and takes no count back untold (T26)."""

from datetime import UTC

import psycopg
import pytest
from django.db import connection, transaction

from audit.services import _anonymous, _refusal_entry, _Refusals, record_all, record_anonymous
from audit.taxonomy import Event
from provenance.postgres.refusals import UnauditedChange
from tests import databases
from tests.audit import sealing

pytestmark = pytest.mark.django_db(transaction=True)

DOORS = ("web", "gateway")
SOURCE = "192.0.2.66"
THIS_MINUTE = "date_trunc('minute', now())"
EARLIER = f"{THIS_MINUTE} - interval '5 minutes'"


def counted(minute=THIS_MINUTE, count=7, reported=1, action="authz.denied", source=SOURCE):
    sealing.rows(
        f"INSERT INTO audit.refusal VALUES (%s, {minute}, %s, %s, %s) RETURNING 1", source, action, count, reported
    )


def counts():
    return sealing.rows("SELECT source, action, count, reported FROM audit.refusal ORDER BY minute, source, action")


LOWERED = [
    "DELETE FROM audit.refusal",
    "UPDATE audit.refusal SET count = count - 1",
    "UPDATE audit.refusal SET count = 1, reported = 0",
    "UPDATE audit.refusal SET reported = count",
    "UPDATE audit.refusal SET reported = 0",
    "UPDATE audit.refusal SET source = 'somebody else'",
    "UPDATE audit.refusal SET minute = minute - interval '1 hour'",
    "UPDATE audit.refusal SET count = count + 9, reported = reported + 9",
    "TRUNCATE audit.refusal",
    "INSERT INTO audit.refusal SELECT * FROM audit.refusal ON CONFLICT (source, minute, action) DO UPDATE SET count = 1",
]


@pytest.mark.parametrize("role", DOORS)
@pytest.mark.parametrize("minute", [THIS_MINUTE, EARLIER], ids=["now", "earlier"])
@pytest.mark.parametrize("statement", LOWERED)
def test_a_hijacked_door_takes_no_count_back(role, minute, statement):
    counted(minute)
    before = counts()
    with (
        databases.login(role) as door,
        pytest.raises(psycopg.DatabaseError, match=r"refused|not told|permission denied"),
    ):
        door.execute(statement)
    assert counts() == before


@pytest.mark.parametrize("role", DOORS)
def test_counting_on_and_telling_go_on_as_ever(as_role, role):
    """In either door, with what the other one counted of another type left to it."""
    counted(EARLIER, count=7, reported=1)
    counted(EARLIER, count=5, reported=0, action="auth.login_failed")
    with as_role(role):
        for _ in range(12):
            record_anonymous(event=Event.AUTHZ_DENIED, source=SOURCE, reason="No such key.")
    told = sealing.rows(
        "SELECT body::jsonb ->> 'gap' FROM audit.event WHERE action = 'authz.denied' AND workspace_id IS NULL ORDER BY id"
    )
    # A minute may turn meanwhile, which starts a count of its own.
    assert (
        sum(int(gap) + 1 for (gap,) in told)
        + sum(count - reported for _s, action, count, reported in counts() if action == "authz.denied")
        == 6 + 12
    )
    assert (SOURCE, "auth.login_failed", 5, 0) in counts()


def test_one_event_stands_for_one_change_and_for_its_own_source(as_role):
    counted(EARLIER, source="192.0.2.67")
    counted(EARLIER, source="192.0.2.68")
    take = "DELETE FROM audit.refusal WHERE source = ANY (%s)"
    with as_role("web"):
        with pytest.raises(UnauditedChange, match=r"6 refusals of 192\.0\.2\.68 are not told"):
            tell_and("192.0.2.67", 6, take, [["192.0.2.67", "192.0.2.68"]])
        with pytest.raises(UnauditedChange, match="1 refusals of"):
            tell_and("192.0.2.67", 5, take, [["192.0.2.67"]])
        tell_and("192.0.2.67", 6, take, [["192.0.2.67"]])
    assert [source for source, *_rest in counts()] == ["192.0.2.68"]


def test_the_same_event_does_not_let_what_is_told_rise_twice(as_role):
    counted(count=20, reported=0)
    rise = "UPDATE audit.refusal SET reported = reported + 10"
    with as_role("web"), pytest.raises(UnauditedChange, match="10 refusals"):
        tell_and(SOURCE, 10, f"{rise}; {rise}")


@transaction.atomic
def tell_and(source, count, statement, parameters=None):
    """In the words of the door itself, with an event of its own."""
    ((minute,),) = sealing.rows("SELECT DISTINCT minute FROM audit.refusal")
    refusals = _Refusals(source, Event.AUTHZ_DENIED, minute.astimezone(UTC), count - 1)
    record_all(actor=_anonymous(source), entries=[_refusal_entry(refusals, {})])
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.mark.parametrize(
    "values",
    [
        "('x', '-infinity', 'authz.denied', 1, 0)",
        "('x', '0044-03-15 00:00+00 BC', 'authz.denied', 1, 0)",
        f"('x', {EARLIER}, 'authz.denied', 9000000000000000000, 0)",
        f"('x', {EARLIER}, 'authz.denied', 1, 5)",
        f"(repeat('x', 201), {EARLIER}, 'authz.denied', 1, 0)",
        f"('x', {EARLIER}, 'authz.denied', 0, 0)",
    ],
)
def test_no_row_of_a_hijacked_door_stops_the_next_telling(as_role, values):
    with databases.login("web") as door, pytest.raises(psycopg.errors.CheckViolation):
        door.execute(f"INSERT INTO audit.refusal VALUES {values}")


def test_a_row_of_no_type_of_ours_stays_and_harms_nobody(as_role):
    with databases.login("gateway") as door:
        door.execute(f"INSERT INTO audit.refusal VALUES ('x', {EARLIER}, 'no.such', 3, 0)")
    with as_role("web"):
        assert record_anonymous(event=Event.AUTHZ_DENIED, source=SOURCE) == 1
    assert ("x", "no.such", 3, 0) in counts()
