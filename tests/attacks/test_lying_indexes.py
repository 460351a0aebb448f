"""A superuser switches an index off while a row is written, and on again: who looks the row up finds something else."""

import threading
from contextlib import contextmanager
from uuid import UUID

import pytest
from django.conf import settings as of_django
from django.core.management import call_command

from audit.taxonomy import Event
from audit.verifying.indexes import untrue
from provenance.actor import Actor, ActorKind
from provenance.db import enter
from provenance.ids import uuid7
from provenance.roles import grant_database
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
    try:
        yield
    finally:
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
    assert [problem.split(" does not lead to ")[0] for problem in found] == [f"The index audit.{index.split('.')[-1]}"]


def test_who_reads_in_the_order_of_an_index_misses_what_it_hides(place):
    event_id, _actor = an_event(place)
    seen = f"SELECT id FROM audit.event WHERE workspace_id = '{place.id}' ORDER BY actor_id, id"
    with databases.admin() as owner:
        owner.execute("SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off")
        before = owner.execute(seen).fetchall()
        hide("audit.event", event_id, index_of(this_month(), "workspace_id, actor_id, id"))
        assert owner.execute(seen).fetchall() == [row for row in before if row != (event_id,)]
    assert not verified().is_good


def test_rows_that_changed_places_in_an_index_are_noticed(place):
    """Each is found under the key of the other, so that nothing is missing and nothing is twice."""
    with leaves() as (owner, first, second, put):
        before = owner.execute(_PLACES, [first, second]).fetchall()
        with switched_off(owner, OF_LEAVES):
            take(owner, first, second)
            put(second)
            put(first)
        assert owner.execute(_PLACES, [second, first]).fetchall() == before
    assert named(" does not lead to ") == [f"The index {OF_LEAVES}"]


def test_a_row_that_an_index_has_by_another_id_is_noticed_though_that_one_sorts_in_its_place(place):
    """As many are found as there are, and in the order of what stands in them; by its own id it is not found."""
    with leaves() as (owner, event_id, _second, put):
        last = owner.execute("SELECT max(event_id::text)::uuid FROM audit.leaf").fetchall()[0][0]
        take(owner, event_id)
        put(event_id, named=UUID(int=last.int + 1))
        with switched_off(owner, OF_LEAVES):
            take(owner, UUID(int=last.int + 1))
            put(event_id, named=UUID(int=last.int + 2))
        assert found_by(owner, UUID(int=last.int + 2)) == []
    assert named(" does not lead to ") == [f"The index {OF_LEAVES}"]


def test_a_row_that_an_index_has_by_another_id_too_is_noticed(place):
    """By its own it is found as well, so that no row is missing."""
    with leaves() as (owner, event_id, _second, put):
        other = uuid7()
        take(owner, event_id)
        put(event_id, named=other)
        with switched_off(owner, OF_LEAVES):
            take(owner, other)
        put(event_id)
        assert found_by(owner, other) == found_by(owner, event_id) == [(event_id,)]
    assert named(" tells of ") == [f"The index {OF_LEAVES}"]


OF_LEAVES = "audit.leaf_event_id_key"


@contextmanager
def leaves():
    """An administrator, the events of two leaves, and how to put their leaves back, each into the first place that is free."""
    with databases.admin() as owner:
        owner.execute("VACUUM FULL audit.leaf")
        (first,), (second,) = owner.execute(
            "SELECT event_id FROM audit.leaf WHERE event_id IS NOT NULL LIMIT 2"
        ).fetchall()
        owner.execute("CREATE TABLE public.kept AS SELECT * FROM audit.leaf")

        def put(event_id, named=None):
            renamed = "INSERT INTO audit.leaf SELECT (jsonb_populate_record(kept, jsonb_build_object('event_id', %s::uuid))).*"
            sealing.tamper(f"{renamed} FROM public.kept WHERE event_id = %s", named or event_id, event_id)

        try:
            yield owner, first, second, put
        finally:
            owner.execute("DROP TABLE public.kept")


def take(owner, *event_ids):
    sealing.tamper("DELETE FROM audit.leaf WHERE event_id = ANY (%s)", [*event_ids])
    owner.execute("VACUUM (INDEX_CLEANUP ON) audit.leaf")


def found_by(owner, event_id):
    """What stands in the rows that the index finds by this id."""
    with owner.transaction():
        owner.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off"
        )
        return owner.execute("SELECT event_id FROM audit.leaf WHERE event_id = %s", [event_id]).fetchall()


def named(words):
    """The indexes of which a verification says something with these words, when it says nothing of others."""
    return [problem.split(words)[0] for problem in verified().problems if "The index" in problem]


_PLACES = "SELECT place.number, leaf.ctid::text FROM audit.leaf JOIN (VALUES (%s::uuid, 1), (%s, 2)) AS place (id, number) ON id = event_id ORDER BY 1"


def test_a_member_whom_an_index_hides_is_told_by_the_nightly_reconciliation(place, settings, capsys):
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    ((member,),) = sealing.rows("SELECT id FROM workspaces_membership ORDER BY id LIMIT 1")
    hide("workspaces_membership", member, index_of("workspaces_membership", "id"))
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile")
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith(
        "The index public.workspaces_membership_pkey does not lead to the rows of its table"
    )
    assert sealing.told(Event.AUDIT_VERIFICATION_FAILED)


BESIDE = {
    "that hides a row": "The index public.workspaces_membership_pkey does not lead to the rows of its table",
    "that is sound": "The entries of the index public.workspaces_membership_pkey could not be counted: Postgres reads beside, which has"
    " the same order. One of them may lead to rows twice: find out who made the one that no migration makes, and drop it\n",
}


@pytest.mark.parametrize("of", BESIDE)
def test_an_index_that_is_put_beside_another_one_keeps_none_from_being_told(place, settings, capsys, of):
    """Postgres reads the sound one, so that what the other hides is not seen by reading."""
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    if of == "that hides a row":
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
    assert capsys.readouterr().out.startswith(BESIDE[of])


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


WITHOUT_AMCHECK = {
    "away": "DROP EXTENSION amcheck",
    "blind": "CREATE OR REPLACE FUNCTION pg_catalog.bt_index_check(index regclass, heapallindexed boolean) RETURNS void"
    " LANGUAGE sql AS ''",
    "another": "CREATE OR REPLACE FUNCTION pg_catalog.bt_index_check(index regclass, heapallindexed boolean) RETURNS void"
    " LANGUAGE c STRICT AS '$libdir/amcheck', 'bt_index_parent_check'",
    "refused": "REVOKE EXECUTE ON FUNCTION pg_catalog.bt_index_check(regclass, boolean) FROM prov_sealer",
}


@pytest.mark.parametrize("statement", WITHOUT_AMCHECK.values(), ids=list(WITHOUT_AMCHECK))
def test_where_amcheck_is_not_the_one_of_postgres_nothing_is_called_sound(place, statement):
    with databases.admin() as owner:
        try:
            owner.execute(statement)
            assert any("No index could be held against its table" in problem for problem in verified().problems)
        finally:
            owner.execute("DROP EXTENSION IF EXISTS amcheck")
            grant_database(databases.admin_url(), of_django.DATABASES["default"]["NAME"])
    assert verified().is_good


OFF = [
    "UPDATE pg_index SET indisready = false WHERE indexrelid = 'audit.leaf_event_id_key'::regclass",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'audit.event_pkey'::regclass",
    "UPDATE pg_index SET indislive = false WHERE indexrelid = 'public.workspaces_membership_pkey'::regclass",
]


@pytest.mark.parametrize("statement", OFF)
def test_an_index_that_is_off_keeps_every_process_from_serving(statement):
    assert any(" is switched off or compares by " in problem for problem in databases.problems_behind(statement))
