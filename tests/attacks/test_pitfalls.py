"""The pitfalls that the design of the log names (audit.md 6), each with the tests that hold it; those missing are here.

1. Horizon: `test_pitfalls.py::test_a_transaction_in_another_database_holds_nothing_up`,
   `audit/test_sealer.py::test_an_open_transaction_holds_nothing_up_and_is_sealed_when_it_commits`
2. Transaction ids: `test_pitfalls.py::test_what_a_subtransaction_tells_is_sealed_with_the_whole`,
   `audit/test_sealer.py::test_in_another_cluster_transaction_ids_are_not_trusted`
3. Commit out of order: `audit/test_sealer.py::test_an_open_transaction_holds_nothing_up_and_is_sealed_when_it_commits`,
   `audit/test_sealer.py::test_changes_of_an_object_stand_in_the_order_of_its_revisions_whatever_clocks_say`
4. Locks: `test_pitfalls.py::test_writers_of_one_workspace_do_not_wait_for_each_other`
5. Clocks: `test_pitfalls.py::test_a_clock_off_by_an_hour_is_refused_with_its_reason`,
   `audit/test_record.py::test_a_clock_that_is_wrong`
6. The edge of a month: `test_pitfalls.py::test_around_midnight_each_event_finds_its_month`,
   `audit/test_partitions.py::test_the_guard_finds_the_event_in_a_neighboring_month`,
   `audit/test_partitions.py::test_months_join_without_gap_or_overlap_two_months_ahead`
7. Deferred triggers and migrations: `test_pitfalls.py::test_a_migration_of_data_settles_its_guards_before_it_alters`
8. Many rows at once: `audit/test_guard.py::test_many_rows_are_created_and_changed_at_once`; the cost is a figure of
   `./manage.py bench audit`
9. JSON: `audit/test_canonical_bytes.py::test_what_has_no_canonical_form_is_refused`,
   `audit/test_record.py::test_nul_and_surrogates_are_replaced_and_the_body_says_so`,
   `test_pitfalls.py::test_a_float_is_in_no_signed_body`
10. TRUNCATE and replication: `test_pitfalls.py::test_not_even_a_superuser_gets_past_guards_unnoticed`,
    `audit/test_record.py::test_by_the_owner_either`
11. Shadowing: `test_pitfalls.py::test_a_search_path_of_ones_own_changes_no_guard`,
    `attacks/test_walls_down.py::test_what_a_role_set_for_itself_ends_at_the_next_start`
12. Pooling: `test_pitfalls.py::test_a_connection_that_is_handed_around_keeps_nothing`,
    `provenance/test_scope.py::test_the_next_transaction_does_not_inherit_it`
13. Failover: `audit/test_epochs.py::test_after_a_restore_to_before_what_was_published_nothing_is_sealed_until_an_epoch_is_started`
14. Row security and leaves: `audit/test_tree.py::test_another_workspaces_log_is_not_there`,
    `audit/test_sealer.py::test_only_the_sealer_grows_the_log_and_nobody_changes_it`
15. The size of a leaf: `audit/test_record.py::test_a_body_of_more_than_8_kib`
16. False alarms: `attacks/test_false_alarms.py::test_a_busy_log_whose_processes_are_killed_is_whole_and_raises_no_alarm`,
    `audit/test_verification.py::test_writers_and_a_sealer_at_work_raise_no_alarm`
17. Storms: `audit/test_record.py::test_a_flood_of_strangers_becomes_a_handful_of_events`,
    `workflows/test_trust_budget.py`: quotas are on the action, and every event is kept
18. Secrets: `flows/test_canaries.py::test_no_table_holds_a_secret`
19. Ids that come again: `audit/test_histories.py::test_a_history_that_cannot_be_is_told`
20. Reading: `audit/test_reads.py::test_every_view_of_the_log_tells_that_it_was_read`
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from audit.envelope import EventContext, ObjectFacts, build, storing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.canonical import NotCanonical
from provenance.ids import uuid7, uuid7_floor
from provenance.postgres.refusals import NO_WORKSPACE, NOT_ACCEPTED, UNAUDITED
from tests import databases
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.sealing import OTHER, WORKSPACE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]
TESTS = Path(__file__).resolve().parent.parent


def told(workspace_id=WORKSPACE, **changes):
    return told_by("worker", Actor.system("tests", workspace_id), Event.RUN_STARTED, **changes)


def begin(connection, workspace_id=WORKSPACE):
    connection.execute("BEGIN")
    connection.execute(f"SET LOCAL app.workspace_id = '{workspace_id}'")


def ids():
    return [event_id for _hash, event_id in sealing.leaves(WORKSPACE)]


def test_every_pitfall_names_tests_that_exist():
    named = re.findall(r"`(?:(\w+)/)?(test_\w+)\.py(?:::(test_\w+))?`", __doc__)
    assert len(named) > 25
    for folder, module, test in named:
        source = (TESTS / (folder or "attacks") / f"{module}.py").read_text("utf-8")
        assert f"def {test}" in source, (folder, module, test)
    assert [int(number) for number in re.findall(r"^(\d+)\.", __doc__, re.MULTILINE)] == list(range(1, 21))


def test_a_transaction_in_another_database_holds_nothing_up():
    """A batch job or a forgotten prepared transaction anywhere in the cluster keeps `pg_snapshot_xmin` where it is."""
    with psycopg.connect(databases.admin_url(), autocommit=True) as elsewhere, databases.login("worker") as worker:
        elsewhere.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        ((held,),) = elsewhere.execute("SELECT pg_current_xact_id()::text::bigint").fetchall()
        for _ in range(2):
            begin(worker)
            event = told()
            worker.execute(*storing([event]))
            worker.execute("COMMIT")
            sealing.seal()
            assert ids()[-1] == event.id
        ((horizon,),) = sealing.rows("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        assert horizon <= held, "it did hold the horizon"
        elsewhere.execute("ROLLBACK")


def test_what_a_subtransaction_tells_is_sealed_with_the_whole():
    kept, dropped, outer = told(), told(), told()
    with databases.login("worker") as worker:
        begin(worker)
        worker.execute("SAVEPOINT one")
        worker.execute(*storing([kept]))
        worker.execute("RELEASE one")
        worker.execute("SAVEPOINT two")
        worker.execute(*storing([dropped]))
        worker.execute("ROLLBACK TO two")
        worker.execute(*storing([outer]))
        sealing.seal()
        assert sealing.rows("SELECT count(*) FROM audit.leaf WHERE event_id = %s", kept.id) == [(0,)]
        worker.execute("COMMIT")
    sealing.seal()
    assert sorted(ids()) == sorted([kept.id, outer.id])


def test_writers_of_one_workspace_do_not_wait_for_each_other():
    with databases.login("worker") as first, databases.login("worker") as second:
        begin(first)
        first.execute(*storing([told()]))
        begin(second)
        second.execute("SET LOCAL lock_timeout = '10s'")
        second.execute(*storing([told()]))
        second.execute("COMMIT")
        first.execute("COMMIT")
    assert sealing.rows("SELECT count(*) FROM audit.event WHERE workspace_id = %s", WORKSPACE) == [(2,)]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_off_by_an_hour_is_refused_with_its_reason(monkeypatch, hours):
    from provenance import ids as module

    wrong = datetime.now(UTC) + timedelta(hours=hours)
    event = build(
        keys=sealing.all_keys("worker"),
        actor=Actor.system("tests", WORKSPACE),
        event=Event.RUN_STARTED,
        target=ObjectFacts(type="run", id="1"),
        workspace_id=WORKSPACE,
        now=wrong,
    )
    with databases.login("worker") as worker:
        begin(worker)
        with pytest.raises(psycopg.Error, match="more than 5 minutes from the clock of the database") as refused:
            worker.execute(*storing([event]))
        assert refused.value.sqlstate == NOT_ACCEPTED
    monkeypatch.setattr(module.time, "time_ns", lambda: int(wrong.timestamp() * 1e9))
    monkeypatch.setattr(module, "_last", 0)
    with databases.login("worker") as worker:
        begin(worker)
        with pytest.raises(psycopg.Error, match="the time in its id is more than 5 minutes"):
            worker.execute(*storing([told()]))


def test_around_midnight_each_event_finds_its_month():
    """At 23:59:59.9 with clocks five minutes fast or slow: every such id has a place, and the guard looks in both months."""
    now = datetime.now(UTC)
    midnight = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = midnight - timedelta(milliseconds=100)
    for moment in (last, last - timedelta(minutes=5), last + timedelta(minutes=5), midnight):
        event_id = uuid7_floor(moment)
        wanted = f"event_{moment:%Y_%m}"
        with databases.admin() as owner, owner.transaction(force_rollback=True):
            owner.execute("ALTER TABLE audit.event DISABLE TRIGGER USER")
            owner.execute(
                """INSERT INTO audit.event VALUES (%s, pg_current_xact_id(), NULL, 'x', '1', 1, 'read', '{}', 'run.started',
                   'x', 'system', 'success', 'low', NULL, 'web-1', sha256('x'), '{}')""",
                [event_id],
            )
            found = owner.execute(
                "SELECT tableoid::regclass::text FROM audit.event WHERE id = %s", [event_id]
            ).fetchone()
        assert found == (f"audit.{wanted}",)
    ((text,),) = sealing.rows("SELECT prosrc FROM pg_proc WHERE oid = 'audit.require_event'::regproc")
    assert f"audit.event_{now:%Y_%m} AS event" in text
    assert "FROM audit.event AS event" in text


def test_a_migration_of_data_settles_its_guards_before_it_alters():
    """Pending guards block ALTER TABLE; told at once with SET CONSTRAINTS they do not, and still refuse."""
    with databases.admin() as owner:
        owner.execute("CREATE TABLE public.pitfall (LIKE public.agents_agent INCLUDING DEFAULTS, PRIMARY KEY (id))")
        try:
            _guard(owner)
            row = uuid7()
            owner.execute("ALTER TABLE pitfall DISABLE TRIGGER USER")
            owner.execute(
                """INSERT INTO pitfall (id, workspace_id, audit_rev, audit_salt, slug, title, status, trust_level,
                   current_version, suspended_reason, created_by, created_at)
                   VALUES (%s, %s, 1, sha256('x'), 'a', 'a', 'active', 'low', 0, '', 'x', now())""",
                [row, WORKSPACE],
            )
            for name in ("audit_revision", "audit_coverage"):
                owner.execute(f"ALTER TABLE pitfall ENABLE ALWAYS TRIGGER {name}")
            with pytest.raises(psycopg.errors.ObjectInUse, match="pending trigger events"), owner.transaction():  # noqa: PT012  the transaction fails
                owner.execute("UPDATE pitfall SET title = 'b'")
                owner.execute("ALTER TABLE pitfall ADD COLUMN more text")
            with pytest.raises(psycopg.Error, match="unaudited update") as refused, owner.transaction():  # noqa: PT012  the transaction fails
                owner.execute("UPDATE pitfall SET title = 'b'")
                owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
            assert refused.value.sqlstate == UNAUDITED
            with owner.transaction():
                owner.execute("UPDATE pitfall SET title = 'b'")
                event = build(
                    keys=sealing.all_keys("worker"),
                    actor=Actor.system("tests", WORKSPACE),
                    event=Event.AGENT_UPDATED,
                    target=ObjectFacts(type="pitfall", id=str(row), rev=2, op="update", changed=("title",)),
                    workspace_id=WORKSPACE,
                )
                owner.execute("SET LOCAL SESSION AUTHORIZATION prov_worker")
                owner.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
                owner.execute(*storing([event]))
                owner.execute("RESET SESSION AUTHORIZATION")
                owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
                owner.execute("ALTER TABLE pitfall ADD COLUMN more text")
        finally:
            databases.drop_governed(owner, "pitfall")


def _guard(owner):
    from audit.guard import Grant, GuardTable

    owner.execute(GuardTable("pitfall", object_type="pitfall", events=[Event.AGENT_UPDATED]).up())
    owner.execute(Grant("pitfall", worker="select, update").up())


@pytest.mark.parametrize("value", [1.5, float("nan"), b"bytes", object()])
def test_a_float_is_in_no_signed_body(value):
    with pytest.raises(NotCanonical, match="does not belong into a signed body"):
        build(
            keys=sealing.all_keys("worker"),
            actor=Actor.system("tests", WORKSPACE),
            event=Event.RUN_STARTED,
            target=ObjectFacts(type="run", id="1"),
            workspace_id=WORKSPACE,
            context=EventContext(data_tier=value),
        )


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE audit.{month}",
        "TRUNCATE audit.event, audit.detail CASCADE",
        "SET session_replication_role = replica; DELETE FROM audit.event",
        "SET session_replication_role = replica; UPDATE audit.{month} SET risk = 'low'",
        "SET session_replication_role = replica; DELETE FROM audit.leaf",
    ],
)
def test_not_even_a_superuser_gets_past_guards_unnoticed(statement):
    """TRUNCATE fires no row trigger and partitions do not inherit its own; replica mode skips what is not ALWAYS."""
    with databases.login("worker") as worker:
        begin(worker)
        worker.execute(*storing([told()]))
        worker.execute("COMMIT")
    sealing.seal()
    month = f"event_{datetime.now(UTC):%Y_%m}"
    *settings, attack = statement.format(month=month).split("; ")
    with databases.admin() as owner:
        for setting in settings:
            owner.execute(setting)
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(attack)
    assert refused.value.sqlstate in {UNAUDITED, NOT_ACCEPTED}
    assert len(ids()) == 1


def test_a_search_path_of_ones_own_changes_no_guard():
    """Functions of the log name what they use with its schema, and nobody but the owner can put anything before it."""
    with databases.login("worker") as worker:
        for statement in (
            "CREATE TEMP TABLE event (id uuid)",
            "CREATE SCHEMA mine",
            "CREATE FUNCTION public.now() RETURNS int",
        ):
            with pytest.raises(psycopg.Error):
                worker.execute(statement)
        worker.execute("SET search_path = pg_temp, public, audit")
        worker.execute("SET audit.ignore = 'all'")
        worker.execute("SET pgtrigger.ignore = 'all'")
        begin(worker)
        with pytest.raises(psycopg.Error) as refused:
            worker.execute(*storing([told(OTHER)]))
        assert refused.value.sqlstate == NOT_ACCEPTED


def test_a_connection_that_is_handed_around_keeps_nothing():
    """As PgBouncer does it in transaction mode: one server connection for one transaction of one workspace each."""
    with databases.login("worker") as shared:
        for number in range(6):
            workspace_id = (WORKSPACE, OTHER)[number % 2]
            begin(shared, workspace_id)
            shared.execute(*storing([told(workspace_id)]))
            ((seen,),) = shared.execute("SELECT count(DISTINCT workspace_id) FROM audit.event").fetchall()
            assert seen == 1
            shared.execute("COMMIT" if number % 3 else "ROLLBACK")
            with pytest.raises(psycopg.Error) as refused:
                shared.execute("SELECT 1 FROM audit.event")
            assert refused.value.sqlstate == NO_WORKSPACE
    sealing.seal()
    assert len(ids()) == 2
