"""A superuser takes events away and lets their leaves look as if a month had properly left: what was signed says where (M114)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest

from audit.anchors.directory import DirectoryAnchor
from audit.envelope import ObjectFacts, build, storing
from audit.taxonomy import Event
from audit.verifying.fsck import Fsck
from audit.verifying.reconcile import governed_tables, reconcile
from provenance.actor import Actor
from provenance.ids import uuid7, uuid7_floor
from tests import databases
from tests.audit import sealing
from tests.audit.old_months import expire, old_events
from tests.audit.sealing import seal
from tests.audit.verifying import verify
from tests.gateway.world import make_running_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("drop_months")]

MARCH, APRIL = datetime(2018, 3, 31, 23, tzinfo=UTC), datetime(2018, 4, 1, 1, tzinfo=UTC)
OURS, THEIRS = uuid7(), uuid7()
ORIGIN = f"{sealing.ORIGIN}/{OURS}"


def missing(report):
    return [(log.origin, flaw.index) for log in report.logs for flaw in log.flaws if flaw.kind == "event_missing"]


def fsck():
    with databases.login("sealer") as connection:
        return [(defect.origin, defect.index) for defect in Fsck(connection).run(0)]


def take_away(event, *, month):
    """The event goes with its detail, and its leaf gets an id of that month."""
    disguised = UUID(int=(month.int >> 80 << 80) | event.int & (1 << 80) - 1)
    sealing.tamper("DELETE FROM audit.event WHERE id = %s", event)
    sealing.tamper("DELETE FROM audit.detail WHERE event_id = %s", event)
    sealing.tamper("UPDATE audit.leaf SET event_id = %s WHERE event_id = %s", disguised, event)


def leaves_of(workspace_id):
    return [event_id for _hash, event_id in sealing.leaves(workspace_id)]


def test_months_of_several_logs_leave_in_pieces_and_alarm_nobody(as_role, monkeypatch, tmp_path):
    """A month lies in its log in more than one run where transactions committed late; an epoch follows."""
    anchor = DirectoryAnchor(tmp_path / "anchor")
    for month in (MARCH, APRIL, MARCH):
        for workspace_id in (OURS, THEIRS):
            old_events(monkeypatch, month, workspace_id=workspace_id, count=2)
    assert expire(as_role) == 8
    old_events(monkeypatch, datetime.now(UTC), workspace_id=OURS)
    report = verify()
    assert report.is_good, report
    theirs = f"{sealing.ORIGIN}/{THEIRS}"
    assert {log.origin: log.expired for log in report.logs if log.expired} == {ORIGIN: 4, theirs: 4}
    assert expire(as_role, "event_2018_04") == 4
    seal(anchor)
    ours = "log_id = (SELECT id FROM audit.log WHERE origin = %s)"
    sealing.tamper(f"DELETE FROM audit.leaf WHERE {ours} AND idx = 8", ORIGIN)
    with sealing.sealer(places=[anchor]) as one:
        assert one.start_epoch("A leaf is gone.")
    seal(anchor)
    old_events(monkeypatch, datetime.now(UTC), workspace_id=OURS)
    report = verify()
    assert {log.origin: log.expired for log in report.logs if log.expired} == {ORIGIN: 6, theirs: 6}
    assert missing(report) == []
    ((march,),) = sealing.rows(f"SELECT event_id FROM audit.leaf WHERE {ours} AND idx = 0", ORIGIN)
    ((second,),) = sealing.rows(f"SELECT event_id FROM audit.leaf WHERE {ours} AND idx = 1", f"{ORIGIN}/e2")
    take_away(second, month=march)
    assert missing(verify()) == [(f"{ORIGIN}/e2", 1)], "what left one epoch excuses nothing in another"


def test_what_is_taken_away_at_the_beginning_of_a_log_is_found(as_role, monkeypatch):
    (marked,) = old_events(monkeypatch, MARCH, workspace_id=THEIRS, count=1)
    now = old_events(monkeypatch, datetime.now(UTC), workspace_id=OURS)
    assert expire(as_role) == 1
    sealing.seal()
    assert verify().is_good
    take_away(now[0].id, month=marked.id)
    assert missing(verify()) == [(ORIGIN, 0)]
    assert (ORIGIN, 0) in fsck()


@pytest.mark.parametrize("place", [0, 3, 4])
def test_what_is_taken_away_before_between_or_behind_months_that_left_is_found(as_role, monkeypatch, place):
    months = [APRIL, MARCH, MARCH, APRIL, APRIL]
    for month in months:
        old_events(monkeypatch, month, workspace_id=OURS, count=1)
    march = leaves_of(OURS)[1]
    assert expire(as_role) == 2
    sealing.seal()
    assert verify().is_good
    take_away(leaves_of(OURS)[place], month=march)
    assert missing(verify()) == [(ORIGIN, place)]
    assert (ORIGIN, place) in fsck()


def test_what_was_carried_on_is_held_to_its_signature_and_to_months_that_left(as_role, monkeypatch):
    """Rows that live on are believed by it."""
    (gone,) = old_events(monkeypatch, MARCH, workspace_id=OURS, count=1)
    (here,) = old_events(monkeypatch, APRIL, workspace_id=OURS, count=1)
    with databases.admin() as owner:
        owner.execute("INSERT INTO audit.carried SELECT * FROM audit.event WHERE id = %s", [gone.id])
        owner.execute("INSERT INTO audit.carried SELECT * FROM audit.event WHERE id = %s", [here.id])
    assert expire(as_role) == 1
    sealing.seal()
    carried = "was carried on from its month, and"
    assert verify().problems == [f"The event {here.id} {carried} its month did not leave"]
    sealing.tamper("DELETE FROM audit.carried WHERE id = %s", here.id)
    assert verify().is_good
    sealing.tamper("UPDATE audit.carried SET rev = 7 WHERE id = %s", gone.id)
    assert verify().problems == [f"The event {gone.id} {carried} rev differs from the signed body"]


def test_no_word_of_another_process_and_no_rewritten_one_lets_events_go(as_role, monkeypatch):
    made = old_events(monkeypatch, MARCH, workspace_id=OURS)
    assert expire(as_role) == 3
    now = old_events(monkeypatch, datetime.now(UTC), workspace_id=OURS)
    ((told,),) = sealing.rows("SELECT id FROM audit.event WHERE action = %s", Event.AUDIT_PARTITION_EXPIRED)
    take_away(now[0].id, month=made[0].id)
    excuse = build(
        keys=sealing.all_keys("web"),
        actor=Actor.system("audit.retention", None),
        event=Event.AUDIT_PARTITION_EXPIRED,
        target=ObjectFacts(type="audit_month", id="event_2018_03"),
        workspace_id=None,
        detail={"logs": [{"log": ORIGIN, "events": 4, "runs": [[0, 3]]}]},
    )
    with databases.login("web") as web:
        web.execute(*storing([excuse]))
    for month, facts in (
        ("event_2018_03", {"logs": [{"log": ORIGIN}]}),
        ("event_2018_03", {"logs": 7}),
        ("x", {"logs": []}),
    ):
        tell_as_the_job(month, facts)
    sealing.seal()
    assert missing(verify()) == [(ORIGIN, 3)]
    sealing.tamper(
        "UPDATE audit.detail SET body = replace(convert_from(body, 'UTF8'), '[[0,2]]', '[[0,3]]')::bytea WHERE event_id = %s",
        told,
    )
    assert missing(verify()) == [(ORIGIN, index) for index in range(4)]


def test_a_word_dated_years_ahead_makes_no_month_old_enough(monkeypatch):
    """Whoever has the key of the job and the database writes the date that the database would refuse."""
    made = old_events(monkeypatch, datetime.now(UTC), workspace_id=OURS)
    ahead = datetime.now(UTC) + timedelta(days=8 * 366)
    old_events(
        monkeypatch, ahead, workspace_id=None, count=1, process="retention", event=Event.AUDIT_PARTITION_EXPIRED,
        type="audit_month", id=f"event_{orjson.loads(made[0].body)['at'][:7].replace('-', '_')}",
        detail={"logs": [{"log": ORIGIN, "events": 3, "runs": [[0, 2]]}]},
    )  # fmt: skip
    for event in made:
        sealing.tamper("DELETE FROM audit.event WHERE id = %s", event.id)
        sealing.tamper("DELETE FROM audit.detail WHERE event_id = %s", event.id)
    assert missing(verify()) == [(ORIGIN, index) for index in range(3)]
    with databases.admin() as owner:
        owner.execute(f"DROP TABLE audit.event_{ahead:%Y_%m}, audit.detail_{ahead:%Y_%m}")


def tell_as_the_job(month, facts):
    """What somebody who took the job over can sign: any words."""
    words = build(
        keys=sealing.all_keys("retention"),
        actor=Actor.system("audit.retention", None),
        event=Event.AUDIT_PARTITION_EXPIRED,
        target=ObjectFacts(type="audit_month", id=month),
        workspace_id=None,
        detail=facts,
    )
    with databases.login("retention") as job:
        job.execute(*storing([words]))


def test_what_was_told_of_a_month_outlives_the_month_in_which_it_was_told(as_role, monkeypatch):
    """Seven years after a month left, the event that tells of it leaves too."""
    old_events(monkeypatch, MARCH.replace(year=2011), workspace_id=OURS)
    old_events(
        monkeypatch, APRIL, workspace_id=None, count=1, process="retention", event=Event.AUDIT_PARTITION_EXPIRED,
        type="audit_month", id="event_2011_03", detail={"logs": [{"log": ORIGIN, "events": 3, "runs": [[0, 2]]}]},
    )  # fmt: skip
    with databases.admin() as owner:
        owner.execute("DROP TABLE audit.event_2011_03, audit.detail_2011_03")
    assert verify().is_good
    assert expire(as_role, "event_2018_04") == 1
    sealing.seal()
    assert not sealing.rows("SELECT FROM audit.event WHERE object_id = 'event_2011_03'")
    report = verify()
    assert report.is_good, report
    assert sum(log.expired for log in report.logs) == 4
    sealing.tamper(
        "UPDATE audit.carried_detail SET body = replace(convert_from(body, 'UTF8'), '[[0,2]]', '[[0,9]]')::bytea"
    )
    assert missing(verify()) == [(ORIGIN, index) for index in range(3)]


def test_a_young_month_that_the_job_was_made_to_let_go_is_missing(as_role, monkeypatch):
    """It lets go what Postgres calls a month of seven years ago: under its name, or under another one."""
    now = datetime.now(UTC)
    young = now.replace(year=now.year - 3, day=14)
    made = old_events(monkeypatch, young, workspace_id=OURS)
    name = f"{young:%Y_%m}"
    with databases.admin() as owner:
        ((genuine,),) = owner.execute("SELECT pg_get_functiondef('audit.expire_partition'::regproc)").fetchall()
        owner.execute(genuine.replace("interval '7 years' THEN", "interval '1 year' THEN"))
        try:
            assert expire(as_role, f"event_{name}") == 3
            sealing.seal()
            assert missing(verify()) == [(ORIGIN, index) for index in range(3)]
            old_events(monkeypatch, young.replace(year=young.year + 1), workspace_id=OURS)
            for kind in ("event", "detail"):
                owner.execute(f"ALTER TABLE audit.{kind}_{young.year + 1}_{young:%m} RENAME TO {kind}_2018_03")
            assert expire(as_role, "event_2018_03") == 3
        finally:
            owner.execute(genuine)
    sealing.seal()
    for event_id in leaves_of(OURS)[3:6]:
        disguised = UUID(int=(uuid7_floor(MARCH).int >> 80 << 80) | event_id.int & (1 << 80) - 1)
        sealing.tamper("UPDATE audit.leaf SET event_id = %s WHERE event_id = %s", disguised, event_id)
    assert missing(verify()) == [(ORIGIN, index) for index in range(6)]
    assert len(made) == 3


def test_what_ran_is_compared_whatever_the_table_of_expired_months_says(workspace):
    """Nobody signed that table: a month there that never left would let any row of a run pass as too old."""
    run = make_running_run(workspace.pk)
    sealing.tamper("INSERT INTO audit.expired (month, ends, events) VALUES ('event_2099_01', '2099-02-01', 1)")
    runs = [table for table in governed_tables() if table.name == "workflows_run"]
    with databases.admin() as owner:
        report = reconcile(owner, sealing.all_keys(), tables=runs)
    assert [(found.row.id, found.problem) for _table, found in report.findings] == [
        (str(run.id), "no signed event is about it: it was added")
    ]
