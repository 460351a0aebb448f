"""Canceling a run: parked ones end at once, held ones when their worker lets go."""

import contextlib
import threading

import pytest
from django.db import connection

from audit.services import signing_as
from audit.taxonomy import Event
from provenance.db import enter, scope
from provenance.errors import NotFound, PermissionDenied
from tests.workflows.driving import drive, fresh, published, token_of
from tests.workflows.samples import ADDING
from workflows import doorbell, engine, leases, services
from workflows.models import Step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)


@pytest.fixture
def run(editor):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        return services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})


def cancel(actor, run, reason="no longer needed"):
    with scope(actor.workspace_id):
        return services.cancel_run(actor=actor, run_id=run.pk, reason=reason)


def test_a_queued_run_is_canceled_at_once(run, editor, as_role, events):
    assert cancel(editor, run).status == "canceled"
    assert token_of(run).state == "canceled"
    drive(run, as_role)
    assert fresh(run).status == "canceled"
    with enter(run.workspace_id):
        assert (len(events(Event.RUN_CANCELING)), len(events(Event.RUN_CANCELED))) == (1, 1)
        assert not events(Event.RUN_STARTED)


def test_canceling_twice_changes_nothing_and_over_is_over(run, editor, as_role):
    cancel(editor, run)
    with pytest.raises(services.RunIsOver):
        cancel(editor, run)


def test_a_run_that_has_ended_cannot_be_canceled(run, editor, as_role):
    drive(run, as_role)
    with pytest.raises(services.RunIsOver):
        cancel(editor, run)


def test_a_held_run_is_let_go_by_its_worker(run, editor, as_role, monkeypatch, events):
    """The heartbeat hears of the cancel while a step waits for something slow."""
    inside = threading.Event()

    def slow(work, _step):
        inside.set()
        return work.lease.wait_for(lambda: threading.Event().wait(600))

    monkeypatch.setitem(engine.RUNNERS, "transform", slow)
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    answered: list[object] = []

    def answer():
        token = token_of(run)
        answered.append(engine.drive(run.workspace_id, token.pk, token.dispatch_no))
        connection.close()

    with as_role("worker"):
        worker = threading.Thread(target=answer)
        worker.start()
        assert inside.wait(60)
    assert cancel(editor, run).status == "canceling"
    with as_role("worker"):
        leases.heartbeat.beat()
        connection.close()
        worker.join(timeout=60)
    assert not worker.is_alive()
    assert fresh(run).status == "canceled"
    with enter(run.workspace_id):
        assert [step.status for step in Step.objects.filter(run_id=run.pk)] == ["canceled"]


def test_a_cancel_that_races_with_the_end_has_one_winner(editor, as_role):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
    for _ in range(10):
        with enter(editor.workspace_id):
            run = services.start_run(actor=editor, workflow_slug="adding", input={"first": 1, "second": 1})
        token, signed_in, failed = token_of(run), threading.Event(), []

        def work(run=run, token=token, signed_in=signed_in, failed=failed):
            try:
                with signing_as("worker"):
                    connection.ensure_connection()
                    signed_in.set()
                    engine.drive(run.workspace_id, token.pk, token.dispatch_no)
            except Exception as error:  # noqa: BLE001  shown by the assertion
                failed.append(error)
            finally:
                connection.close()

        with as_role("worker"):
            worker = threading.Thread(target=work)
            worker.start()
            assert signed_in.wait(60)
        with contextlib.suppress(services.RunIsOver):
            cancel(editor, run)
        worker.join(timeout=60)
        assert not failed
        assert fresh(run).status in {"succeeded", "canceled"}


def test_canceling_needs_the_permission_and_the_workspace(run, viewer, approver, stranger, other_workspace):
    for actor in (viewer, approver):
        with pytest.raises(PermissionDenied):
            cancel(actor, run)
    with scope(other_workspace.id), pytest.raises(NotFound):
        services.cancel_run(actor=stranger, run_id=run.pk, reason="mine now")
    assert fresh(run).status == "queued"
