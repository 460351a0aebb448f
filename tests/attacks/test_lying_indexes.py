"""A superuser switches an index off while a row is written, and on again: who looks the row up finds something else."""

import threading
from contextlib import contextmanager

import pytest
from django.core.management import call_command

from audit.taxonomy import Event
from audit.verifying.indexes import untrue
from provenance.actor import Actor, ActorKind
from provenance.db import enter
from tests import databases, factories
from tests.attacks.log import send, told_by
from tests.audit import sealing
from tests.audit.verifying import verify
from tests.gateway.world import unguarded

pytestmark = pytest.mark.django_db(transaction=True)

OF_EVENTS = ["id", "xid, object_id, rev", "workspace_id, id", "workspace_id, object_id, id"]
OF_EVENTS += ["workspace_id, actor_id, id", "workspace_id, action, id"]


@pytest.fixture
def place(transactional_db):
    """A sealed workspace with people; afterwards every index is what it was."""
    made = factories.make_workspace()
    with enter(made.id):
        made.admin = factories.make_member(made, roles={"admin"})
        factories.make_member(made, roles={"viewer"})
    sealing.seal()
    yield made
    with databases.admin() as owner:
        owner.execute(f"REINDEX TABLE {this_month()}")
        owner.execute("REINDEX TABLE workspaces_membership; REINDEX TABLE audit.leaf")


def this_month():
    return sealing.rows("SELECT tableoid::regclass::text FROM audit.event ORDER BY id DESC LIMIT 1")[0][0]


def index_of(table, columns):
    """The index of these columns without a condition."""
    found = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND pg_get_indexdef(indexrelid) LIKE %s"
    ((name,),) = sealing.rows(found, table, f"%({columns})")
    return name


@contextmanager
def switched_off(owner, index):
    statement = "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass"
    owner.execute(statement, [False, index])
    yield
    owner.execute(statement, [True, index])


def hide(table, row, index):
    """The row stands in its table as before, and is not found through this index."""
    with unguarded(table) as owner, switched_off(owner, index):
        owner.execute(f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM {table} WHERE id = %s", [row])
        owner.execute(f"DELETE FROM {table} WHERE id = %s", [row])
        owner.execute(f"INSERT INTO {table} SELECT * FROM kept")


def an_event(place):
    ((event_id, actor),) = sealing.rows(
        "SELECT id, actor_id FROM audit.event WHERE workspace_id = %s AND action = %s LIMIT 1",
        *(place.id, Event.MEMBER_ADDED),
    )
    return event_id, actor


def verified():
    return verify(with_indexes=True)


def test_a_sound_database_is_called_sound_and_says_how_many_indexes_were_read(place):
    report = verified()
    assert report.is_good, report
    assert any("indexes were held against their tables" in note for note in report.notes)


@pytest.mark.parametrize("columns", OF_EVENTS)
def test_an_event_that_an_index_hides_is_missed_by_whoever_looks_it_up_and_the_index_is_named(place, columns):
    event_id, _actor = an_event(place)
    index = index_of(this_month(), columns)
    hide("audit.event", event_id, index)
    found = [problem for problem in verified().problems if "The index" in problem]
    assert [problem.split(" tells of ")[0] for problem in found] == [f"The index audit.{index.split('.')[-1]}"]


def test_who_reads_in_the_order_of_an_index_misses_what_it_hides(place):
    event_id, _actor = an_event(place)
    seen = f"SELECT id FROM audit.event WHERE workspace_id = '{place.id}' ORDER BY actor_id, id"
    with databases.admin() as owner:
        owner.execute("SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off")
        before = owner.execute(seen).fetchall()
        hide("audit.event", event_id, index_of(this_month(), "workspace_id, actor_id, id"))
        assert owner.execute(seen).fetchall() == [row for row in before if row != (event_id,)]
    assert not verified().is_good


def test_rows_that_changed_places_in_an_index_are_noticed_by_their_order(place):
    """Each is found under the key of the other, so that nothing is missing and nothing is twice."""
    index = "audit.leaf_event_id_key"
    with databases.admin() as owner:
        owner.execute("VACUUM FULL audit.leaf")
        first, second = (
            row
            for (row,) in owner.execute("SELECT event_id FROM audit.leaf WHERE event_id IS NOT NULL LIMIT 2").fetchall()
        )
        before = owner.execute(_PLACES, [first, second]).fetchall()
        owner.execute("CREATE TABLE public.kept AS SELECT * FROM audit.leaf")
        owner.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = %s::regclass", [index])
        try:
            sealing.tamper("DELETE FROM audit.leaf WHERE event_id = ANY (%s)", [first, second])
            owner.execute("VACUUM (INDEX_CLEANUP ON) audit.leaf")
            for event_id in (second, first):
                sealing.tamper("INSERT INTO audit.leaf SELECT * FROM public.kept WHERE event_id = %s", event_id)
        finally:
            owner.execute("DROP TABLE public.kept")
            owner.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = %s::regclass", [index])
        assert owner.execute(_PLACES, [second, first]).fetchall() == before
    found = [problem for problem in verified().problems if "The index" in problem]
    assert [problem.partition(":")[0] for problem in found] == [
        f"The index {index} has rows in places that are not theirs"
    ]


_PLACES = "SELECT place.number, leaf.ctid::text FROM audit.leaf JOIN (VALUES (%s::uuid, 1), (%s, 2)) AS place (id, number) ON id = event_id ORDER BY 1"


def test_a_member_whom_an_index_hides_is_told_by_the_nightly_reconciliation(place, settings, capsys):
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    ((member,),) = sealing.rows("SELECT id FROM workspaces_membership ORDER BY id LIMIT 1")
    hide("workspaces_membership", member, index_of("workspaces_membership", "id"))
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile")
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith("The index public.workspaces_membership_pkey tells of ")
    assert sealing.told(Event.AUDIT_VERIFICATION_FAILED)


def test_an_index_that_is_put_beside_another_one_keeps_none_from_being_told(place, settings, capsys):
    """Postgres reads the sound one, so that what the other hides is not seen by reading."""
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    ((member,),) = sealing.rows("SELECT id FROM workspaces_membership ORDER BY id LIMIT 1")
    hide("workspaces_membership", member, index_of("workspaces_membership", "id"))
    with databases.admin() as owner:
        owner.execute("CREATE INDEX beside ON workspaces_membership (id)")
        try:
            with pytest.raises(SystemExit) as ended:
                call_command("reconcile")
        finally:
            owner.execute("DROP INDEX beside")
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith(
        "The index public.workspaces_membership_pkey could not be held against its table: Postgres reads beside, which has"
        " the same order. One of them may hide rows: find out who made the one that no migration makes, and drop it\n"
    )


def test_who_writes_meanwhile_raises_no_alarm(place):
    nameless, stop = Actor(kind=ActorKind.SYSTEM, id="tests", label="", workspace_id=place.id), threading.Event()

    def write():
        while not stop.is_set():
            send(told_by("worker", nameless, Event.RUN_STARTED))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = [untrue(lambda: databases.login("sealer"), schemas=("audit",), jobs=2) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert [each.problems for each in found] == [[]] * 5


OFF = [
    "UPDATE pg_index SET indisready = false WHERE indexrelid = 'audit.leaf_event_id_key'::regclass",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit.event_pkey'::regclass",
    "UPDATE pg_index SET indislive = false WHERE indexrelid = 'public.workspaces_membership_pkey'::regclass",
]


@pytest.mark.parametrize("statement", OFF)
def test_an_index_that_is_off_keeps_every_process_from_serving(statement):
    assert any(" is switched off or compares by " in problem for problem in databases.problems_behind(statement))
