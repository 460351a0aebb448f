"""Behind a pooler that hands out one process of the server for each transaction (PgBouncer, a real one): it all goes on."""

import asyncio
from contextlib import contextmanager, nullcontext

import psycopg
import pytest
from django.conf import settings
from django.db import InterfaceError, connection

from apikeys.services import issue_key
from audit import background, sealer
from audit.models import Export
from audit.selectors import EventFilters
from audit.tasks import build_export
from audit.taxonomy import Event
from gateway.database import Database
from provenance.db import ask, enter
from provenance.postgres.base import ScopedCursor
from provenance.postgres.connection import WORKSPACE, ScopedConnection
from provenance.postgres.names import signed_in
from provenance.postgres.session import BehindPooler, is_straight
from provenance.reachable import unreachable_database
from provenance.readiness import problems
from provenance.roles import ensure_roles
from tests import databases
from tests.attacks.reading import ReadLog
from tests.attacks.server_settings import READ_OTHERWISE, server_set_to
from tests.audit import sealing
from tests.pgbouncer import needs_pgbouncer, pgbouncer
from tests.workflows.driving import drive, fresh, published
from tests.workflows.samples import ADDING
from workflows import doorbell, services, sweep

pytestmark = [pytest.mark.django_db(transaction=True), needs_pgbouncer]

TIMES = 12
"""More than it takes until a statement is ready, by our count and by the driver's."""
LOOK = "SELECT id FROM agents_agent WHERE id = %s FOR UPDATE"


@pytest.fixture
def pooler(tmp_path):
    """With two processes of the server for everybody."""
    with pgbouncer(tmp_path, size=2) as running:
        yield running


@pytest.fixture
def pooled(pooler):
    """Where web signs in."""
    return pooler.url("web")


def connected(url):
    connection = ScopedConnection.connect(url, cursor_factory=ScopedCursor)
    connection.is_straight = is_straight(connection)
    connection.commit()
    return connection


@pytest.fixture
def look(workspace):
    def begin(connection):
        token = WORKSPACE.set(workspace.id)
        try:
            connection.cursor().execute(connection.ready(LOOK), [workspace.id])
        finally:
            WORKSPACE.reset(token)

    return begin


def alternating(one, other, begin):
    """Transactions of two connections that overlap, so that the two processes answer each of them in turn.

    The pooler gives the process that became free last to whoever begins next.
    """
    first, second = one, other
    for _ in range(TIMES):
        begin(first)
        begin(second)
        second.commit()
        first.commit()
        first, second = second, first


def test_nothing_is_kept_in_a_process_that_others_get_next(pooled, look):
    with connected(pooled) as one, connected(pooled) as other:
        assert not one.is_straight
        alternating(one, other, look)
        assert one.ready(LOOK) == LOOK


def test_what_is_kept_is_missed_in_the_other_process(pooled, look):
    """So each is answered by both processes, and what is not to be seen above would be seen."""
    with connected(pooled) as one, connected(pooled) as other:
        one.is_straight = True
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            alternating(one, other, look)
        one.rollback()


def test_a_pooler_that_does_not_show_itself_gives_no_answer_to_another_statement(pooled):
    """One that hands on the number of a process, which is not the only one: what is missed is said, and left there no more."""
    with connected(pooled) as one, connected(pooled) as other:
        wanted, missed = {one: 1, other: 2}, []

        def ask(connection):
            number = wanted[connection]
            try:
                cursor = connection.cursor().execute(connection.ready(f"SELECT {number} + %s"), [10])
                assert cursor.fetchone() == (number + 10,)
            except psycopg.errors.InvalidSqlStatementName as error:
                connection.note_failure(error)
                connection.rollback()
                missed.append(connection)

        one.is_straight = other.is_straight = True
        alternating(one, other, ask)
        assert set(missed) == {one, other}
        assert len(missed) == 2


def test_without_a_pooler_it_is_kept(look):
    url = databases.role_url("web")
    with connected(url) as one, connected(url) as other:
        alternating(one, other, look)
        assert one.ready(LOOK).startswith("EXECUTE ")


# --- What each transaction rests on ----------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path):
    """`with alone(settings) as pooler`: with one process of the server, which was set like that and which our connections left."""

    @contextmanager
    def begin(changed):
        with server_set_to(changed), pgbouncer(tmp_path, size=1) as running:
            yield running

    return begin


@pytest.mark.parametrize("changed", READ_OTHERWISE.values(), ids=list(READ_OTHERWISE))
def test_the_log_is_read_as_ever_in_a_process_that_was_told_nothing(workspace, admin, auditor, alone, changed):
    log = ReadLog.of(workspace, admin, auditor)
    before = log.answers()
    with alone(changed) as pooler, pooler.used_by_django("web"):
        connection.ensure_connection()
        pooler.forget("web")
        after = log.answers()
    assert {name: answer.status_code for name, answer in after.items()} == dict.fromkeys(before, 200)
    for name in ("one event", "checkpoint", "tile", "entries", "proof"):
        assert after[name].content == before[name].content, name


@pytest.mark.parametrize("changed", READ_OTHERWISE.values(), ids=list(READ_OTHERWISE))
def test_a_change_is_recorded_as_ever_in_a_process_that_was_told_nothing(workspace, admin, events, alone, changed):
    with alone(changed) as pooler, pooler.used_by_django("web"):
        connection.ensure_connection()
        pooler.forget("web")
        # Alone, and in a transaction.
        assert ask("SELECT current_setting('intervalstyle'), '\\', count(*) FROM workspaces_of_slug(%s)", ["x"]) == [
            ("postgres", "\\", 0)
        ]
        with enter(workspace.pk):
            issue_key(actor=admin, name="monitor", scopes=["audit:read"])
            assert len(events(Event.API_KEY_CREATED)) == 1


@pytest.mark.parametrize("changed", READ_OTHERWISE.values(), ids=list(READ_OTHERWISE))
def test_the_gateway_reads_as_ever_in_a_process_that_was_told_nothing(workspace, alone, changed):
    async def read(pooler):
        database = Database(pooler.url("gateway"))
        await database.open()
        try:
            async with database.outside() as anywhere:
                await anywhere.execute("SELECT 1")
            await asyncio.to_thread(pooler.forget, "gateway")
            async with database.outside() as anywhere:
                style = await (await anywhere.execute("SHOW intervalstyle")).fetchone()
            async with database.scope(workspace.pk) as opened:
                answer = await opened.execute(
                    "SELECT '\\x00ff'::bytea AS bytes, count(id) AS places FROM workspaces_environment"
                )
                row = await answer.fetchone()
                await opened.execute("DO $$ BEGIN RAISE WARNING 'not waited'; END $$")
                return style["IntervalStyle"], row["bytes"], row["places"] > 0, opened.warning
        finally:
            await database.close()

    with alone(changed) as pooler:
        assert asyncio.run(read(pooler)) == ("postgres", b"\0\xff", True, "not waited")


# --- Workers ---------------------------------------------------------------------------------------------------------


def test_a_run_is_driven_to_its_end(workspace, editor, pooler, monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)
    with enter(workspace.pk):
        published(editor, ADDING, "adding")
        run = services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})
    with pooler.used_by_django("worker"):
        sweep.sweep_once()
        drive(run, lambda _role: nullcontext())
        assert fresh(run).status == "succeeded"


def test_an_export_is_made_and_tells_how_far_it_is(workspace, auditor, pooler, monkeypatch):
    """It copies rows, and has a second connection beside its long transaction."""
    monkeypatch.setattr(background, "ring", lambda *_bell: True)
    with enter(workspace.pk):
        export = background.request_export(actor=auditor, filters=EventFilters())
    sealing.seal()
    with pooler.used_by_django("worker"):
        build_export(str(workspace.pk), str(export.pk))
    with enter(workspace.pk):
        made = Export.objects.get(pk=export.pk)
    assert (made.status, made.done > 0, made.done) == (Export.Status.READY, True, made.total)


# --- Who must not stand behind one -----------------------------------------------------------------------------------


def test_a_sealer_does_not_start_behind_one_and_says_why(pooler, monkeypatch):
    monkeypatch.setattr(settings, "SEALER_DATABASE_URL", pooler.url("sealer"))
    monkeypatch.setattr(sealer.Sealer, "run", lambda *_: None)
    with pytest.raises(SystemExit, match=r"A pooler stands before the database at .* prov_sealer must be connected"):
        sealer.main()


def test_what_reads_the_log_for_its_owner_does_not_either(pooler):
    for role in ("sealer", "migrate", "audit_read"):
        with pytest.raises(BehindPooler):
            signed_in(pooler.url(role))


def test_nor_is_a_database_made_or_migrated_through_one(pooler):
    with pytest.raises(BehindPooler):
        ensure_roles(pooler.url("migrate"), {})
    with pooler.used_by_django("migrate", assume_role="prov_owner"):
        assert unreachable_database().startswith("A pooler stands before the database at ")
        with pytest.raises(InterfaceError, match="A pooler stands before the database"):
            connection.ensure_connection()


def test_those_that_serve_find_no_fault_with_one(pooler):
    with pooler.used_by_django("web"):
        assert not problems()
        assert not unreachable_database()
