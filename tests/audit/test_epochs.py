"""A database behind what was published, or beside it, is not sealed on; a person starts a new epoch (audit.md 4.5)."""

import threading
import time
from contextlib import contextmanager
from uuid import UUID

import orjson
import psycopg
import pytest
from django.conf import settings
from django.db import connection

from audit.anchors import AnchorFailed
from audit.epochs import LogName, continued, origin_of, tree_over
from audit.judging import COLUMNS, StoredEvent
from audit.merkle import range_root
from audit.notes import LogSigner
from audit.sealer import NothingToContinue
from audit.sealing import sql
from audit.sealing.lease import LostLease
from audit.taxonomy import Event
from provenance.roles import grant_database
from tests import databases
from tests.audit import sealing
from tests.audit.sealing import OTHER, WORKSPACE, assert_log_is_sound, ids_in, seal, status, told
from tests.audit.telling import tell
from tests.audit.verifying import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]
ORIGIN = f"{sealing.ORIGIN}/{WORKSPACE}"


@contextmanager
def backup():
    """A copy of the database as it is now; the test then goes on in what was restored from it."""
    name = settings.DATABASES["default"]["NAME"]
    copy = f"{name}_backup"
    duplicate(name, copy)
    try:
        yield copy
    finally:
        with psycopg.connect(databases.admin_url(), autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")


def duplicate(name, copy):
    connection.close()
    with psycopg.connect(databases.admin_url(), autocommit=True) as server:
        # A database that somebody is connected to cannot be copied; a thread of an earlier test may still be.
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        server.execute(f"CREATE DATABASE {copy} TEMPLATE {name}")
        server.execute(f"ALTER DATABASE {copy} OWNER TO prov_owner")
    grant_database(databases.admin_url(), copy)


def restore(copy):
    """Put the copy in the place of the database: the same cluster, an older state."""
    name = settings.DATABASES["default"]["NAME"]
    connection.close()
    with psycopg.connect(databases.admin_url(), autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        server.execute(f"ALTER DATABASE {copy} RENAME TO {name}")


def epochs(workspace_id):
    return sealing.rows(
        "SELECT epoch, origin FROM audit.log WHERE workspace_id IS NOT DISTINCT FROM %s ORDER BY epoch", workspace_id
    )


def leaves_of_epoch(workspace_id, epoch):
    return [
        event_id
        for (event_id,) in sealing.rows(
            "SELECT event_id FROM audit.leaf JOIN audit.log ON log.id = log_id"
            " WHERE workspace_id IS NOT DISTINCT FROM %s AND epoch = %s ORDER BY idx",
            workspace_id,
            epoch,
        )
    ]


def first_event(workspace_id, epoch):
    (row,) = sealing.rows(f"SELECT {COLUMNS} FROM audit.event WHERE id = %s", leaves_of_epoch(workspace_id, epoch)[0])
    return StoredEvent(*row)


def test_what_is_published_reaches_the_anchor_and_a_restart_goes_on(anchor):
    tell(WORKSPACE, 3)
    seal(anchor)
    assert set(anchor.newest()) == {ORIGIN, f"{sealing.ORIGIN}/instance"}
    more = tell(WORKSPACE, 2)
    seal(anchor)
    assert ids_in(WORKSPACE)[3:] == more
    assert f"{ORIGIN}\n5\n" in anchor.newest()[ORIGIN]
    assert status() == ""
    assert status("directory") == ""


def hang_up(sealer):
    """Let it connect anew and know nothing of it."""
    sealer._connection.close()
    sealer._connection = None


def test_a_sealer_whose_connection_survived_a_failover_looks_again_at_what_was_published(anchor, monkeypatch):
    """As behind a pooler, which connects to the promoted standby by itself; here the standby is a copy that is behind."""
    kept = tell(WORKSPACE, 3)
    with sealing.sealer(places=[anchor]) as one:
        one.work()
        hang_up(one)
        with backup() as copy:
            tell(WORKSPACE, 2)
            one.work()
            for courier in one.couriers:
                courier.deliver()
            hang_up(one)
            restore(copy)
            monkeypatch.setattr(sql, "STATE", sql.STATE.replace(sql.TIMELINE, "'00000009'"))
            monkeypatch.setattr(sql, "HERE", sql.HERE.replace(sql.TIMELINE, "'00000009'"))
            tell(WORKSPACE, 1)
            with pytest.raises(LostLease):
                one.work()
            one.work()
            assert ids_in(WORKSPACE) == kept, "nothing was sealed"
            assert "were published" in status()


def test_after_a_restore_to_before_what_was_published_nothing_is_sealed_until_an_epoch_is_started(anchor, caplog):
    """Goal 14; the same cluster, so the transaction ids are no sign of it."""
    kept = tell(WORKSPACE, 3)
    seal(anchor)
    with backup() as copy:
        lost = tell(WORKSPACE, 2)
        seal(anchor)
        restore(copy)
        new = tell(WORKSPACE, 1)
        seal(anchor)
        assert ids_in(WORKSPACE) == kept, "nothing was sealed"
        assert "instance has 1 entries, and 2 were published and 1 other logs too" in status()
        assert "start-epoch" in status()
        assert "does not continue" in caplog.text

        with sealing.sealer(places=[anchor]) as one:
            found = one.start_epoch("The disk broke.")
        assert {(each.workspace_id, each.next_epoch) for each in found} == {(WORKSPACE, 2), (None, 2)}
        seal(anchor)
        assert status() == ""
        assert epochs(WORKSPACE) == [(1, ORIGIN), (2, f"{ORIGIN}/e2")]
        started, *rest = leaves_of_epoch(WORKSPACE, 2)
        assert rest == new
        assert leaves_of_epoch(WORKSPACE, 1) == kept
        assert not set(lost) & set(rest)
        said = continued(first_event(WORKSPACE, 2), sealing.all_keys())
        assert said == {"origin": ORIGIN, "size": 5, "root": said["root"], "kept": 3}
        assert f"{ORIGIN}\n5\n" in anchor.newest()[ORIGIN], "what was published stays kept"
        ((_log, detail),) = [row for row in told(Event.AUDIT_EPOCH_STARTED) if row[0] == WORKSPACE]
        assert detail["reason"] == "The disk broke."
        assert f"{ORIGIN}/e2\n2\n" in anchor.newest()[f"{ORIGIN}/e2"]
        # It goes on as any log does.
        more = tell(WORKSPACE, 2)
        seal(anchor)
        assert leaves_of_epoch(WORKSPACE, 2) == [started, *new, *more]
        with pytest.raises(NothingToContinue), sealing.sealer(places=[anchor]) as one:
            one.start_epoch("once more")


def test_a_second_restore_to_before_the_new_epoch_gets_a_third_name(anchor):
    tell(WORKSPACE, 2)
    seal(anchor)
    with backup() as copy:
        tell(WORKSPACE, 1)
        seal(anchor)
        duplicate(copy, f"{copy}_again")
        restore(copy)
        with sealing.sealer(places=[anchor]) as one:
            one.start_epoch("first")
        seal(anchor)
        restore(f"{copy}_again")
        seal(anchor)
        assert "is not in the database" in status()
        with sealing.sealer(places=[anchor]) as one:
            one.start_epoch("second")
        seal(anchor)
        assert [epoch for epoch, _origin in epochs(WORKSPACE)] == [1, 3]
        said = continued(first_event(WORKSPACE, 3), sealing.all_keys())
        assert (said["origin"], said["kept"]) == (f"{ORIGIN}/e2", 0)
        assert status() == ""


def test_a_workspace_that_the_restored_database_never_knew_is_named_too(anchor):
    tell(WORKSPACE)
    seal(anchor)
    with backup() as copy:
        tell(OTHER)
        seal(anchor)
        restore(copy)
        with sealing.sealer(places=[anchor]) as one:
            assert {found.workspace_id for found in one.start_epoch("lost")} == {None, OTHER}
        seal(anchor)
        assert status() == ""
        assert epochs(OTHER) == [(2, f"{sealing.ORIGIN}/{OTHER}/e2")]
        assert epochs(WORKSPACE) == [(1, ORIGIN)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit.leaf SET hash = sha256('x') WHERE idx = 1",
        "DELETE FROM audit.leaf WHERE idx = 2",
        "DELETE FROM audit.checkpoint",
    ],
)
def test_a_log_that_was_changed_below_what_was_published_is_not_sealed_on(anchor, change):
    ids = tell(WORKSPACE, 4)
    seal(anchor)
    sealing.tamper(change)
    more = tell(WORKSPACE)
    seal(anchor)
    assert "does not continue what was published" in status()
    assert not sealing.rows("SELECT FROM audit.leaf WHERE event_id = %s", more[0])
    ((_log, detail),) = told(Event.AUDIT_VERIFICATION_FAILED)
    assert "does not continue" in detail["problem"]
    with sealing.sealer(places=[anchor]) as one:
        one.start_epoch("an administrator changed it")
    seal(anchor)
    assert more[0] in leaves_of_epoch(WORKSPACE, 2)
    # One whose leaf was taken away is an event that nothing seals: it gets a place, and that is told.
    assert set(leaves_of_epoch(WORKSPACE, 2)) & set(ids) <= {ids[2]}


def test_a_new_epoch_that_nobody_on_the_host_started_is_no_excuse(anchor):
    """A superuser can make the row, and cannot sign the event."""
    tell(WORKSPACE, 3)
    seal(anchor)
    sealing.tamper("DELETE FROM audit.leaf WHERE idx > 0")
    sealing.tamper("INSERT INTO audit.log (workspace_id, epoch, origin) VALUES (%s, 2, %s)", WORKSPACE, f"{ORIGIN}/e2")
    tell(WORKSPACE)
    seal(anchor)
    assert "no signed event started" in status()
    assert leaves_of_epoch(WORKSPACE, 2) == []


@pytest.mark.parametrize(
    ("workspace_id", "epoch"), [(WORKSPACE, 2), (None, 2), (OTHER, 1)], ids=["a log", "the log of logs", "a first log"]
)
def test_nothing_is_sealed_under_a_name_that_somebody_chose(anchor, workspace_id, epoch):
    """No anchor would miss what was sealed under it, once it is taken away with its log."""
    tell(WORKSPACE, 3)
    seal(anchor)
    named = "INSERT INTO audit.log (workspace_id, epoch, origin) VALUES (%s, %s, 'elsewhere.test/x')"
    sealing.tamper(named, workspace_id, epoch)
    late = [*tell(WORKSPACE), *tell(OTHER)]
    seal(anchor)
    assert "is called elsewhere.test/x in the database, and its name is log.test/" in status()
    assert not sealing.rows("SELECT FROM audit.leaf WHERE event_id = ANY (%s)", late)
    assert any("is called elsewhere.test/x" in problem for problem in verify(anchor).problems)


def test_an_anchor_that_another_key_signed_stops_the_sealer(anchor):
    """The key of the log was replaced, or somebody wrote into the anchor: a person has to look."""
    tell(WORKSPACE, 2)
    seal(anchor)
    tell(WORKSPACE)
    seal(anchor, signer=LogSigner(b"x" * 32, b"y" * 32))
    assert "not signed by this log's key" in status()
    assert len(ids_in(WORKSPACE)) == 2


def test_checkpoints_of_another_installation_are_nobodys_business(anchor):
    tell(WORKSPACE, 2)
    seal(anchor, origin="elsewhere.test")
    sealing.start_over()
    tell(WORKSPACE, 1)
    seal(anchor)
    assert status() == ""
    assert len(ids_in(WORKSPACE)) == 1


class Broken:
    """An anchor that fails as it is told to."""

    name, where, every_seconds = "broken", "nowhere", 0.01

    def __init__(self):
        self.fails = True
        self.taken = {}

    def newest(self):
        raise AnchorFailed("it cannot be read")

    def carry(self, notes):
        if self.fails:
            raise AnchorFailed("it takes nothing")
        self.taken |= notes


def test_an_anchor_that_fails_holds_nobody_up_and_shows(anchor):
    broken = Broken()
    tell(WORKSPACE)
    with sealing.sealer(places=[broken, anchor]) as one:
        one.work()
        for courier in one.couriers:
            courier.deliver()
        assert len(ids_in(WORKSPACE)) == 1
        assert status("broken") == "it takes nothing"
        assert status("directory") == ""
        tell(WORKSPACE)
        one.work()
        one.couriers[0].deliver()
        problems = [detail["problem"] for _log, detail in told(Event.AUDIT_ANCHOR_FAILED)]
        assert problems == ["it cannot be read", "it takes nothing"], "a failure is told once, not each time"
        broken.fails = False
        one.couriers[0].deliver()
        assert status("broken") == ""
    assert f"{ORIGIN}\n2\n" in broken.taken[ORIGIN]


def test_an_anchor_that_hangs_holds_nobody_up(anchor):
    release = threading.Event()

    class Hanging(Broken):
        name = "hanging"

        def newest(self):
            return {}

        def carry(self, notes):
            release.wait(600)

    tell(WORKSPACE)
    stop = threading.Event()
    made = sealing.sealer(places=[Hanging(), anchor])
    with made as one:
        thread = threading.Thread(target=one.run, args=(stop,))
        thread.start()
        deadline = time.monotonic() + 60
        while not anchor.newest() and time.monotonic() < deadline:
            stop.wait(0.05)
        stop.set()
        thread.join(60)
        release.set()
        assert not thread.is_alive()
    assert ORIGIN in anchor.newest()


def test_while_a_sealer_works_no_epoch_is_started(anchor):
    tell(WORKSPACE)
    with sealing.sealer(places=[anchor]) as one, sealing.sealer(places=[anchor]) as other:
        one.work()
        with pytest.raises(LostLease):
            other.start_epoch("no need")


def test_places_that_are_no_longer_configured_do_not_show(anchor):
    tell(WORKSPACE)
    seal(Broken(), anchor)
    seal(anchor)
    assert sorted(sealing.rows("SELECT subject FROM audit.status")) == [("directory",), ("sealer",)]


def test_roots_are_read_from_what_is_stored(anchor):
    tell(WORKSPACE, 5)
    seal(anchor)
    assert_log_is_sound(WORKSPACE)
    with databases.login("sealer") as reader:
        ((log_id,),) = reader.execute("SELECT id FROM audit.log WHERE workspace_id = %s", [WORKSPACE]).fetchall()
        root = range_root(tree_over(reader).reader(log_id, 5), 0, 5)
    assert root == sealing.checkpoints(WORKSPACE)[-1].root


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ("log.test/instance", LogName(None, 1)),
        ("log.test/instance/e12", LogName(None, 12)),
        (f"log.test/{UUID(int=7)}/e2", LogName(UUID(int=7), 2)),
        ("log.test.evil/instance", None),
        ("log.test/something", None),
        ("log.test/instance/e0", None),
    ],
)
def test_an_origin_says_whose_log_it_is(origin, wanted):
    assert LogName.parse(origin, "log.test") == wanted
    if wanted:
        assert origin_of("log.test", wanted.workspace_id, wanted.epoch) == origin


def test_the_first_leaf_of_an_epoch_is_signed_and_names_the_checkpoint_in_its_body(anchor):
    tell(WORKSPACE, 2)
    seal(anchor)
    sealing.tamper("DELETE FROM audit.leaf WHERE idx = 1")
    with sealing.sealer(places=[anchor]) as one:
        one.start_epoch("test")
    body = orjson.loads(first_event(WORKSPACE, 2).body)
    assert body["context"]["continues"]["size"] == 2
    assert body["object"] == {"type": "audit_log", "id": f"{ORIGIN}/e2", "rev": None, "op": "read"}
    assert body["risk"] == "critical"
