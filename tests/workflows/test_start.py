"""Starting a run: once for each key, with a checked input, and with everything it needs in one commit."""

import json
import threading

import pytest
from django.db import connection

from audit.taxonomy import Event
from provenance.api import IdempotencyMismatch
from provenance.db import enter, scope
from provenance.errors import NotFound, PermissionDenied
from tests.workflows.driving import published
from tests.workflows.samples import ADDING
from workflows import doorbell, services
from workflows.models import Budget, Run, RunManifest, Scope, Timer, Token

INPUT = {"first": 4, "second": 5}


@pytest.fixture
def rung(monkeypatch):
    """The doorbells that were rung."""
    bells: list[tuple] = []
    monkeypatch.setattr(doorbell, "ring", lambda *bell: bells.append(bell) or True)
    return bells


@pytest.mark.django_db
def test_a_start_makes_run_manifest_token_and_event(editor, events, django_capture_on_commit_callbacks, rung):
    published(editor, ADDING, "adding")
    with django_capture_on_commit_callbacks(execute=True):
        run = services.start_run(actor=editor, workflow_slug="adding", input=INPUT)
    assert (run.status, run.started_by_id, run.on_behalf_of) == ("queued", editor.id, editor.id)
    token = Token.objects.get(run=run)
    assert (token.node_key, token.state, token.dispatch_no) == ("sum", "ready", 1)
    assert RunManifest.objects.get(run=run).content["engine"] == 1
    assert {model.objects.filter(run=run).count() for model in (Scope, Timer, Budget)} == {1}
    (event,) = events(Event.RUN_QUEUED)
    assert json.loads(event.body)["context"]["run_id"] == str(run.pk)
    assert rung == [(run.workspace_id, token.pk, 1)]


@pytest.mark.django_db
def test_the_same_key_with_the_same_request_gives_the_same_run(editor, events):
    published(editor, ADDING, "adding")
    first = services.start_run_once(actor=editor, workflow_slug="adding", input=INPUT, idempotency_key="k-1")
    again = services.start_run_once(
        actor=editor, workflow_slug="adding", input=dict(reversed(INPUT.items())), idempotency_key="k-1"
    )
    assert (first.is_repeat, again.is_repeat) == (False, True)
    assert first.run.pk == again.run.pk
    assert len(events(Event.RUN_QUEUED)) == 1


@pytest.mark.django_db
def test_the_same_key_with_another_request_is_refused(editor):
    published(editor, ADDING, "adding")
    services.start_run(actor=editor, workflow_slug="adding", input=INPUT, idempotency_key="k-1")
    with pytest.raises(IdempotencyMismatch):
        services.start_run(actor=editor, workflow_slug="adding", input={"first": 1, "second": 1}, idempotency_key="k-1")
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_a_key_belongs_to_who_used_it(editor, admin):
    published(editor, ADDING, "adding")
    mine = services.start_run(actor=editor, workflow_slug="adding", input=INPUT, idempotency_key="k-1")
    theirs = services.start_run(actor=admin, workflow_slug="adding", input=INPUT, idempotency_key="k-1")
    assert mine.pk != theirs.pk


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"first": 4}, "second"),
        ({"first": "4", "second": 5}, "first"),
        ({"first": 4, "second": 5, "third": 6}, ""),
        ([1], ""),
        (None, ""),
    ],
)
def test_an_input_that_does_not_fit_starts_nothing(editor, given, path):
    published(editor, ADDING, "adding")
    with pytest.raises(services.InputRefused) as refused:
        services.start_run(actor=editor, workflow_slug="adding", input=given)
    assert refused.value.data["errors"][0]["path"] == path
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_what_is_not_published_or_not_there_does_not_start(editor):
    with pytest.raises(NotFound):
        services.start_run(actor=editor, workflow_slug="adding", input=INPUT)
    services.save_draft(actor=editor, slug="adding", source=ADDING)
    with pytest.raises(services.NotPublished):
        services.start_run(actor=editor, workflow_slug="adding", input=INPUT)


@pytest.mark.django_db
def test_starting_needs_the_permission(editor, viewer, approver, stranger, other_workspace):
    published(editor, ADDING, "adding")
    for actor in (viewer, approver):
        with pytest.raises(PermissionDenied):
            services.start_run(actor=actor, workflow_slug="adding", input=INPUT)
    with scope(other_workspace.id), pytest.raises(NotFound):
        services.start_run(actor=stranger, workflow_slug="adding", input=INPUT)


@pytest.mark.django_db(transaction=True)
def test_two_requests_with_one_key_at_the_same_time_start_one_run(editor, rung):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
    barrier, made, failed = threading.Barrier(4), [], []

    def start():
        try:
            with scope(editor.workspace_id):
                barrier.wait(timeout=60)
                made.append(
                    services.start_run(actor=editor, workflow_slug="adding", input=INPUT, idempotency_key="one").pk
                )
        except Exception as error:  # noqa: BLE001  shown by the assertion
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failed
    assert len(made) == 4
    assert len(set(made)) == 1
    assert len(rung) == 1


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_does_not_keep_a_run_from_being_queued(editor, settings, monkeypatch):
    """T17: the doorbell is a convenience; the sweeper finds the token."""
    from kombu.exceptions import OperationalError

    def refuse(*_args, **_options):
        raise OperationalError("no broker")

    monkeypatch.setattr("workflows.doorbell.current_app.send_task", refuse, raising=False)
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        run = services.start_run(actor=editor, workflow_slug="adding", input=INPUT)
    with enter(editor.workspace_id):
        assert Token.objects.get(run=run).wake_at is not None
