"""Somebody who has one process's database rights, or writes to Valkey, and wants a run to do something else."""

import pytest
from django.db import Error, connection

from provenance.db import enter
from provenance.ids import uuid7
from tests.workflows.driving import drive, fresh, published, token_of
from tests.workflows.samples import ADDING
from workflows import doorbell, services
from workflows.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)


@pytest.fixture
def run(editor):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        return services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})


def refused(workspace_id, statement, *parameters):
    """The database says no, at the statement or at COMMIT."""
    with pytest.raises(Error):
        attempt(workspace_id, statement, parameters)


def attempt(workspace_id, statement, parameters):
    with enter(workspace_id), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        assert cursor.rowcount, "the statement touched nothing, so nothing was tried"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workflows_run SET started_by_id = 'somebody else'",
        "UPDATE workflows_run SET on_behalf_of = ''",
        "UPDATE workflows_run SET input_ref = ''",
        "UPDATE workflows_run SET environment = 'development'",
        "UPDATE workflows_run SET status = 'succeeded', finished_at = now()",
        "UPDATE workflows_run SET status = 'running'",
        "DELETE FROM workflows_run",
        "DELETE FROM workflows_step",
        "UPDATE workflows_runmanifest SET content = '{}'",
        "DELETE FROM workflows_runmanifest",
        "UPDATE workflows_workflowversion SET definition = '{}'",
        "UPDATE workflows_workflowalias SET version_id = gen_random_uuid()",
        "UPDATE workflows_token SET state = 'done'",
        'UPDATE workflows_budget SET "limit" = 1000000000',
        "UPDATE workflows_timer SET fire_at = now() + interval '1 year'",
        "UPDATE workflows_step SET run_id = gen_random_uuid()",
        "UPDATE workflows_call SET run_id = gen_random_uuid()",
        "UPDATE workflows_call SET args_hash = ''",
        "TRUNCATE workflows_run",
    ],
)
def test_a_hijacked_worker_cannot_change_what_a_run_is(run, as_role, statement):
    """T01: it may move tokens and say how steps stand, each with its event; not who started what, or what it may use."""
    with as_role("worker"):
        refused(run.workspace_id, statement)
    assert fresh(run).status == "queued"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workflows_token SET fence = 99",
        "UPDATE workflows_token SET node_key = 'shout'",
        "UPDATE workflows_run SET failure_code = 'poison'",
        "UPDATE workflows_run SET started_at = now()",
        "UPDATE workflows_runmanifest SET content = '{}'",
        "UPDATE workflows_workflowversion SET definition = '{}'",
        "INSERT INTO workflows_call (id) VALUES (gen_random_uuid())",
        "INSERT INTO workflows_message (id) VALUES (gen_random_uuid())",
        "UPDATE workflows_budget SET spent = 0",
    ],
)
def test_a_hijacked_web_process_cannot_drive(run, statement):
    refused(run.workspace_id, statement)


def test_the_gateway_reads_runs_and_changes_none(run, as_role):
    with as_role("gateway"):
        with enter(run.workspace_id):
            assert Run.objects.filter(pk=run.pk).values_list("status", flat=True).first() == "queued"
        for table in ("run", "token", "step", "call", "workflowversion"):
            refused(run.workspace_id, f"UPDATE workflows_{table} SET id = id")


@pytest.mark.parametrize("column", ["failure_reason = 'x'", "status = 'queued'", "waiting_on = '{approval}'"])
def test_a_run_that_has_ended_does_not_change_any_more(run, as_role, column):
    drive(run, as_role)
    with as_role("worker"):
        refused(run.workspace_id, f"UPDATE workflows_run SET {column}")


def test_a_status_that_cannot_follow_is_refused_by_the_database_too(run, as_role):
    drive(run, as_role)
    with as_role("worker"):
        refused(run.workspace_id, "UPDATE workflows_token SET state = 'ready'")


def test_another_tenants_run_cannot_be_referred_to(run, as_role, other_workspace):
    """T10: a step of one workspace hanging on a run of another."""
    with as_role("worker"):
        refused(
            other_workspace.id,
            "INSERT INTO workflows_timer (id, workspace_id, run_id, kind, fire_at) "
            "VALUES (%s, %s, %s, 'run_deadline', now())",
            uuid7(),
            other_workspace.id,
            run.pk,
        )


def test_another_tenants_rows_are_not_there(run, other_workspace):
    tables = "workflow workflowdraft workflowversion workflowalias run runmanifest scope token step timer budget"
    with enter(other_workspace.id), connection.cursor() as cursor:
        for table in [*tables.split(), "call", "message", "idempotencykey"]:
            cursor.execute(f"SELECT count(*) FROM workflows_{table}")
            assert cursor.fetchone() == (0,), table


def test_what_works_across_workspaces_gives_ids_only_and_only_to_workers(run):
    """T09: the few functions that see every workspace."""
    token = token_of(run)
    calls = {
        "due_tokens(1)",
        "tokens_ahead(1)",
        "answered_tokens(1)",
        "due_timers(1)",
        "lead('x', 'y', 1)",
        f"renew_leases('x', ARRAY['{token.pk}'::uuid], ARRAY[1::bigint])",
    }
    for call in sorted(calls):
        refused(run.workspace_id, f"SELECT * FROM workflows_{call}")
