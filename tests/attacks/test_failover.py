"""T27: no call leaves that a failover could make unknown, and after one nothing is done twice that must happen once.

The first half takes a timeline away from the database of the test. The second has a primary and a standby of its own: real
servers, a real base backup and a real promotion, by which the last commits are lost.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import quote

import httpx2
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from audit.anchors.directory import DirectoryAnchor
from audit.condition import condition
from audit.envelope import storing
from audit.hindrances import SENTENCES
from audit.taxonomy import Event
from gateway import journal
from gateway.contract import CallState
from provenance.actor import Actor
from provenance.binaries import postgres_for
from provenance.embedded import SERVER_ENVIRONMENT, EmbeddedPostgres
from provenance.home import Home
from provenance.ids import uuid7
from tests import databases, factories
from tests.attacks.calls import call_body, refused
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.fakes.mcp_server import fake_mcp, tool
from tests.gateway.world import on_another_timeline, unguarded, world_of

UNRECONCILED = "timeline.unreconciled"
WAITS_SECONDS = 120


def with_tools(world, server):
    """An agent with a tool that reads, one that may be sent again under its key, and one that must be called once."""
    world.add_server("up", server.url)
    world.review("up.look")
    world.review("up.put", retry_class="idempotent", idempotency_argument="key")
    world.review("up.pay", retry_class="once")
    world.add_agent("helper", ["up.look", "up.put", "up.pay"])
    for name in ("up.look", "up.put", "up.pay"):
        world.grant("helper", name)
    return world


@pytest.fixture
def server():
    with fake_mcp(tool("look"), tool("put", {"key": {"type": "string"}}), tool("pay")) as running:
        yield running


@pytest.fixture
def company(world, server):
    return with_tools(world, server)


def state(world, name, **more):
    return world.call("helper", name, **more).state


# --- A timeline that nobody has reconciled ----------------------------------------------------------------------------


def test_on_a_new_timeline_only_what_must_happen_once_is_not_called(company, server):
    call_id = uuid7()
    with on_another_timeline():
        refused(company, company.call("helper", "up.pay", call_id=call_id), UNRECONCILED)
        assert company.outcome("helper", call_id) is None, "with the same id it may be asked for again"
        assert not server.calls
        assert state(company, "up.look") is CallState.SUCCEEDED
        assert state(company, "up.put") is CallState.SUCCEEDED
        assert httpx2.get(f"{company.url}/readyz").status_code == 200
        with transaction.atomic():
            assert condition().warnings == condition().brief == [SENTENCES["timeline"]]
            assert condition().of_sealing == [], "the log is sealed as it should be"
    assert state(company, "up.pay", call_id=call_id) is CallState.SUCCEEDED
    with transaction.atomic():
        assert condition().warnings == []


@pytest.mark.parametrize("role", ["web", "gateway", "worker", "sealer", "audit_read", "retention"])
def test_nobody_who_runs_says_that_a_timeline_is_reconciled(transactional_db, role):
    with databases.login(role) as process, pytest.raises(psycopg.errors.InsufficientPrivilege):
        process.execute("INSERT INTO audit.timeline (system_id, timeline) VALUES (1, '00000009')")
    if role in {"web", "gateway", "worker"}:
        event = told_by(role, Actor.system("audit.reconcile", None), Event.AUDIT_TIMELINE_RECONCILED)
        with (
            databases.login(role) as process,
            pytest.raises(psycopg.Error, match=r"is told on the host|tells no such thing"),
        ):
            process.execute(*storing([event]))


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "INSERT INTO audit.timeline (system_id, timeline) VALUES (1, '00000009')",
            "no event of this transaction tells",
        ),
        ("UPDATE audit.timeline SET timeline = '00000009'", "its rows are written once"),
        ("DELETE FROM audit.timeline", "its rows are written once"),
        ("TRUNCATE audit.timeline", "its rows are written once"),
    ],
)
def test_the_owner_marks_no_timeline_past_the_log(transactional_db, statement, says):
    with databases.login("migrate") as owner:
        owner.execute("SET ROLE prov_owner")
        with pytest.raises(psycopg.Error, match=says):
            owner.execute(statement)


# --- A commit that is not waited for ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "found"),
    [
        ("on", ""),
        ("remote_apply", ""),
        *((less, "not_waited_for") for less in ("off", "local", "remote_write")),
    ],
)
def test_a_call_does_not_start_in_a_transaction_whose_commit_is_not_waited_for(transactional_db, wait, found):
    with databases.login("gateway") as gateway:
        assert gateway.execute("SHOW synchronous_commit").fetchone() == ("on",), "whatever the server's default is"
        gateway.execute(f"SET synchronous_commit = {wait}")
        assert gateway.execute("SELECT audit.hindrance(false)").fetchone() == (found,)


def test_a_role_that_is_told_not_to_wait_is_a_wall_that_is_down(db):
    here = connection.settings_dict["NAME"]
    problems = databases.problems_behind(f'ALTER ROLE prov_gateway IN DATABASE "{here}" SET synchronous_commit = off')
    assert any("prov_gateway in this database: synchronous_commit=off" in problem for problem in problems)


# --- A primary and its standby ----------------------------------------------------------------------------------------


class Pair:
    """The installation on a cluster of its own, and where its standby will be. Whoever signs in tries them in this order."""

    def __init__(self, folder):
        self.primary = EmbeddedPostgres(Home(folder / "primary").ensure(), durable=False)
        self.standby = EmbeddedPostgres(Home(folder / "standby").ensure(), durable=False)

    @property
    def admin_url(self):
        hosts = ",".join(str(server.home.run) for server in (self.primary, self.standby))
        return f"{self.primary.admin_url().partition('?')[0]}?host={quote(hosts, safe='')}"

    def add_standby(self):
        """A standby that follows the primary, by a base backup."""
        home = self.standby.home
        shutil.copytree(self.primary.home.keys, home.keys, dirs_exist_ok=True)
        program = postgres_for(self.primary.home.postgres).folder / "pg_basebackup"
        subprocess.run(
            [program, "-D", home.postgres, "-R", "-c", "fast", "--no-sync", "-d", self.primary.admin_url()],
            env=SERVER_ENVIRONMENT, check=True, capture_output=True,
        )  # fmt: skip
        self.standby.start()
        until(lambda: self.asked("SELECT state FROM pg_stat_replication") == [("streaming",)], "the standby follows")

    @contextmanager
    def archived(self):
        """Somebody takes the write-ahead log away into an archive meanwhile."""
        place = self.standby.home.root / "archive"
        place.mkdir()
        program = postgres_for(self.primary.home.postgres).folder / "pg_receivewal"
        with subprocess.Popen(
            [program, "-D", place, "--no-sync", "-d", self.primary.admin_url()], env=SERVER_ENVIRONMENT
        ) as archiving:
            try:
                until(lambda: self.asked("SELECT pid FROM pg_stat_replication"), "the archive follows")
                yield
            finally:
                archiving.terminate()
        until(lambda: not self.asked("SELECT pid FROM pg_stat_replication"), "nobody follows")

    def wait_for_standbys(self, names):
        """What an administrator does: name those whose word every commit waits for."""
        self.asked(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
        until(lambda: self.asked("SHOW synchronous_standby_names") == [(names,)], "the setting holds")

    @contextmanager
    def standby_stalled(self):
        """The standby receives nothing meanwhile."""
        ((receiver,),) = self.asked("SELECT pid FROM pg_stat_wal_receiver", of=self.standby)
        os.kill(receiver, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(receiver, signal.SIGCONT)

    def fail_over(self):
        """The primary is lost, and the standby takes its place with what it has."""
        self.primary.process.kill()
        self.primary.stop()
        self.standby.start()
        self.asked("SELECT pg_promote()", of=self.standby)
        connection.close()

    def asked(self, *statements, of=None):
        with psycopg.connect((of or self.primary).admin_url(), autocommit=True) as administrator:
            for statement in statements:
                cursor = administrator.execute(statement)
            return cursor.fetchall() if cursor.description else []


def until(condition, what):
    deadline = time.monotonic() + WAITS_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {WAITS_SECONDS} s"
        time.sleep(0.02)


@contextmanager
def installed(pair):
    """The installation on this pair instead of on the server of the test run."""
    name = connection.settings_dict["NAME"]
    pair.primary.start()
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("TEST_ADMIN_DATABASE_URL", pair.admin_url)
        try:
            with databases.worker_database("pair") as ours:
                databases.point_django_at(ours)
                yield
                connection.close()
        finally:
            for server in (pair.primary, pair.standby):
                server.stop()
                server.home.discard_run()
            elsewhere.undo()
            databases.point_django_at(name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, django_db_setup, django_db_blocker):
    """The files of a cluster in which everything is migrated; each test has a copy."""
    made = Pair(tmp_path_factory.mktemp("cluster"))
    with django_db_blocker.unblock(), installed(made):
        pass
    return made.primary.home


@pytest.fixture
def pair(cluster, tmp_path, django_db_blocker):
    made = Pair(tmp_path)
    for name in ("postgres", "keys"):
        shutil.copytree(cluster.root / name, made.primary.home.root / name, dirs_exist_ok=True)
    with django_db_blocker.unblock(), installed(made):
        yield made


@pytest.fixture
def firm(pair, server):
    """The company above, on the pair."""
    with world_of(factories.make_workspace()) as world:
        yield with_tools(world, server)


def asked(world, body):
    """What the gateway answers, whatever it is."""
    with world.http("helper") as client:
        return client.post("/call", json=body)


def served(world, name, call_id=None):
    """As its client does it: ask again while the gateway says that it has no database."""
    body, answers = {**call_body(name), "call_id": str(call_id or uuid7())}, []

    def answered():
        answers.append(asked(world, body))
        return answers[-1].status_code != httpx2.codes.SERVICE_UNAVAILABLE

    until(answered, f"{name} is answered")
    return SimpleNamespace(**answers[-1].json())


def test_no_call_leaves_before_a_synchronous_standby_has_its_event(firm, pair, server, monkeypatch):
    with pair.archived():
        assert state(firm, "up.look") is CallState.SUCCEEDED, "an archive is no standby: there is nobody to wait for"
    pair.add_standby()
    refused(firm, firm.call("helper", "up.look"), "commit.not_durable")
    probe = httpx2.get(f"{firm.url}/readyz")
    assert (probe.status_code, probe.json()["problems"]) == (503, [SENTENCES["asynchronous"]])
    with firm.http("helper") as client:
        model = client.post("/call/model/unused/chat/completions", json={"model": "model-2026-01-01"})
    assert (model.status_code, model.json()["code"]) == (503, "commit.not_durable")
    pair.wait_for_standbys("*")
    assert state(firm, "up.pay") is CallState.SUCCEEDED
    assert len(server.calls) == 2
    with pair.standby_stalled():
        with monkeypatch.context() as impatient:
            impatient.setattr(journal, "COMMIT_SECONDS", 0.5)
            assert asked(firm, call_body("up.pay")).status_code == 503
        assert len(server.calls) == 2, "nobody waits for ever, and nothing leaves meanwhile"
        canceled = []
        sending = threading.Thread(target=lambda: canceled.append(asked(firm, call_body("up.pay"))))
        sending.start()
        # Postgres then says that the transaction is committed: it is, on this server alone.
        until(lambda: pair.asked(CANCEL_THE_WAIT), "a commit waits for the standby")
        sending.join()
    assert canceled[0].status_code == 503
    assert len(server.calls) == 2, "what only the primary has is not sent"
    assert served(firm, "up.pay").state == "succeeded", "the standby follows again"


CANCEL_THE_WAIT = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'prov_gateway' AND wait_event = 'SyncRep'
"""


def test_a_call_that_a_failover_lost_is_not_made_again_before_somebody_looked(
    firm, pair, server, tmp_path, settings, capsys
):
    settings.MIGRATOR_DATABASE_URL = databases.role_url("migrate")
    anchor, lost = DirectoryAnchor(tmp_path / "anchor"), uuid7()
    firm.start_run()
    pair.add_standby()
    pair.standby.stop()
    until(lambda: not pair.asked("SELECT pid FROM pg_stat_replication"), "nobody follows")
    assert state(firm, "up.pay", call_id=lost) is CallState.SUCCEEDED
    seal(anchor)
    pair.fail_over()

    assert served(firm, "up.look").state == "succeeded"
    assert firm.outcome("helper", lost) is None, "nobody here knows that it was made"
    again = served(firm, "up.pay", call_id=lost)
    assert (again.state, again.rule) == ("blocked", UNRECONCILED)
    assert [call["name"] for call in called(server)] == ["pay", "look"]

    # Rows that the log does not know are there, and later no sealer that found the log to go on.
    assert reconciled("Asked the bank.") == 1
    remove_what_no_service_made()
    assert reconciled() == 0
    assert "The timeline 00000002 is new here" in capsys.readouterr().out
    seal(anchor)
    assert reconciled("Asked the bank.") == 2, "the sealer refuses: more was published than is here"
    with sealing.sealer(places=[anchor]) as one:
        one.start_epoch("The standby was behind.")
    seal(anchor)
    assert reconciled("Asked the bank.") == 0
    assert "The timeline 00000002 is reconciled" in capsys.readouterr().out
    with transaction.atomic():
        (event,) = factories.instance_events(Event.AUDIT_TIMELINE_RECONCILED)
        assert (event.risk, event.object_id.partition("/")[2]) == ("critical", "00000002")
        assert condition().hindrance == ""
    firm.start_run()
    assert served(firm, "up.pay").state == "succeeded"


def seal(anchor):
    with sealing.sealer(places=[anchor]) as one:
        while one.work():
            pass
        for courier in one.couriers:
            courier.deliver()


def reconciled(reason=""):
    """Its exit code."""
    try:
        call_command("reconcile", *(["--reason", reason] if reason else []))
    except SystemExit as ended:
        return ended.code
    except CommandError as refusal:
        return refusal.returncode
    return 0


def called(server):
    return [json.loads(request.body)["params"] for request in server.calls]


def remove_what_no_service_made():
    """The run of these tests, which is there without events."""
    tables = [f"workflows_{name}" for name in ("token", "runmanifest", "run", "workflowversion", "workflow")]
    with unguarded(*tables) as owner:
        for table in tables:
            owner.execute(f"DELETE FROM {table}")
