"""Whether the log is sealed shows on pages and probes; a stall, and a wall that is down, are told (audit.md 4.1)."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client

from audit.condition import Condition, condition
from audit.envelope import storing
from audit.taxonomy import Event
from audit.watch import STALLED_AFTER, TOLD_EVERY, Watch
from provenance import catalog
from provenance.actor import Actor
from provenance.db import database_now
from provenance.ids import uuid7_floor
from tests import databases, factories
from tests.attacks.log import told_by
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE
from tests.audit.telling import tell
from tests.browsing import browser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]


@contextmanager
def leading(settings):
    """As the worker that leads: its role and its key."""
    before, settings.AUDIT_SIGNS_AS = databases.become("prov_worker"), "worker"
    try:
        yield
    finally:
        databases.become(before)
        settings.AUDIT_SIGNS_AS = "web"


def told(event):
    with transaction.atomic():
        return factories.instance_events(event)


def note(subject, problem):
    sealing.rows(
        "INSERT INTO audit.status (subject, place, problem) VALUES (%s, '/some/where', %s) RETURNING 1",
        subject,
        problem,
    )


def nobody_seals_for(minutes):
    sealing.rows(
        "UPDATE audit.sealer SET lease_until = clock_timestamp() - make_interval(mins => %s) RETURNING 1", minutes
    )


def test_before_the_first_sealer_nothing_is_wrong():
    tell(WORKSPACE)
    assert condition().warnings == []


def test_the_event_that_waits_longest_is_known_until_it_is_sealed():
    first, _second = tell(WORKSPACE, 2)
    assert condition().waiting == first
    sealing.seal()
    assert condition().waiting is None
    (later,) = tell(WORKSPACE)
    assert condition().waiting == later


def test_an_event_of_a_transaction_that_was_open_while_others_were_sealed_is_waited_for():
    with databases.login("worker") as late:
        late.execute("BEGIN")
        late.execute(f"SET LOCAL app.workspace_id = '{WORKSPACE}'")
        signed = told_by("worker", Actor.system("tests", WORKSPACE), Event.RUN_STARTED)
        late.execute(*storing([signed]))
        tell(WORKSPACE)
        sealing.seal()
        assert condition().waiting is None
        late.execute("COMMIT")
    assert condition().waiting == signed.id


def test_without_a_sealer_it_says_so():
    tell(WORKSPACE)
    sealing.seal()
    assert condition().warnings == []
    nobody_seals_for(2)
    assert "No sealer has been at work since" in condition().warnings[0]
    answer = Client().get("/readyz")
    assert answer.status_code == 200, "events are signed and kept, so pages stay"
    assert answer.json()["status"] == "degraded"
    assert "No sealer has been at work" in answer.json()["warnings"][0]


def test_that_no_worker_watches_any_more_shows(settings):
    """Nobody else tells that sealing stopped or a wall is down, and a worker that ended tells nothing."""
    tell(WORKSPACE)
    sealing.seal()
    assert condition().warnings == [], "before the first worker nothing is wrong"
    with leading(settings):
        Watch()(database_now())
    sealing.seal()
    assert condition().warnings == []
    sealing.rows("UPDATE audit.status SET at = at - interval '2 minutes' WHERE subject = 'watch' RETURNING 1")
    assert "No worker has looked after the log since" in condition().warnings[0]
    answer = Client().get("/readyz").json()
    assert (answer["status"], answer["warnings"]) == ("degraded", condition().brief)
    with sealing.sealer() as another:
        another.lead()
    assert condition().warnings, "a sealer that starts forgets nothing of it"
    with leading(settings):
        Watch()(database_now())
    assert condition().warnings == []


@contextmanager
def unreadable(table):
    """As a page of it that a disk or somebody with the files of the database made so."""
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE {table} RENAME TO out_of_reach")
    try:
        yield
    finally:
        with databases.admin() as owner:
            owner.execute(f"ALTER TABLE audit.out_of_reach RENAME TO {table.removeprefix('audit.')}")


@pytest.mark.parametrize("table", ["audit.leaf", "audit.sealer", "audit.checkpoint"])
def test_that_it_cannot_be_read_shows_and_is_told(table, settings):
    tell(WORKSPACE)
    sealing.seal()
    with unreadable(table):
        assert "cannot be read in the database" in condition().warnings[0]
        with leading(settings):
            Watch().look_at_sealing(database_now())
    ((event, *_more),) = [told(Event.AUDIT_SEALING_STALLED)]
    assert event.outcome == "failure"
    assert condition().warnings == []


def test_a_sealer_that_holds_its_lease_and_seals_nothing_shows_on_the_probe_and_on_pages(monkeypatch):
    house = factories.make_workspace()
    auditor = factories.make_member(house, roles={"auditor"})
    sealing.seal()
    assert Client().get("/readyz").json() == {"status": "ready", "problems": [], "warnings": []}
    monkeypatch.setattr("audit.condition.STALLED", timedelta(0))
    tell(WORKSPACE)
    answer = Client().get("/readyz").json()
    assert answer["status"] == "degraded"
    assert "An event has waited for the sealer since" in answer["warnings"][0]
    assert "An event has waited for the sealer" in browser(auditor).get(f"/w/{house.slug}/audit/").content.decode()
    with sealing.sealer() as one:
        one.lead()
        one.seal()
        assert "waited for their signature" in Client().get("/readyz").json()["warnings"][0]
        one.publish()
    assert Client().get("/readyz").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("waits", "published", "unsigned", "says"),
    [
        (59, None, None, ""),
        (61, None, None, "An event has waited"),
        (61, 61, None, "An event has waited"),
        (61, 59, None, ""),
        (299, 1, None, ""),
        (301, 1, None, "An event has waited"),
        (None, 3600, None, ""),
        (None, 1, 59, ""),
        (None, 1, 61, "Checkpoints have waited for their signature"),
    ],
)
def test_what_has_waited_for_a_minute_while_nothing_was_published_is_a_stall(waits, published, unsigned, says):
    """An event's id is older than its commit: of a log that goes on, only five minutes are one."""
    now = database_now()

    def ago(seconds):
        return None if seconds is None else now - timedelta(seconds=seconds)

    found = Condition(
        now=now, leased_until=now, waiting=waits and uuid7_floor(ago(waits)), sealer=None, places=(),
        sealed_at=ago(published), unsigned_since=ago(unsigned),
    )  # fmt: skip
    assert found.lag.startswith(says)
    assert bool(found.lag) == bool(says)


def test_a_refusal_shows_in_full_on_pages_and_in_short_on_the_probe():
    house = factories.make_workspace()
    auditor, approver = (
        factories.make_member(house, roles={"auditor"}),
        factories.make_member(house, roles={"approver"}),
    )
    note("sealer", f"log.test/{house.id} has 3 entries, and 5 were published")
    note("directory", "/some/where takes no checkpoints")
    shown = browser(auditor).get(f"/w/{house.slug}/audit/").content.decode()
    assert "has 3 entries, and 5 were published" in shown
    assert "not kept by directory" in shown
    assert "5 were published" not in browser(approver).get(f"/w/{house.slug}/approvals/").content.decode()
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    said = " ".join(answer.json()["warnings"])
    assert "refused to go on" in said
    assert "not kept by directory" in said
    assert str(house.id) not in said
    assert "/some/where" not in said


class TestWatch:
    def test_a_stall_is_told_once_an_hour(self, settings):
        (waiting,) = tell(WORKSPACE)
        watch, now = Watch(), database_now()
        with leading(settings):
            watch.look_at_sealing(now)
            assert not told(Event.AUDIT_SEALING_STALLED), "it may have been committed just now"
            watch.look_at_sealing(now + STALLED_AFTER)
            watch.look_at_sealing(now + STALLED_AFTER * 2)
            (event,) = told(Event.AUDIT_SEALING_STALLED)
            watch.look_at_sealing(now + STALLED_AFTER + TOLD_EVERY)
            assert len(told(Event.AUDIT_SEALING_STALLED)) == 2
        assert event.kid == "worker-1"
        assert event.outcome == "failure"
        facts = sealing.rows("SELECT convert_from(body, 'UTF8') FROM audit.detail WHERE event_id = %s", event.pk)
        assert str(waiting) in facts[0][0]

    def test_a_log_that_goes_on_is_no_stall(self, settings):
        watch, now = Watch(), database_now()
        with leading(settings):
            for number in range(4):
                databases.become("prov_web")
                settings.AUDIT_SIGNS_AS = "web"
                tell(WORKSPACE)
                databases.become("prov_worker")
                settings.AUDIT_SIGNS_AS = "worker"
                watch.look_at_sealing(now + number * STALLED_AFTER)
                sealing.seal()
            assert not told(Event.AUDIT_SEALING_STALLED)

    def test_a_wall_that_is_down_is_told(self, settings):
        watch, now = Watch(), database_now()
        with leading(settings):
            watch(now)
            assert not told(Event.AUDIT_GUARD_MISSING)
            with databases.admin() as owner:
                owner.execute("ALTER TABLE workflows_run DISABLE TRIGGER audit_coverage")
                try:
                    watch(now + timedelta(minutes=30))
                    assert not told(Event.AUDIT_GUARD_MISSING), "it looks once an hour"
                    watch(now + timedelta(hours=1))
                finally:
                    owner.execute("ALTER TABLE workflows_run ENABLE ALWAYS TRIGGER audit_coverage")
            (event,) = told(Event.AUDIT_GUARD_MISSING)
            assert event.risk == "critical"
            assert len(told(Event.AUDIT_GUARD_CHECKED)) == 1, "the first look, and not the one that found it"

    def test_that_every_wall_stands_is_told_once_an_hour_with_how_many_were_compared(self, settings):
        watch, now = Watch(), database_now()
        with leading(settings):
            watch(now)
            watch(now + timedelta(minutes=59))
            (event,) = told(Event.AUDIT_GUARD_CHECKED)
            assert (event.risk, event.outcome, event.kid) == ("low", "success", "worker-1")
            assert (event.actor_type, event.actor_id, event.workspace_id) == ("system", "audit.watch", None)
            facts = sealing.rows(
                "SELECT convert_from(body, 'UTF8')::jsonb -> 'walls' FROM audit.detail WHERE event_id = %s", event.pk
            )
            assert facts == [(len(catalog.found()),)]
            watch(now + timedelta(hours=1))
            assert len(told(Event.AUDIT_GUARD_CHECKED)) == 2

    def test_a_look_that_could_not_be_finished_is_not_told_as_one_that_found_every_wall(self, settings):
        with databases.admin() as owner:
            owner.execute("REVOKE SELECT ON public.django_migrations FROM prov_worker")
            try:
                with leading(settings):
                    Watch()(database_now())
            finally:
                owner.execute("GRANT SELECT ON public.django_migrations TO prov_worker")
        assert not told(Event.AUDIT_GUARD_CHECKED)
        assert told(Event.AUDIT_GUARD_MISSING)


def test_a_worker_writes_nothing_else_into_the_log_of_the_instance(settings):
    import psycopg

    actor = Actor.system("tests", None)
    for event, refused in ((Event.AUDIT_SEALING_STALLED, False), (Event.AUDIT_EXPORTED, True)):
        with databases.login("worker") as worker:
            statement = storing([told_by("worker", actor, event)])
            if refused:
                with pytest.raises(psycopg.Error, match="tells no such thing to the log of the instance"):
                    worker.execute(*statement)
            else:
                worker.execute(*statement)
