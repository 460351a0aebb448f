"""A superuser lays hands on details of events, which no leaf holds: verification names the log and the index (T06, M114)."""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from audit.envelope import ObjectFacts, build
from audit.retention import services as retention
from audit.retention.classes import RetentionClass
from audit.taxonomy import Event
from audit.verifying.verification import Wanted
from provenance.actor import Actor, ActorKind
from provenance.db import enter
from provenance.ids import uuid7
from tests import databases, factories
from tests.attacks.log import send, told_by
from tests.audit import sealing
from tests.audit.old_months import LONG_AGO, expire, old_events, sweep
from tests.audit.verifying import verify
from workspaces import erasure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("drop_months")]

NOW = datetime.now(UTC)


@pytest.fixture
def place(transactional_db):
    """A workspace with people, sealed."""
    made = factories.make_workspace()
    with enter(made.id):
        made.admin = factories.make_member(made, roles={"admin"})
        made.second = factories.make_member(made, roles={"admin"})
    sealing.seal()
    return made


def found(report):
    """Log, index, event and words of what is wrong with details."""
    return [
        (log.origin, flaw.index, flaw.event, flaw.problem)
        for log in report.logs
        for flaw in log.flaws
        if flaw.kind == "detail"
    ]


def index_of(event_id):
    ((index,),) = sealing.rows("SELECT idx FROM audit.leaf WHERE event_id = %s", event_id)
    return index


ALTERED = [
    ("body = 'another story'::bytea", "its detail is not the one that was signed"),
    ("salt = sha256('x')", "its detail is not the one that was signed"),
    ("body = body || ' '::bytea", "its detail is not the one that was signed"),
    ("media_type = 'text/html'", "the media type of its detail was changed"),
    ("retention_class = 'access'", "the retention class of its detail was changed"),
    ("workspace_id = '{other}'", "its detail is stored for another workspace"),
    ("workspace_id = NULL", "its detail is stored for another workspace"),
    ("salt = NULL, body = NULL, erased_at = now()", "its detail was erased, and no signed event tells of it"),
]


@pytest.mark.parametrize(("change", "words"), ALTERED, ids=[change for change, _words in ALTERED])
def test_a_detail_that_a_superuser_altered_is_found_at_its_index(place, monkeypatch, change, words):
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    report = verify()
    assert report.is_good, report
    log = next(log for log in report.logs if log.origin == f"{sealing.ORIGIN}/{place.id}")
    assert log.details >= 3
    sealing.tamper(f"UPDATE audit.detail SET {change.format(other=uuid7())} WHERE event_id = %s", made[1].id)
    assert found(verify()) == [(log.origin, index_of(made[1].id), str(made[1].id), words)]


def test_a_detail_that_was_taken_away_or_put_to_another_event_is_found(place, monkeypatch):
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    nameless = Actor(kind=ActorKind.SYSTEM, id="tests", label="", workspace_id=place.id)
    bare = told_by("worker", nameless, Event.RUN_STARTED)
    send(bare)
    origin = f"{sealing.ORIGIN}/{place.id}"
    sealing.tamper("DELETE FROM audit.detail WHERE event_id = %s", made[0].id)
    sealing.tamper("UPDATE audit.detail SET event_id = %s WHERE event_id = %s", bare.id, made[1].id)
    assert found(verify()) == [
        (origin, index_of(made[0].id), str(made[0].id), "its detail is missing"),
        (origin, index_of(made[1].id), str(made[1].id), "its detail is missing"),
        (origin, index_of(bare.id), str(bare.id), "it has a detail, and was signed without one"),
    ]
    nobody = uuid7()
    sealing.tamper("UPDATE audit.detail SET event_id = %s WHERE event_id = %s", nobody, bare.id)
    assert f"The detail of {nobody} (workspace {place.id}) is of no event" in verify().problems


UNBOUND = [
    ("salt = salt || ''::bytea || 'x'", "its detail is not the one that was signed"),
    ("salt = substr(salt, 1, 31)", "its detail is not the one that was signed"),
    ("erased_at = now()", "its detail is not the one that was signed"),
    ("body = NULL", "its detail was erased, and no signed event tells of it"),
    ("salt = NULL, body = NULL, erased_at = 'infinity'", "its detail was erased, and no signed event tells of it"),
    ("salt = NULL, body = NULL, erased_at = '0044-03-15 BC'", "its detail was erased, and no signed event tells of it"),
    ("media_type = NULL", "the media type of its detail was changed"),
]


@contextmanager
def without_constraints(table):
    """The administrator takes what the table promises away, and puts it back."""
    with databases.admin() as owner:
        names = [name for (name,) in owner.execute(_CHECKS, [table]).fetchall()]
        kept = [(name, owner.execute(_DEFINITION, [table, name]).fetchone()[0]) for name in names]
        for name in names:
            owner.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE")
        if "detail" in table:
            owner.execute(f"ALTER TABLE {table} ALTER media_type DROP NOT NULL")
        try:
            yield
        finally:
            databases.empty_all_tables()
            if "detail" in table:
                owner.execute(f"ALTER TABLE {table} ALTER media_type SET NOT NULL")
            for name, definition in kept:
                owner.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


_CHECKS = "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'p')"
_DEFINITION = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND conname = %s"


@pytest.mark.parametrize(("change", "words"), UNBOUND, ids=[change for change, _words in UNBOUND])
def test_what_constraints_would_have_refused_is_found_when_they_are_gone(place, monkeypatch, change, words):
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    with without_constraints("audit.detail"):
        sealing.tamper(f"UPDATE audit.detail SET {change} WHERE event_id = %s", made[1].id)
        report = verify()
    assert [(event, said) for _log, _index, event, said in found(report)] == [(str(made[1].id), words)]


@pytest.mark.parametrize("change", ["body = 'another story'", "body = detail.body"])
def test_a_second_detail_beside_the_genuine_one_is_found(place, monkeypatch, change):
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    with without_constraints("audit.detail"):
        sealing.tamper(
            "WITH copied AS (SELECT * FROM audit.detail WHERE event_id = %s) INSERT INTO audit.detail SELECT event_id,"
            f" workspace_id, salt, {change.partition(' = ')[2].replace('detail.', '')}::bytea, media_type, retention_class FROM copied",
            made[1].id,
        )
        report = verify()
    assert [event for _log, _index, event, _said in found(report)] == [str(made[1].id)]


def test_a_second_event_of_one_id_is_found(place, monkeypatch):
    """With other columns than were signed, which is what searches look at."""
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    with without_constraints("audit.event"):
        for risk in ("risk", "'critical'"):
            sealing.tamper(
                "INSERT INTO audit.event SELECT id, xid, workspace_id, object_type, object_id, rev, op, changed, action,"
                f" actor_id, actor_type, outcome, {risk}, run_id, kid, mac, body FROM audit.event WHERE id = %s LIMIT 1",
                made[1].id,
            )
            report = verify()
            places = [(flaw.kind, flaw.event) for log in report.logs for flaw in log.flaws]
            assert ("event", str(made[1].id)) in places


def test_two_details_that_were_swapped_are_found_and_a_range_finds_them_too(place, monkeypatch):
    first, second, _third = old_events(monkeypatch, NOW, workspace_id=place.id)
    swapped = """
        UPDATE audit.detail SET salt = other.salt, body = other.body FROM audit.detail AS other
        WHERE detail.event_id = ANY (%s) AND other.event_id = ANY (%s) AND detail.event_id <> other.event_id
    """
    assert sealing.tamper(swapped, [first.id, second.id], [first.id, second.id]) == 2
    report = verify(wanted=Wanted(first=index_of(first.id)))
    assert [event for _log, _index, event, _words in found(report)] == [str(first.id), str(second.id)]


def test_what_was_erased_when_its_time_was_over_is_no_flaw_and_counted(place, as_role, monkeypatch):
    old_events(monkeypatch, NOW - timedelta(days=100), workspace_id=place.id, count=5)
    sweep(as_role)
    sealing.seal()
    report = verify()
    assert report.is_good, report
    assert sum(log.erased for log in report.logs) == 5


def test_a_person_who_was_erased_is_no_flaw_and_each_detail_that_went_is_named(place, monkeypatch):
    """Also when whoever erased them is erased later, with the details of all they did."""
    with enter(place.id):
        third = factories.make_member(place, roles={"admin"})
        erasure.erase_member(actor=place.second, user_id=UUID(place.admin.id), reason="They asked.")
        erasure.erase_member(actor=third, user_id=UUID(place.second.id), reason="They asked too.")
    sealing.seal()
    report = verify()
    assert report.is_good, report
    ((gone,),) = sealing.rows("SELECT count(*) FROM audit.detail WHERE erased_at IS NOT NULL")
    assert sum(log.erased for log in report.logs) == gone > 0


def test_what_was_erased_and_put_back_from_a_dump_is_found_where_it_was_erased(place, as_role, monkeypatch):
    made = old_events(monkeypatch, NOW - timedelta(days=100), workspace_id=place.id)
    sweep(as_role)
    sealing.seal()
    assert verify().is_good
    sealing.tamper(
        "UPDATE audit.detail SET salt = %s, body = %s, erased_at = NULL WHERE event_id = %s",
        *(made[1].detail.salt, made[1].detail.body, made[1].id),
    )
    ((telling,),) = sealing.rows("SELECT id FROM audit.event WHERE action = %s", Event.AUDIT_DETAIL_ERASED)
    words = f"1 details that it erased are there, the first {made[1].id}"
    assert found(verify()) == [(f"{sealing.ORIGIN}/{place.id}", index_of(telling), str(telling), words)]


def test_erasures_and_a_month_that_leaves_meanwhile_alarm_nobody(place, as_role, monkeypatch):
    """Verified again and again while details and a month go: what was read before is looked at once more."""
    old_events(monkeypatch, LONG_AGO, workspace_id=place.id, count=40, event=Event.MEMBER_ADDED)
    for days in (100, 101, 102):
        old_events(monkeypatch, NOW - timedelta(days=days), workspace_id=place.id, count=40)
    monkeypatch.setattr(retention, "BATCH", 15)
    stop, reports = threading.Event(), []

    def look():
        while not stop.is_set():
            reports.append(verify())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        sweep(as_role)
        expire(as_role)
        sealing.seal()
    finally:
        stop.set()
        thread.join()
    last = verify()
    assert sum(log.erased for log in last.logs) == 120
    assert sum(log.expired for log in last.logs) == 40
    assert all(report.is_good for report in [*reports, last]), [report for report in reports if not report.is_good]


def test_another_erasure_excuses_nothing_that_it_does_not_name(place, as_role, monkeypatch):
    """A superuser erases in the shadow of a genuine erasure, at its very moment."""
    due = old_events(monkeypatch, NOW - timedelta(days=100), workspace_id=place.id)
    young = old_events(monkeypatch, NOW - timedelta(days=80), workspace_id=place.id)
    sweep(as_role)
    sealing.seal()
    sealing.tamper(
        "UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = done.erased_at FROM audit.detail AS done"
        " WHERE detail.event_id = %s AND done.event_id = %s",
        *(young[1].id, due[0].id),
    )
    assert [(event, words) for _log, _index, event, words in found(verify())] == [
        (str(young[1].id), "its detail was erased, and no signed event tells of it")
    ]


def test_what_the_worker_was_made_to_erase_too_early_or_as_another_class_is_found(place, as_role, monkeypatch):
    """It asks Postgres what is due, and a superuser answers: its honest event says what it was made to do."""
    young = old_events(monkeypatch, NOW - timedelta(days=20), workspace_id=place.id)
    other = old_events(monkeypatch, NOW - timedelta(days=100), workspace_id=place.id, event=Event.MEMBER_ADDED, count=1)
    sealing.tamper("UPDATE audit.detail SET retention_class = 'prompts' WHERE event_id = %s", other[0].id)
    with databases.admin() as owner:
        ((genuine,),) = owner.execute("SELECT pg_get_functiondef('audit.kept_days'::regproc)").fetchall()
        owner.execute(_KEPT_FOR_A_DAY)
        try:
            with as_role("worker"), enter(place.id):
                assert retention.erase_due_batch(place.id, RetentionClass.PROMPTS) == 4
        finally:
            owner.execute(genuine)
    sealing.tamper("UPDATE audit.detail SET retention_class = 'diffs' WHERE event_id = %s", other[0].id)
    sealing.seal()
    words = {event: words for _log, _index, event, words in found(verify())}
    assert words[str(young[0].id)] == "its detail was erased before the 30 days of its class were over"
    assert words[str(other[0].id)] == "its detail was erased as one of prompts, which it is not"


def test_a_hijacked_worker_and_a_superuser_together_erase_nobody_in_silence(place, monkeypatch):
    """Only where people act is a person erased, so a worker's word that one was is none."""
    (made,) = old_events(monkeypatch, NOW, workspace_id=place.id, count=1)
    sealing.tamper("UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = now() WHERE event_id = %s", made.id)
    excuse = build(
        keys=sealing.all_keys("worker"),
        actor=Actor.system("erasures", place.id),
        event=Event.AUDIT_DETAIL_ERASED,
        target=ObjectFacts(type="person", id=str(uuid7())),
        workspace_id=place.id,
        detail={"count": 1, "events": [str(made.id)]},
    )
    send(excuse)
    assert [words for *_where, words in found(verify())] == ["worker-1 may not tell that a person is erased"]


def test_the_word_of_an_erasure_whose_own_detail_was_rewritten_counts_for_nothing(place, as_role, monkeypatch):
    due = old_events(monkeypatch, NOW - timedelta(days=100), workspace_id=place.id)
    young = old_events(monkeypatch, NOW - timedelta(days=80), workspace_id=place.id, count=1)
    sweep(as_role)
    sealing.seal()
    ((telling,),) = sealing.rows("SELECT id FROM audit.event WHERE action = %s", Event.AUDIT_DETAIL_ERASED)
    sealing.tamper(
        "UPDATE audit.detail SET body = replace(convert_from(body, 'UTF8'), %s, %s)::bytea WHERE event_id = %s",
        *(str(due[0].id), str(young[0].id), telling),
    )
    sealing.tamper(
        "UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = now() WHERE event_id = %s", young[0].id
    )
    assert {event for _log, _index, event, _words in found(verify())} == {
        *(str(event.id) for event in due), str(young[0].id), str(telling)
    }  # fmt: skip


@pytest.mark.parametrize("change", ["another body", "another path"])
def test_a_function_that_repeats_what_was_signed_is_found(place, monkeypatch, change):
    (made,) = old_events(monkeypatch, NOW, workspace_id=place.id, count=1)
    sealing.tamper("UPDATE audit.detail SET body = 'another story' WHERE event_id = %s", made.id)
    with databases.admin() as owner:
        ((genuine,),) = owner.execute("SELECT pg_get_functiondef('audit.detail_commitments'::regproc)").fetchall()
        owner.execute(_PARROT if change == "another body" else _PATH)
        try:
            report = verify()
        finally:
            owner.execute(genuine)
    assert bool(found(report)) == (change == "another path")
    assert (
        "The function audit.detail_commitments was changed: what it says of details proves nothing" in report.problems
    )


_PATH = "ALTER FUNCTION audit.detail_commitments(uuid[]) SET search_path = public, pg_catalog"
_KEPT_FOR_A_DAY = """
CREATE OR REPLACE FUNCTION audit.kept_days(of_workspace uuid, class text) RETURNS integer LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN 1; END'
"""
_PARROT = """
CREATE OR REPLACE FUNCTION audit.detail_commitments(ids uuid[]) RETURNS TABLE (event_id uuid, workspace_id uuid,
  commitment bytea, media_type text, retention_class text, erased_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT detail.event_id, detail.workspace_id, decode(event.body::jsonb ->> 'detail', 'hex'), detail.media_type,
    detail.retention_class, detail.erased_at
  FROM audit.detail JOIN audit.event ON event.id = detail.event_id WHERE detail.event_id = ANY (ids);
END $$
"""


@pytest.mark.parametrize("role", ["web", "gateway", "worker", "audit_read", "retention"])
@pytest.mark.parametrize("call", ["detail_commitments('{}')", "told_facts('{}')", "stray_details(1)"])
def test_nobody_but_the_sealer_asks(role, call):
    with databases.login(role) as one, pytest.raises(psycopg.Error, match="permission denied"):
        one.execute(f"SELECT * FROM audit.{call}")


def test_the_sealer_reads_no_detail_and_no_words_about_people(place, monkeypatch):
    made = old_events(monkeypatch, NOW, workspace_id=place.id)
    with databases.login("sealer") as one:
        with pytest.raises(psycopg.Error, match="permission denied"):
            one.execute("SELECT body FROM audit.detail")
        assert one.execute("SELECT * FROM audit.told_facts(%s)", [[event.id for event in made]]).fetchall() == []
        rows = one.execute("SELECT commitment FROM audit.detail_commitments(%s)", [[made[0].id]]).fetchall()
    assert rows == [(bytes.fromhex(made[0].detail.commitment()),)]
