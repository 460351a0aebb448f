"""The sealer puts every committed event into its log once, whatever happens around it (M113, audit.md 4.5)."""

import threading
from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from audit.envelope import storing
from audit.glance import Row
from audit.sealing import backlog, lease, standing
from audit.sealing.lease import LostLease
from audit.sealing.passes import Snapshot, in_order
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import enter
from tests import databases
from tests.attacks.log import plant, told_by
from tests.audit import sealing
from tests.audit.sealing import OTHER, WORKSPACE, assert_log_is_sound, ids_in
from tests.audit.telling import system, tell, tell_the_instance

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]


def test_each_event_is_a_leaf_of_its_workspaces_log_and_the_checkpoint_is_signed():
    ours, theirs = tell(count=3), tell(OTHER)
    sealing.seal()
    assert ids_in(WORKSPACE) == ours
    assert ids_in(OTHER) == theirs
    assert_log_is_sound(WORKSPACE)
    assert_log_is_sound(OTHER)


def test_every_checkpoint_of_a_workspace_is_a_leaf_of_the_instance_log():
    denied = tell_the_instance()
    tell()
    tell(OTHER)
    sealing.seal()
    assert_log_is_sound(None)
    noted = [value for value, event_id in sealing.leaves(None) if event_id is None]
    wanted = [sealing.leaf_of_checkpoint(sealing.checkpoints(log)[-1]) for log in (WORKSPACE, OTHER)]
    assert sorted(noted) == sorted(wanted)
    assert denied in ids_in(None)
    places = sealing.rows("SELECT instance_idx FROM audit.checkpoint WHERE workspace_id IS NOT NULL")
    instance = sealing.leaves(None)
    assert {instance[place][0] for (place,) in places} == set(wanted)


def test_a_second_pass_seals_only_what_is_new_and_the_log_grows():
    before = tell(count=2)
    sealing.seal()
    after = tell(count=2)
    sealing.seal()
    sealing.seal()
    assert ids_in(WORKSPACE) == before + after
    assert [checkpoint.size for checkpoint in sealing.checkpoints(WORKSPACE)] == [2, 4]
    assert_log_is_sound(WORKSPACE)


def test_what_was_rolled_back_is_not_sealed():
    with pytest.raises(RuntimeError, match="changed my mind"), enter(WORKSPACE):  # noqa: PT012  the block rolls back
        record(actor=system(), event=Event.RUN_STARTED, target=Target("run", "1"))
        raise RuntimeError("changed my mind")
    kept = tell()
    sealing.seal()
    assert ids_in(WORKSPACE) == kept


def test_an_open_transaction_holds_nothing_up_and_is_sealed_when_it_commits():
    """Pitfalls 1 to 3: the snapshot-difference rule needs no horizon and misses no late commit."""
    with databases.login("worker") as late:
        late.execute("BEGIN")
        late.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
        signed = told_by("worker", system(), Event.RUN_STARTED)
        late.execute(*storing([signed]))
        others = tell(count=3)
        sealing.seal()
        assert ids_in(WORKSPACE) == others
        more = tell(count=2)
        sealing.seal()
        assert ids_in(WORKSPACE) == others + more
        late.execute("COMMIT")
    sealing.seal()
    assert ids_in(WORKSPACE) == [*others, *more, signed.id]
    assert_log_is_sound(WORKSPACE)


@pytest.mark.parametrize("most", [1, 2, 7])
def test_however_little_one_pass_takes_every_event_is_sealed_once(most):
    with databases.login("worker") as late:
        late.execute("BEGIN")
        late.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
        signed = told_by("worker", system(), Event.RUN_STARTED)
        late.execute(*storing([signed]))
        with sealing.sealer(most_events=most) as one:
            told = tell(count=5)
            while one.work():
                pass
            with enter(WORKSPACE):
                told += [
                    record(actor=system(), event=Event.RUN_STARTED, target=Target("run", str(number))).id
                    for number in range(5)
                ]
            one.work()
            late.execute("COMMIT")
            told += [signed.id, *tell(count=3)]
            while one.work():
                pass
    assert sorted(ids_in(WORKSPACE)) == sorted(told)
    assert_log_is_sound(WORKSPACE)


def test_a_restarted_sealer_goes_on_with_full_and_unfinished_tiles():
    with databases.login("worker") as worker:
        for first in range(0, 700, 100):
            with worker.transaction():
                worker.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
                worker.execute(*storing([told_by("worker", system(), Event.RUN_STARTED) for _ in range(100)]))
            sealing.seal()
            assert len(sealing.leaves(WORKSPACE)) == first + 100
    assert_log_is_sound(WORKSPACE)
    leaves = [value for value, _event in sealing.leaves(WORKSPACE)]
    tiles = sealing.rows(
        "SELECT level, n, data FROM audit.tile JOIN audit.log ON id = log_id WHERE workspace_id = %s ORDER BY n",
        WORKSPACE,
    )
    assert [(level, n) for level, n, _data in tiles] == [(0, 0), (0, 1)]
    assert [bytes(data) for *_place, data in tiles] == [b"".join(leaves[:256]), b"".join(leaves[256:512])]


def test_a_forged_event_is_sealed_and_told(caplog):
    """T01: a decision under a worker's key, put in with the database's own check switched off."""
    forged = told_by("worker", system())
    with enter(WORKSPACE):
        plant(forged)
    sealing.seal()
    assert forged.id in ids_in(WORKSPACE)
    ((detail,),) = sealing.rows(
        "SELECT convert_from(detail.body, 'UTF8')::jsonb FROM audit.event JOIN audit.detail ON event_id = id"
        " WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert detail["first_index"] == 0
    assert "may not tell what people do" in detail["events"][0]["problem"]
    assert "do not verify" in caplog.text
    sealing.seal()
    assert len(ids_in(WORKSPACE)) == 2, "telling of a forgery is itself sealed, once"


def test_a_column_that_was_changed_before_sealing_is_told():
    (event_id,) = tell()
    sealing.tamper("UPDATE audit.event SET risk = 'critical' WHERE id = %s", event_id)
    sealing.seal()
    ((detail,),) = sealing.rows(
        "SELECT convert_from(detail.body, 'UTF8')::jsonb FROM audit.event JOIN audit.detail ON event_id = id"
        " WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert detail["events"][0]["problem"] == "risk differs from the signed body"


class TestOneAtATime:
    def test_a_second_sealer_waits_for_the_lease(self):
        tell()
        with sealing.sealer() as first, sealing.sealer() as second:
            first.work()
            # On a busy machine ten seconds may be over before the other one asks.
            sealing.rows("UPDATE audit.sealer SET lease_until = clock_timestamp() + interval '18 seconds' RETURNING 1")
            tell()
            assert not second.work()
            assert len(ids_in(WORKSPACE)) == 1
            first.work()
            assert len(ids_in(WORKSPACE)) == 2

    def test_one_that_slept_through_its_lease_commits_nothing(self):
        with sealing.sealer() as sleeper, sealing.sealer() as heir:
            tell()
            sleeper.work()
            sealing.rows("UPDATE audit.sealer SET lease_until = '-infinity' RETURNING 1")
            (late,) = tell()
            heir.work()
            tell()
            with pytest.raises(LostLease):
                sleeper.work()
            assert late in ids_in(WORKSPACE)
            heir.work()
        assert_log_is_sound(WORKSPACE)

    def test_two_that_seal_the_same_at_the_same_time_store_it_once(self):
        """The fence is a row that both write: the later commit fails, whole."""
        ids = tell(count=20)
        with sealing.sealer() as one, sealing.sealer() as other:
            one.lead()
            other._lease.owner, other._lease.fence = one._lease.owner, one._lease.fence
            start = threading.Barrier(2)
            failures = []

            def work(which):
                start.wait()
                try:
                    which.work()
                except (psycopg.Error, LostLease) as failure:
                    failures.append(failure)

            threads = [threading.Thread(target=work, args=(which,)) for which in (one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert ids_in(WORKSPACE) == ids
        assert_log_is_sound(WORKSPACE)


class TestCrashes:
    def test_what_was_committed_and_not_signed_is_signed_by_the_next(self):
        tell()
        with sealing.sealer() as one:
            one.lead()
            one.seal()
            assert sealing.rows("SELECT count(*) FROM audit.checkpoint WHERE signatures IS NULL") == [(2,)]
        sealing.seal()
        assert sealing.rows("SELECT count(*) FROM audit.checkpoint WHERE signatures IS NULL") == [(0,)]
        assert_log_is_sound(WORKSPACE)

    def test_in_another_cluster_transaction_ids_are_not_trusted(self):
        """After dump and restore the stored ids may lie before or after those of the new cluster."""
        ids = tell(count=3)
        sealing.seal()
        late = tell(count=2)
        sealing.rows("UPDATE audit.sealer SET system_id = 1, snap = '900000000:900000000:' RETURNING 1")
        sealing.tamper("UPDATE audit.event SET xid = '800000000' WHERE id = %s", ids[0])
        sealing.seal()
        assert ids_in(WORKSPACE) == ids + late
        after = tell(count=2)
        sealing.seal()
        assert ids_in(WORKSPACE) == ids + late + after
        assert_log_is_sound(WORKSPACE)


@pytest.mark.parametrize(
    "spelled", [lambda body: body.replace('":', '": ', 1), lambda body: body[:-1] + ',"action":"run.started"}']
)
def test_a_body_that_two_readers_could_read_differently_is_told(spelled):
    """A hijacked worker signs it correctly, and Postgres sees no difference in its JSON."""
    actor = Actor.system("tests", WORKSPACE)
    honest = told_by("worker", actor, Event.RUN_STARTED)
    body = spelled(honest.body)
    mac = sealing.all_keys("worker").signing_key(WORKSPACE).mac(body.encode())
    with databases.login("worker") as worker, worker.transaction():
        worker.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
        worker.execute(*storing([replace(honest, body=body, mac=mac)]))
    sealing.seal()
    assert honest.id in ids_in(WORKSPACE)
    ((detail,),) = sealing.rows(
        "SELECT convert_from(detail.body, 'UTF8')::jsonb FROM audit.event JOIN audit.detail ON event_id = id"
        " WHERE action = %s",
        Event.AUDIT_VERIFICATION_FAILED,
    )
    assert detail["events"][0]["problem"] == "the signed body is not in canonical form"


class TestMovedState:
    """A superuser who moves what the sealer keeps would have events passed over, and could delete them unseen."""

    @pytest.mark.parametrize("snap", ["900000000:900000000:", "ahead"])
    def test_a_snapshot_that_was_moved_under_a_working_sealer_is_told_and_seals_what_it_would_have_hidden(self, snap):
        tell()
        with sealing.sealer() as one:
            while one.work():
                pass
            late = tell(count=2)
            moved = sealing.rows("SELECT pg_current_snapshot()::text")[0][0] if snap == "ahead" else snap
            sealing.rows("UPDATE audit.sealer SET snap = %s::pg_snapshot RETURNING 1", moved)
            while one.work():
                pass
        assert set(late) <= set(ids_in(WORKSPACE))
        assert sealing.rows("SELECT count(*) FROM audit.event WHERE action = %s", Event.AUDIT_VERIFICATION_FAILED) == [
            (1,)
        ]
        sealing.seal()
        assert_log_is_sound(WORKSPACE)

    def test_what_was_passed_over_while_nobody_sealed_is_found_at_the_next_start(self):
        tell()
        sealing.seal()
        late = tell(count=2)
        sealing.rows("UPDATE audit.sealer SET snap = pg_current_snapshot() RETURNING 1")
        after = tell()
        sealing.seal()
        assert {*late, *after} <= set(ids_in(WORKSPACE))
        assert sealing.rows("SELECT count(*) FROM audit.event WHERE action = %s", Event.AUDIT_VERIFICATION_FAILED) == [
            (1,)
        ]

    def test_what_was_passed_over_is_looked_for_a_part_in_each_pass(self, monkeypatch):
        """A quarter of an hour may hold millions of events: looked at as a whole they would hold up all that come."""
        monkeypatch.setattr(backlog, "LOOKED_AT_ONCE", 2)
        tell(count=5)
        sealing.seal()
        late = tell(count=3)
        sealing.rows("UPDATE audit.sealer SET snap = pg_current_snapshot() RETURNING 1")
        found = []
        with sealing.sealer() as one:
            for _ in range(6):
                one.work()
                found.append(len({*late} & {*ids_in(WORKSPACE)}))
        assert (found[0], found[-1]) == (0, 3)
        assert found == sorted(found)
        assert_log_is_sound(WORKSPACE)
        assert_log_is_sound(WORKSPACE)


def test_a_log_that_is_silent_for_an_hour_says_that_it_is_alive():
    tell()
    sealing.seal()
    sealing.tamper("UPDATE audit.checkpoint SET at = at - interval '61 minutes'")
    sealing.seal()
    sealing.seal()
    told = sealing.rows("SELECT workspace_id FROM audit.event WHERE action = %s", Event.AUDIT_CHECKPOINT_SIGNED)
    assert sorted(told, key=str) == sorted([(WORKSPACE,), (None,)], key=str)
    assert len(ids_in(WORKSPACE)) == 2


def test_changes_of_an_object_stand_in_the_order_of_its_revisions_whatever_clocks_say():
    def event(number, rev, op="update", object_id="a"):
        values = dict.fromkeys(Row._fields) | {"object_type": "x", "object_id": object_id, "rev": rev, "op": op}
        return Row(**(values | {"id": str(UUID(int=number))}))

    given = [event(1, 2), event(2, 1, "insert"), event(3, 7, object_id="b"), event(4, 3), event(5, 9, "read")]
    assert [(found.object_id, found.rev) for found in in_order(given)] == [
        ("a", 1),
        ("a", 2),
        ("b", 7),
        ("a", 3),
        ("a", 9),
    ]


@pytest.mark.parametrize(
    ("sealed", "now", "cut", "wanted"),
    [
        ("10:10:", "10:20:", 15, "15:15:"),
        ("10:10:", "12:20:12,17", 15, "12:15:12"),
        # What was running before and is sealed only in part
        ("5:10:5,7", "20:20:", 7, "7:10:7"),
        ("5:10:5,7,8", "8:20:8", 7, "7:10:7,8"),
    ],
)
def test_a_snapshot_says_what_is_sealed_after_a_part(sealed, now, cut, wanted):
    assert Snapshot.parse(sealed).advanced(Snapshot.parse(now), cut).text == wanted


def test_only_the_sealer_grows_the_log_and_nobody_changes_it():
    tell()
    sealing.seal()
    for role in ("web", "gateway", "worker", "audit_read", "retention"):
        for table in ("leaf", "tile", "log", "checkpoint", "sealer"):
            with databases.login(role) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(f"INSERT INTO audit.{table} DEFAULT VALUES")
    for table in ("leaf", "log", "checkpoint"):
        for verb in (f"DELETE FROM audit.{table}", f"TRUNCATE audit.{table}"):
            with databases.admin() as owner, pytest.raises(psycopg.Error, match="refused"):
                owner.execute(verb)
    with databases.admin() as owner, pytest.raises(psycopg.Error, match="can only be signed"):
        owner.execute("UPDATE audit.checkpoint SET note = 'another'")
    with databases.admin() as owner, pytest.raises(psycopg.Error, match="can only be signed"):
        owner.execute("UPDATE audit.checkpoint SET signatures = 'another'")


def test_the_sealer_tells_nothing_but_what_it_finds():
    with databases.login("sealer") as one, pytest.raises(psycopg.Error, match="prov_sealer tells no such thing"):
        one.execute(*storing([told_by("sealer", Actor.system("audit.sealer", WORKSPACE), Event.RUN_STARTED)]))
    with databases.login("sealer") as one, pytest.raises(psycopg.errors.InsufficientPrivilege):
        one.execute("INSERT INTO audit.key (kid, purpose, alg, db_role) VALUES ('web-2', 'event', 'x', 'prov_sealer')")


def test_a_sealer_that_takes_up_many_logs_keeps_its_lease_meanwhile(monkeypatch):
    """Thousands of logs take longer than a lease, and two sealers would take it from each other for ever."""
    tell()
    tell(OTHER)
    sealing.seal()
    left, genuine = [], standing.standing

    def slow(*asked):
        left.append(sealing.rows("SELECT lease_until > clock_timestamp() + interval '3 seconds' FROM audit.sealer"))
        sealing.rows("UPDATE audit.sealer SET lease_until = lease_until - interval '9 seconds' RETURNING 1")
        return genuine(*asked)

    monkeypatch.setattr(lease.Lease, "is_due", True)
    monkeypatch.setattr(standing, "standing", slow)
    with sealing.sealer() as one:
        assert one.lead()
    assert left == [[(True,)]] * 3
