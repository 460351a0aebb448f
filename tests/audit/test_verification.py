"""Verification finds whatever a database administrator did, and says where (M114, goal 2, pitfall 16)."""

import threading
import time
from uuid import UUID

import pytest

from audit.anchors import text_of
from audit.anchors.directory import DirectoryAnchor
from audit.epochs import LogName
from audit.glance import _words
from audit.notes import Checkpoint, LogSigner
from audit.verifying.fsck import Fsck
from audit.verifying.verification import Wanted
from tests import databases
from tests.attacks.log import plant, told_by
from tests.audit import sealing
from tests.audit.old_months import LONG_AGO, expire, old_events
from tests.audit.sealing import OTHER, WORKSPACE, seal
from tests.audit.telling import many, system, tell
from tests.audit.verifying import INSTANCE, ORIGIN, OURS, flaws, fsck, verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE, OTHER)]


def test_a_log_that_nobody_touched_verifies_also_while_it_grows(anchor):
    tell(WORKSPACE, 3)
    tell(OTHER, 2)
    seal(anchor)
    many(300)
    seal(anchor)
    tell(WORKSPACE, 2)
    report = verify(anchor)
    assert report.is_good, report
    sizes = {log.origin: (log.size, log.events, log.checkpoints) for log in report.logs}
    assert sizes == {ORIGIN: (303, 303, 2), f"{sealing.ORIGIN}/{OTHER}": (2, 2, 1), INSTANCE: (3, 0, 2)}
    with databases.login("sealer") as connection:
        assert Fsck(connection).run(60) == []


TAMPERED = [
    ("UPDATE audit.event SET body = replace(body, 'low', 'bad') WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET mac = sha256(mac) WHERE id = '{e7}'", (7, "leaf"), False),
    ("UPDATE audit.event SET risk = 'critical' WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET actor_id = 'somebody' WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET rev = 4 WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET changed = ARRAY['status'] WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET run_id = id WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET kid = 'worker-9' WHERE id = '{e7}'", (7, "event"), False),
    ("UPDATE audit.event SET workspace_id = NULL WHERE id = '{e7}'", (7, "event"), True),
    ("UPDATE audit.event SET body = 'no JSON' WHERE id = '{e7}'", (7, "event"), False),
    ("DELETE FROM audit.event WHERE id = '{e7}'", (7, "event_missing"), True),
    ("DELETE FROM audit.leaf WHERE {ours} AND idx = 7", (7, "leaf_missing"), True),
    ("DELETE FROM audit.leaf WHERE {ours} AND idx >= 300", (300, "leaf_missing"), True),
    ("UPDATE audit.leaf SET hash = sha256('x') WHERE {ours} AND idx = 7", (7, "leaf"), True),
    (
        "UPDATE audit.leaf SET idx = CASE idx WHEN 7 THEN -8 ELSE -7 END WHERE {ours} AND idx IN (7, 8)",
        (7, "tile"),
        True,
    ),
    ("UPDATE audit.tile SET data = set_byte(data, 40, 0) || ''::bytea WHERE {ours}", (1, "tile"), True),
    ("DELETE FROM audit.tile WHERE {ours}", (0, "tile"), True),
    (
        "UPDATE audit.checkpoint SET note = replace(note, '303', '304') WHERE {ours} AND size = 303",
        (302, "checkpoint"),
        True,
    ),
    (
        "UPDATE audit.checkpoint SET signatures = replace(signatures, '0', '1') WHERE {ours} AND size = 303",
        (302, "checkpoint"),
        False,
    ),
    (
        "UPDATE audit.checkpoint SET cosignatures = 'x' WHERE {ours} AND size = 303",
        (302, "checkpoint"),
        False,
    ),
    (
        "UPDATE audit.checkpoint SET workspace_id = gen_random_uuid() WHERE {ours} AND size = 303",
        (302, "checkpoint"),
        False,
    ),
    ("UPDATE audit.checkpoint SET workspace_id = NULL WHERE {ours} AND size = 303", (302, "checkpoint"), False),
    ("UPDATE audit.checkpoint SET instance_idx = 5 WHERE {ours} AND size = 303", (302, "instance"), True),
    ("UPDATE audit.leaf SET event_id = NULL WHERE {ours} AND idx = 7", (7, "leaf"), True),
    (
        "UPDATE audit.leaf SET event_id = 'ffffffff-ffff-7fff-bfff-ffffffffffff' WHERE {ours} AND idx = 7",
        (7, "event_missing"),
        True,
    ),
    (
        (
            "INSERT INTO audit.checkpoint (log_id, size, note, signatures, frontier)"
            " SELECT log_id, 9000000000000000000, note, signatures, frontier FROM audit.checkpoint"
            " WHERE {ours} AND size = 303"
        ),
        (303, "leaf_missing"),
        True,
    ),
    (
        "UPDATE audit.leaf SET event_id = overlay(event_id::text placing '0140' from 1 for 4)::uuid WHERE {ours} AND idx = 7",
        (7, "event_missing"),
        True,
    ),
]


@pytest.mark.parametrize(
    ("change", "wanted", "seen_by_fsck"), TAMPERED, ids=[change[:70] for change, *_rest in TAMPERED]
)
def test_what_an_administrator_changes_is_found_at_its_index(anchor, change, wanted, seen_by_fsck):
    ids = tell(WORKSPACE, 3) + many(300)
    ids = [event for _hash, event in (seal(anchor), sealing.leaves(WORKSPACE))[1]]
    assert fsck() == []
    statement = change.format(e7=ids[7], ours=OURS)
    if "CASE idx" in statement:
        sealing.tamper("ALTER TABLE audit.leaf DROP CONSTRAINT leaf_idx_check")
        assert sealing.tamper(statement) == 2
        assert sealing.tamper(f"UPDATE audit.leaf SET idx = -idx WHERE {OURS} AND idx < 0") == 2
        sealing.tamper("ALTER TABLE audit.leaf ADD CONSTRAINT leaf_idx_check CHECK (idx >= 0)")
    else:
        assert sealing.tamper(statement)
    report = verify(anchor)
    assert not report.is_good
    assert wanted in flaws(report), report
    assert min(flaws(report))[0] == wanted[0], "nothing before it is blamed"
    assert bool(fsck()) == seen_by_fsck


def test_a_checkpoint_of_the_log_of_logs_stands_in_no_log(anchor):
    """Readers of that log would take it for what the log holds there."""
    tell(WORKSPACE, 3)
    seal(anchor)
    size = sealing.checkpoints(None)[-1].size
    assert sealing.tamper("UPDATE audit.checkpoint SET instance_idx = 0 WHERE workspace_id IS NULL")
    assert flaws(verify(anchor), INSTANCE) == [(size - 1, "instance")]


def test_a_signature_that_was_taken_from_an_older_checkpoint_is_missed(anchor):
    for _ in range(2):
        tell(WORKSPACE, 3)
        seal(anchor)
    assert sealing.tamper(f"UPDATE audit.checkpoint SET signatures = NULL WHERE {OURS} AND size = 3")
    assert flaws(verify(anchor)) == [(2, "checkpoint")]


@pytest.mark.parametrize(("line", "missing"), [(1, "ML-DSA-44"), (2, "Ed25519")])
def test_a_checkpoint_of_the_log_of_logs_is_signed_by_both_kinds_of_key(anchor, line, missing):
    tell(WORKSPACE, 3)
    seal(anchor)
    size = sealing.checkpoints(None)[-1].size
    kept = "split_part(signatures, E'\\n', %s) || E'\\n'"
    assert sealing.tamper(f"UPDATE audit.checkpoint SET signatures = {kept} WHERE workspace_id IS NULL", line)
    flaw, *_same = next(log.flaws for log in verify(anchor).logs if log.origin == INSTANCE)
    assert (flaw.index, flaw.kind) == (size - 1, "checkpoint")
    assert f"no {missing} key signed it" in flaw.problem


def test_a_column_of_another_type_is_told_for_each_log():
    tell(WORKSPACE, 3)
    seal()
    change = "ALTER TABLE audit.checkpoint ALTER frontier TYPE {} USING {}(frontier, 'hex')"
    with databases.admin() as owner:
        owner.execute(change.format("text", "encode"))
        try:
            defects = fsck()
        finally:
            owner.execute(change.format("bytea", "decode"))
    assert ["something is stored that cannot be read" in problem for _index, problem in defects] == [True, True]


NOTHING = [
    ("audit.event", "mac", "id = '{e7}'", (7, "leaf")),
    ("audit.event", "body", "id = '{e7}'", (7, "leaf")),
    ("audit.leaf", "hash", f"{OURS} AND idx = 7", (7, "leaf")),
    ("audit.tile", "data", OURS, (0, "tile")),
    ("audit.checkpoint", "note", f"{OURS} AND size = 303", (302, "checkpoint")),
]


@pytest.mark.parametrize(
    ("table", "column", "where", "wanted"), NOTHING, ids=[f"{table}.{column}" for table, column, *_rest in NOTHING]
)
def test_nothing_where_something_must_be_is_found_at_its_index(anchor, table, column, where, wanted):
    """Whoever owns a table can take NOT NULL away."""
    tell(WORKSPACE, 303)
    seal(anchor)
    where = where.format(e7=sealing.leaves(WORKSPACE)[7][1])
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL")
        try:
            assert sealing.tamper(f"UPDATE {table} SET {column} = NULL WHERE {where}")
            report, defects = verify(anchor), fsck()
        finally:
            sealing.tamper(f"DELETE FROM {table} WHERE {column} IS NULL")
            owner.execute(f"ALTER TABLE {table} ALTER {column} SET NOT NULL")
    assert flaws(report)[0] == wanted
    assert bool(defects) == (table != "audit.event")


@pytest.mark.parametrize(("column", "is_named"), [("origin", False), ("epoch", True)])
def test_a_log_without_a_name_or_an_epoch_is_missed(anchor, column, is_named):
    tell(WORKSPACE, 3)
    seal(anchor)
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.log ALTER {column} DROP NOT NULL")
        try:
            sealing.tamper(f"UPDATE audit.log SET {column} = NULL WHERE origin = '{ORIGIN}'")
            report, _defects = verify(anchor), fsck()
        finally:
            sealing.tamper(f"DELETE FROM audit.log WHERE {column} IS NULL")
            owner.execute(f"ALTER TABLE audit.log ALTER {column} SET NOT NULL")
    assert [log.origin for log in report.logs] == [INSTANCE, ORIGIN if is_named else ""]
    assert any(f"the log {ORIGIN} is not in the database" in problem for problem in report.problems)


@pytest.mark.parametrize("origin", ["", "log.test/another", f"{ORIGIN}/e{'9' * 5000}"])
def test_a_log_that_was_given_another_name_is_missed_under_its_own(anchor, origin):
    tell(WORKSPACE, 3)
    seal(anchor)
    sealing.tamper("UPDATE audit.log SET origin = %s WHERE origin = %s", origin, ORIGIN)
    report = verify(anchor)
    assert flaws(report, origin)[0] == (2, "checkpoint")
    named, missed = report.problems
    assert named == f"A log of workspace {WORKSPACE} is called {origin:.99} in the database, and its name is {ORIGIN}"
    gone = f"{ORIGIN} is not in the database, and 3 entries of it were published"
    assert missed == f"The database does not continue what was published: the log {gone}"


def test_a_log_that_was_taken_away_is_missed_and_what_it_held_is_named(anchor):
    tell(WORKSPACE, 3)
    seal(anchor)
    sealing.tamper("DELETE FROM audit.log WHERE origin = %s", ORIGIN)
    report = verify(anchor)
    assert any(f"the log {ORIGIN} is not in the database" in problem for problem in report.problems)
    assert any(problem.startswith("3 leaves are of the log") for problem in report.problems)


@pytest.mark.usefixtures("drop_months")
def test_a_leaf_is_expired_only_where_its_month_properly_left(transactional_db, anchor, as_role, monkeypatch):
    """An attacker takes an event away and gives its leaf an id of a month that left, or makes a month leave unsaid."""
    old_events(monkeypatch, LONG_AGO, workspace_id=WORKSPACE)
    assert expire(as_role) == 3
    tell(WORKSPACE, 3)
    seal(anchor)
    report = verify(anchor)
    assert report.is_good, report
    assert next(log.expired for log in report.logs if log.origin == ORIGIN) == 3
    assert fsck() == []
    ids = [event for _hash, event in sealing.leaves(WORKSPACE)]
    with sealing.undone(ids[4]):
        sealing.tamper("DELETE FROM audit.event WHERE id = %s", ids[4])
        disguised = UUID(int=(ids[0].int >> 80 << 80) | ids[4].int & (1 << 80) - 1)
        sealing.tamper("UPDATE audit.leaf SET event_id = %s WHERE event_id = %s", disguised, ids[4])
        assert flaws(verify(anchor)) == [(4, "event_missing")]
        assert fsck() == [(4, f"the event {disguised} of the leaf is missing")]
        sealing.tamper("DELETE FROM audit.leaf WHERE event_id = %s", disguised)
    assert verify(anchor).is_good
    sealing.tamper("UPDATE audit.event SET object_id = 'event_2018_04' WHERE object_id = 'event_2018_03'")
    assert [place for place, kind in flaws(verify(anchor)) if kind == "event_missing"] == [0, 1, 2]
    sealing.tamper("UPDATE audit.expired SET month = 'event_2018_04'")
    assert [place for place, kind in flaws(verify(anchor)) if kind == "event_missing"] == [0, 1, 2]
    assert [index for index, problem in fsck() if "of the leaf" in problem] == [0, 1, 2]


def test_leaf_and_tile_changed_alike_do_not_make_the_signed_root(anchor):
    """Whoever recomputes everything but the signature: the first checkpoint that no longer holds says where."""
    tell(WORKSPACE, 3)
    seal(anchor)
    ids = many(300)
    seal(anchor)
    sealing.tamper(f"UPDATE audit.leaf SET hash = sha256('x') WHERE {OURS} AND idx = 7")
    sealing.tamper(f"UPDATE audit.tile SET data = overlay(data placing sha256('x') from {7 * 32 + 1}) WHERE {OURS}")
    report = verify(anchor)
    assert (7, "leaf") in flaws(report)
    assert (7, "tree") in flaws(report)
    assert len(ids) == 300


def test_a_log_cut_off_with_its_checkpoints_is_found_by_the_log_of_logs_and_by_what_is_kept_elsewhere(anchor):
    tell(WORKSPACE, 3)
    seal(anchor)
    tell(WORKSPACE, 2)
    seal(anchor)
    for table, condition in (("leaf", "idx >= 3"), ("checkpoint", "size > 3")):
        sealing.tamper(f"DELETE FROM audit.{table} WHERE {OURS} AND {condition}")
    for table, column in (("detail", "event_id"), ("event", "id")):
        sealing.tamper(
            f"DELETE FROM audit.{table} WHERE {column} NOT IN (SELECT event_id FROM audit.leaf WHERE event_id IS NOT NULL)"
        )
    assert flaws(verify(), INSTANCE) == [(1, "checkpoint")]
    sealing.tamper(
        "DELETE FROM audit.leaf WHERE NOT (log_id = ANY (SELECT id FROM audit.log WHERE workspace_id IS NOT NULL)) AND idx = 1"
    )
    sealing.tamper("DELETE FROM audit.checkpoint WHERE workspace_id IS NULL AND size = 2")
    assert verify().is_good, "everything that is left fits together"
    report = verify(anchor)
    assert len(report.problems) == 2
    assert "has 3 entries, and 5 were published" in report.problems[1]


def test_another_history_under_the_same_name_is_found_by_what_is_kept_elsewhere(anchor, tmp_path):
    """Somebody with the key of the log writes it anew, also to the same length."""
    tell(WORKSPACE, 3)
    seal(anchor)
    sealing.start_over()
    tell(WORKSPACE, 4)
    seal(DirectoryAnchor(tmp_path / "another"))
    assert verify().is_good
    report = verify(anchor)
    assert any("are not those that were published" in problem for problem in report.problems)


def test_a_key_that_was_replaced_is_found(anchor, monkeypatch):
    tell(WORKSPACE, 2)
    stolen = LogSigner(b"x" * 32, b"y" * 32)
    seal(anchor)
    tell(WORKSPACE, 2)
    forget = "DELETE FROM audit.key WHERE purpose = 'checkpoint'"
    sealing.tamper(forget)
    refused = seal(signer=stolen)
    assert "none of the known keys signed it" in refused._refusal
    # Whoever exchanged the key would not ask.
    monkeypatch.setattr("audit.sealing.standing.opened", lambda note, _keys: Checkpoint.parse(text_of(note)))
    seal(signer=stolen)
    monkeypatch.undo()
    sealing.tamper(forget)
    report = verify(anchor)
    assert flaws(report)[0] == (3, "checkpoint")
    assert any("key" in problem for problem in verify(anchor, signer=stolen).problems)


def test_a_kept_checkpoint_that_the_database_no_longer_has_is_found(anchor):
    """An older one than the newest: somebody let the log end there for somebody else."""
    for _ in range(3):
        tell(WORKSPACE)
        seal(anchor)
    sealing.tamper(f"DELETE FROM audit.checkpoint WHERE {OURS} AND size = 2")
    report = verify(anchor)
    assert any(f"of {ORIGIN} at 2 that directory keeps is not the stored one" in found for found in report.problems)


def test_the_tree_is_read_in_windows_and_a_gap_between_two_is_found(anchor, monkeypatch):
    from audit.verifying import fsck as module

    monkeypatch.setattr(module, "LEAVES_AT_ONCE", 64)
    monkeypatch.setattr(module, "TILES_AT_ONCE", 1)
    for count in (10, 54, 500):
        many(count)
        seal(anchor)
    assert fsck() == []
    sealing.tamper(f"DELETE FROM audit.leaf WHERE {OURS} AND idx = 128")
    assert (128, "the leaf is missing, and 435 follow") in fsck()


def test_an_event_that_is_never_sealed_is_found(anchor, monkeypatch):
    from datetime import timedelta

    from audit.verifying import verification as module

    tell(WORKSPACE)
    seal(anchor)
    (waiting,) = tell(WORKSPACE)
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.01)
    assert verify(anchor).is_good, "it is young"
    monkeypatch.setattr(module, "UNSEALED_FOR", timedelta(0))
    assert any(str(waiting) in problem for problem in verify(anchor).problems)
    assert any(str(waiting) in problem for _index, problem in fsck())


@pytest.mark.parametrize("place", ["of no log", "of the instance", "past the end"])
def test_an_event_hidden_behind_a_leaf_where_nobody_looks_is_found(anchor, monkeypatch, place):
    """The sealer was told that it is sealed, so that it does not come by either."""
    from datetime import timedelta

    from audit.verifying import verification as module

    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "UNSEALED_FOR", timedelta(0))
    tell(WORKSPACE, 2)
    seal(anchor)
    assert verify(anchor).is_good
    (hidden,) = tell(WORKSPACE)
    log = {
        "of no log": "(SELECT 999)",
        "of the instance": "(SELECT id FROM audit.log WHERE workspace_id IS NULL)",
        "past the end": f"(SELECT id FROM audit.log WHERE origin = '{ORIGIN}')",
    }[place]
    sealing.tamper(f"INSERT INTO audit.leaf VALUES ({log}, 77, sha256('x'), %s)", hidden)
    sealing.tamper("UPDATE audit.sealer SET snap = pg_current_snapshot()")
    seal(anchor)
    problems = verify(anchor).problems
    assert any(f"The event {hidden} is not in the log of workspace {WORKSPACE}" in problem for problem in problems)
    assert any(str(hidden) in problem for _index, problem in fsck())
    if place == "of no log":
        assert "1 leaves are of the log 999, which does not exist" in problems
        assert (None, "1 leaves are of a log that does not exist") in fsck()


def test_tiles_and_checkpoints_of_no_log_are_found(anchor):
    many(300)
    seal(anchor)
    assert sealing.tamper("INSERT INTO audit.tile SELECT 999, level, n, data FROM audit.tile") == 1
    copy = "INSERT INTO audit.checkpoint (log_id, size, note, frontier) SELECT 999, size, note, frontier FROM audit.checkpoint"
    assert sealing.tamper(f"{copy} WHERE {OURS}") == 1
    found = ["1 checkpoints are of", "1 tiles are of"]
    assert [problem.split(" the log 999")[0] for problem in verify(anchor).problems] == found
    assert [problem.split(" a log that")[0] for _index, problem in fsck()] == found


def test_a_forged_event_is_found_though_it_is_sealed(anchor):
    from provenance.db import enter

    tell(WORKSPACE)
    with enter(WORKSPACE):
        plant(told_by("worker", system(WORKSPACE)))
    seal(anchor)
    report = verify(anchor)
    assert flaws(report) == [(1, "event")]
    assert "may not tell what people do" in report.first_flaw[1].problem


def test_only_what_is_new_is_read_again_and_what_was_verified_must_still_be_there(anchor):
    many(300)
    seal(anchor)
    first = verify(anchor)
    known = {log.origin: (log.size, bytes.fromhex(log.root)) for log in first.logs}
    many(20)
    seal(anchor)
    second = verify(anchor, wanted=Wanted(verified=known))
    assert second.is_good
    assert {log.origin: (log.first, log.size, log.events) for log in second.logs} == {
        ORIGIN: (300, 320, 20),
        INSTANCE: (1, 2, 0),
    }
    forged = known | {ORIGIN: (300, b"x" * 32)}
    assert flaws(verify(anchor, wanted=Wanted(verified=forged))) == [(0, "tree")]
    longer = known | {ORIGIN: (999, b"x" * 32)}
    assert flaws(verify(anchor, wanted=Wanted(verified=longer))) == [(320, "tree")]


@pytest.mark.parametrize(
    ("first", "end", "events"), [(0, 5, 300), (120, 130, 180), (299, 300, 1), (300, 302, 20), (310, 999, 10)]
)
def test_a_range_is_verified_up_to_the_next_signed_root(anchor, first, end, events):
    many(300)
    seal(anchor)
    many(20)
    seal(anchor)
    report = verify(anchor, wanted=Wanted(only=LogName(WORKSPACE, 1), first=first, end=end))
    assert report.is_good, report
    (log,) = report.logs
    assert log.events == events


def test_ranges_of_several_processes_are_one_tree(anchor, monkeypatch):
    """The same in small: ranges of 256 leaves, read by two processes."""
    from audit.verifying import verification as module

    monkeypatch.setattr(module, "RANGE_LEAVES", 256)
    monkeypatch.setattr(module, "ALIGNED_TO", 256)
    monkeypatch.setattr(module, "FEW_LEAVES", 0)
    for count in (100, 300, 500):
        many(count)
        seal(anchor)
    seen = []
    report = verify(anchor, jobs=2, progress=lambda done, of: seen.append((done, of)))
    assert report.is_good, report
    assert [log.events for log in report.logs] == [0, 900]
    assert seen[0] == (0, 903)
    assert seen[-1] == (903, 903)
    ids = [event for _hash, event in sealing.leaves(WORKSPACE)]
    sealing.tamper("UPDATE audit.event SET risk = 'high' WHERE id = ANY(%s)", [ids[270], ids[890]])
    assert flaws(verify(anchor, jobs=2)) == [(270, "event"), (890, "event")]


def test_writers_and_a_sealer_at_work_raise_no_alarm(anchor):
    """Pitfall 16, in small: verified again and again while the log grows."""
    tell(WORKSPACE)
    seal(anchor)
    stop = threading.Event()

    def grow():
        while not stop.is_set():
            many(20)
            with sealing.sealer() as one:
                one.work()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        reports = [verify(anchor) for _ in range(8)]
        deadline = time.monotonic() + 120
        while reports[-1].events == reports[0].events and time.monotonic() < deadline:
            reports.append(verify(anchor))
    finally:
        stop.set()
        thread.join()
    assert all(report.is_good for report in reports), [report for report in reports if not report.is_good]
    assert reports[-1].events > reports[0].events


def cut_off(size):
    """Both logs' first epoch ends here, as if nothing had come after."""
    logs = f"log_id IN (SELECT id FROM audit.log WHERE origin IN ('{ORIGIN}', '{INSTANCE}'))"
    for table, condition in (("leaf", f"idx >= {size}"), ("checkpoint", f"size > {size}")):
        sealing.tamper(f"DELETE FROM audit.{table} WHERE {logs} AND {condition}")
    for table, column in (("detail", "event_id"), ("event", "id")):
        sealing.tamper(
            f"DELETE FROM audit.{table} WHERE {column} NOT IN (SELECT event_id FROM audit.leaf WHERE event_id IS NOT NULL)"
        )


def test_an_ended_epoch_must_still_have_what_it_had_when_the_next_one_was_started(anchor):
    """The new epoch excuses what was missing then, and nothing that was taken away since."""
    for _ in range(4):
        tell(WORKSPACE)
        seal(anchor)
    cut_off(3)
    with sealing.sealer(places=[anchor]) as one:
        assert {found.kept for found in one.start_epoch("The disk broke.")} == {3}
    seal(anchor)
    report = verify(anchor)
    assert report.is_good, report
    sealing.tamper(f"DELETE FROM audit.checkpoint WHERE {OURS} AND size = 2")
    assert any(f"of {ORIGIN} at 2 that directory keeps" in problem for problem in verify(anchor).problems)
    cut_off(1)
    # In whatever order the logs were opened.
    assert {problem for problem in verify().problems if "new epoch" in problem} == {
        f"{INSTANCE} has 1 entries, and 3 when a new epoch was started",
        f"{ORIGIN} has 1 entries, and 3 when a new epoch was started",
    }


@pytest.mark.parametrize("words", [["status"], ["a", "b"], ["ä", ""]])
def test_arrays_are_read_as_postgres_sends_them(words):
    with databases.login("web") as connection, connection.cursor(binary=True) as cursor:
        raw = cursor.execute("SELECT array_send(%s::text[])", [words]).fetchone()[0]
    assert _words(bytes(raw)) == words


@pytest.mark.parametrize("array", ["{{a},{b}}", "{NULL}", "{a,NULL}", "{{a,NULL}}"])
def test_an_array_that_is_no_list_of_words_is_never_what_an_event_says(array):
    """Read as if it were one, the bounds of a second dimension could be made to spell the signed names."""
    with databases.login("web") as connection, connection.cursor(binary=True) as cursor:
        raw = bytes(cursor.execute("SELECT array_send(%s::text[])", [array]).fetchone()[0])
    assert _words(raw) == [raw.hex()]
