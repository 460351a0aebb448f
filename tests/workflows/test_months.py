"""What a run leaves behind lies in the run's month, and whoever works on the run looks in no other (decision 0010)."""

import re
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, transaction

from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import scope
from provenance.ids import uuid7
from tests import databases
from tests.browsing import browser
from tests.workflows.desk import calls, says
from workflows import services, transitions
from workflows.models import Call, Step

MONTHLY = ("workflows_step", "workflows_call", "workflows_message", "workflows_budgethold")
MONTH_OF = "SELECT tableoid::regclass::text FROM {} WHERE run_id = %s"

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def plans():
    """How Postgres goes about each statement on a table with months: `(statement, {table: the months it looks in})`."""
    seen = []

    def explain(execute, statement, parameters, many, context):
        if any(table in str(statement) for table in MONTHLY) and not str(statement).lstrip().startswith("INSERT"):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plan = "\n".join(str(line[0]) for line in cursor.fetchall())
            months = {table: set(re.findall(rf"\b{table}_\d{{4}}_\d\d", plan)) for table in MONTHLY}
            seen.append((str(statement), {table: found for table, found in months.items() if found}))
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(explain):
        yield seen


def test_who_works_on_a_run_looks_in_one_month(desk):
    """Every statement of a run with a model, a tool and its page, as it was sent; none of them is listed by hand."""
    desk.answers = [calls(text="hello"), says({"number": 7})]
    with plans() as seen:
        run = desk.drive(desk.start("asking"))
        assert run.status == "succeeded", run.failure_reason
        driven = len(seen)
        page = browser(desk.operator).get(f"/w/{desk.world.workspace.slug}/runs/{run.public_id}/")
        assert page.status_code == 200
        shown = len(seen)
        canceled = desk.start("asking")
        services.cancel_run(actor=desk.operator, run_id=canceled.pk, reason="Not needed.")
    assert driven > 15
    assert shown > driven
    assert len(seen) > shown
    assert {table for _, months in seen for table in months} == set(MONTHLY)
    wide = [statement for statement, months in seen if any(len(found) > 1 for found in months.values())]
    assert wide == []


def test_a_step_that_starts_next_month_lies_with_its_run(desk):
    run = desk.start("sending")
    desk.drive(run)
    with databases.admin() as owner:
        for table in ("workflows_step", "workflows_call"):
            found = {name for (name,) in owner.execute(MONTH_OF.format(table), [run.pk]).fetchall()}
            assert found == {f"{table}_{run.created_at:%Y_%m}"}


def test_a_month_is_taken_away_whole(desk):
    """What retention does: the month goes with its rows, and the run itself stays."""
    run = desk.drive(desk.start("sending"))
    with databases.admin() as owner, owner.transaction(force_rollback=True):
        # Whatever refers to others first.
        for table in ("workflows_message", "workflows_budgethold", "workflows_call", "workflows_step"):
            month = f"{table}_{run.created_at:%Y_%m}"
            owner.execute(f"ALTER TABLE {table} DETACH PARTITION {month}")
            owner.execute(f"DROP TABLE {month}")
            assert owner.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert owner.execute("SELECT status FROM workflows_run WHERE id = %s", [run.pk]).fetchone() == ("succeeded",)


def test_a_run_of_a_month_that_nobody_made_stores_nothing(desk):
    """There is no default partition: a missing month is an error at once, and what readiness looks for beforehand."""
    ancient = "01800000-0000-7000-8000-000000000000"
    with databases.admin() as owner, pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
        owner.execute(
            "INSERT INTO workflows_message (id, workspace_id, run_id, step_id, ord, role, body_ref) "
            "VALUES (gen_random_uuid(), gen_random_uuid(), %s, gen_random_uuid(), 1, 'user', '')",
            [ancient],
        )


def test_one_event_covers_one_step_of_one_run(desk, as_role):
    """T08: ids are unique within a run, so a second row with the same id needs an event of its own run."""
    first, second = desk.start("sending"), desk.start("sending")
    desk.drive(first)
    desk.drive(second)
    (step, *_) = desk.steps(first)
    twin = desk.steps(second)[0]
    with as_role("worker"), scope(first.workspace_id), transaction.atomic():
        step_id, now = uuid7(), step.started_at
        made = Step(
            id=step_id, workspace_id=first.workspace_id, run_id=first.pk, node_key="x", kind="tool", started_at=now
        )
        made.save(force_insert=True)
        record(
            actor=Actor.system("engine", first.workspace_id),
            event=Event.RUN_STEP_STARTED,
            target=made,
            context=transitions.context_of(first),
        )
        with databases.refused_at_commit("its event belongs to another run"):
            Step.objects.bulk_create(
                [
                    Step(
                        id=step_id,
                        workspace_id=first.workspace_id,
                        run_id=second.pk,
                        node_key="y",
                        kind="tool",
                        started_at=twin.started_at,
                    )
                ]
            )


def test_a_call_belongs_to_a_step_of_its_own_run(desk, as_role):
    first, second = desk.start("sending"), desk.start("sending")
    desk.drive(first)
    desk.drive(second)
    (call,) = desk.calls(first)
    call.id, call.run_id, call.seq = uuid7(), second.pk, 9
    with as_role("worker"), pytest.raises(Exception, match="workflows_call_step_id_ws_fk"), transaction.atomic():
        Call.objects.bulk_create([call])
