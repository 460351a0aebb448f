"""The drive loop: each transition once, by whoever holds the newest fence."""

import json
import threading
import time

import pytest
from django.db import connection

from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import uuid7
from tests.waiting import wait_until
from tests.workflows.driving import drive, fresh, published, token_of
from tests.workflows.samples import ADDING
from workflows import doorbell, engine, leases, selectors, services, sql, sweep, tasks
from workflows.models import Step, Token
from workflows.steps import transform

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def rung(monkeypatch):
    """The doorbells that were rung; none reaches a broker."""
    bells: list[tuple] = []
    monkeypatch.setattr(doorbell, "ring", lambda *bell: bells.append(bell) or True)
    return bells


@pytest.fixture
def run(editor):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        return services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})


def test_a_run_goes_from_step_to_step_to_its_end(run, editor, as_role, events):
    assert drive(run, as_role) is None
    done = fresh(run)
    assert done.status == "succeeded"
    with enter(run.workspace_id):
        detail = selectors.run_detail(editor, run.pk)
        assert detail.output == "small 9"
        assert [(step.name, step.status) for step in detail.steps] == [
            ("sum", "succeeded"),
            ("large", "succeeded"),
            ("shout", "pending"),
            ("whisper", "succeeded"),
        ]
        assert detail.milliseconds is not None
        said = [event.action for event in events() if event.run_id == run.pk]
    assert said == [
        "run.queued",
        "run.started",
        *["run.step_started", "run.step_completed"] * 3,
        "run.succeeded",
    ]


def test_every_event_of_a_run_says_where_it_happened(run, as_role, events):
    drive(run, as_role)
    with enter(run.workspace_id):
        for event in events(Event.RUN_STEP_COMPLETED):
            context = json.loads(event.body)["context"]
            assert context["run_id"] == str(run.pk)
            assert context["workflow_version"] == str(run.version_id)
            assert context["step"] in {"sum", "large", "whisper"}


def test_a_doorbell_that_rings_a_hundred_times_at_once_is_answered_once(run, as_role, events):
    """Duplicates are ordinary: the claim is one row update (runs.md 5.2)."""
    token = token_of(run)
    errors: list[Exception] = []

    def answer():
        try:
            tasks.drive(str(run.workspace_id), str(token.pk), token.dispatch_no)
        except Exception as error:  # noqa: BLE001  shown by the assertion
            errors.append(error)
        finally:
            connection.close()

    with as_role("worker"):
        for _ in range(5):
            threads = [threading.Thread(target=answer) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=120)
    assert not errors
    assert fresh(run).status == "succeeded"
    with enter(run.workspace_id):
        assert len(events(Event.RUN_STARTED)) == 1
        assert Step.objects.filter(run_id=run.pk).count() == 3


@pytest.mark.parametrize("number", [0, 2, 99, -1])
def test_a_stale_or_forged_number_claims_nothing(run, as_role, number):
    assert drive(run, as_role, dispatch_no=number) is None
    assert fresh(run).status == "queued"


def test_a_forged_doorbell_claims_nothing(run, as_role, other_workspace):
    """T17: what stands in Redis carries no authority."""
    token = token_of(run)
    with as_role("worker"):
        tasks.drive(str(run.workspace_id), str(uuid7()), 1)
        tasks.drive(str(other_workspace.id), str(token.pk), 1)
        tasks.drive("'; DROP TABLE workflows_run; --", "x", 1)
        tasks.drive(None, [], {})
    assert fresh(run).status == "queued"


def test_a_doorbell_of_a_run_that_is_over_does_nothing(run, as_role):
    token = token_of(run)
    drive(run, as_role)
    before = token_of(run).fence
    drive(run, as_role, dispatch_no=token.dispatch_no)
    assert (fresh(run).status, token_of(run).fence) == ("succeeded", before)


def lose_lease(run, *, crash_claims=0):
    """Make the token's lease run out, as it does when a worker dies."""
    with enter(run.workspace_id):
        Token.objects.filter(run_id=run.pk).update(
            state="leased", lease_until="2020-01-01T00:00Z", wake_at="2020-01-01T00:00Z", crash_claims=crash_claims
        )


def test_a_run_whose_worker_died_is_taken_over(run, as_role):
    with as_role("worker"):
        lose_lease(run)
        sweep.revive(run.workspace_id, token_of(run).pk)
        wait_until(lambda: fresh(run).status == "succeeded")
    assert token_of(run).crash_claims in {0, 1}


def test_a_step_that_kills_its_workers_is_not_tried_for_ever(run, as_role, events):
    with as_role("worker"):
        lose_lease(run, crash_claims=2)
    drive(run, as_role)
    failed = fresh(run)
    assert (failed.status, failed.failure_code) == ("failed", "poison")
    assert token_of(run).state == "quarantined"
    with enter(run.workspace_id):
        assert len(events(Event.RUN_FAILED)) == 1


def test_a_worker_that_was_fenced_out_writes_nothing_more(run, as_role, monkeypatch, events):
    """A paused worker that wakes up after its lease has lost: somebody else goes on (T04)."""
    taken: list[int] = []

    def overtaken(work, step):
        if not taken:
            with enter(run.workspace_id):
                Token.objects.filter(run_id=run.pk).update(
                    state="ready", lease_until=None, owner="", dispatch_no=7, wake_at=None
                )
            taken.append(1)
        return transform.run(work, step)

    monkeypatch.setitem(engine.RUNNERS, "transform", overtaken)
    assert drive(run, as_role) is None
    assert fresh(run).status == "running"
    with enter(run.workspace_id):
        assert [step.status for step in Step.objects.filter(run_id=run.pk)] == ["running"]
        assert not events(Event.RUN_STEP_COMPLETED)
    drive(run, as_role, dispatch_no=7)
    assert fresh(run).status == "succeeded"


def test_an_expression_that_fails_on_the_data_fails_the_run_with_a_reason(editor, as_role):
    with enter(editor.workspace_id):
        published(editor, ADDING.replace("input.first + input.second", "input.first / input.second"), "adding")
        run = services.start_run(actor=editor, workflow_slug="adding", input={"first": 1, "second": 0})
    drive(run, as_role)
    failed = fresh(run)
    assert (failed.status, failed.failure_code) == ("failed", "definition_error")
    assert "division by zero" in failed.failure_reason


def test_a_fault_of_the_engine_ends_the_run_and_not_the_worker(run, as_role, monkeypatch):
    def broken(_work, _step):
        raise RuntimeError("boom: secret details")

    monkeypatch.setitem(engine.RUNNERS, "transform", broken)
    drive(run, as_role)
    failed = fresh(run)
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert "secret details" not in failed.failure_reason


def test_a_worker_that_is_stopped_gives_its_token_back(run, as_role, monkeypatch):
    engine.stopping.set()
    try:
        following = drive(run, as_role)
    finally:
        engine.stopping.clear()
    assert following == 2
    assert token_of(run).state == "ready"
    drive(run, as_role, dispatch_no=following)
    assert fresh(run).status == "succeeded"


def test_the_heartbeat_renews_what_is_held_and_tells_what_is_lost(run, as_role):
    token = token_of(run)
    with as_role("worker"):
        with enter(run.workspace_id):
            claim = sql.claim(token.pk, token.dispatch_no, leases.OWNER)
        lease = leases.Lease(run.workspace_id, token.pk, run.pk, claim.scope_id, claim.fence)
        beat = leases.Heartbeat(leases.OWNER)
        with beat.keeping(lease):
            lease.renewed_at = time.monotonic() - 100
            with pytest.raises(leases.NoContact):
                lease.demand_contact()
            beat.beat()
            lease.demand_contact()
            with enter(run.workspace_id):
                Token.objects.filter(pk=token.pk).update(fence=99)
            beat.beat()
        assert lease.lost.is_set()
        with pytest.raises(sql.FencedOut):
            lease.demand_contact()


def test_a_run_that_passes_its_deadline_fails(run, as_role, events):
    from workflows.models import Timer

    with as_role("worker"):
        with enter(run.workspace_id):
            timer = Timer.objects.get(run_id=run.pk)
        sweep.fire(run.workspace_id, timer.pk)
        sweep.fire(run.workspace_id, timer.pk)
    failed = fresh(run)
    assert (failed.status, failed.failure_code) == ("failed", "deadline")
    with enter(run.workspace_id):
        assert len(events(Event.RUN_FAILED)) == 1


def test_the_sweeper_drives_what_nobody_rang_for(run, as_role):
    with as_role("worker"):
        with enter(run.workspace_id):
            Token.objects.filter(run_id=run.pk).update(wake_at="2020-01-01T00:00Z")
        sweep.sweep_once()
        wait_until(lambda: fresh(run).status == "succeeded")


def test_one_worker_leads_and_another_takes_over_when_it_falls_silent(workspace, as_role, monkeypatch):
    with as_role("worker"):
        assert sweep.lead()
        assert sweep.lead()
        monkeypatch.setattr(sweep, "OWNER", "another worker")
        assert not sweep.lead()
        monkeypatch.setattr(sweep, "LEADER_SECONDS", 0)
        monkeypatch.setattr(sweep, "OWNER", leases.OWNER)
        assert sweep.lead()
        monkeypatch.setattr(sweep, "OWNER", "another worker")
        wait_until(sweep.lead)
