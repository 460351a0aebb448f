"""Which status of a call may follow which, in the engine and in the database, and how calls end with their run."""

from itertools import product

import psycopg
import pytest
from django.db import connection, transaction

from provenance.ids import uuid7
from tests import databases
from tests.workflows.desk import broken, calls, desk_in, says
from workflows import engine, journal, services, sweep
from workflows.models import Call
from workflows.states import CALL, RESOLVED_CALL, TERMINAL_CALL, CallStatus, ImpossibleTransition, call_way

# As the specification of runs has them (3.2), written down a second time.
ALLOWED = {
    ("planned", "blocked"),
    ("planned", "awaiting_approval"),
    ("planned", "started"),
    ("planned", "canceled"),
    ("awaiting_approval", "approved"),
    ("awaiting_approval", "rejected"),
    ("awaiting_approval", "withdrawn"),
    ("awaiting_approval", "canceled"),
    ("approved", "started"),
    ("started", "succeeded"),
    ("started", "failed"),
    ("started", "indeterminate"),
    ("indeterminate", "resolved_succeeded"),
    ("indeterminate", "resolved_failed"),
    ("indeterminate", "retried"),
}
PAIRS = [(before.value, after.value) for before, after in product(CallStatus, CallStatus) if before is not after]
COLUMNS = (
    "id, workspace_id, step_id, run_id, seq, kind, target, agent_slug, call_key, args_ref, args_hash, retry_class, effect, "
    "status, fence, attempts, rule, reason, redactions, result_ref, late_result_ref, tokens_in, tokens_out, cost, "
    "resolved_by, resolved_at"
)


def test_the_table_is_the_one_of_the_specification():
    assert {(before.value, after.value) for before, following in CALL.items() for after in following} == ALLOWED


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_way_takes_only_steps_that_are_allowed(before, after):
    try:
        way = call_way(before, CallStatus(after))
    except ImpossibleTransition:
        assert (before, after) not in ALLOWED
    else:
        assert way[-1] == after
        assert set(zip([before, *way], way, strict=False)) <= ALLOWED


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        ("planned", "succeeded", ["started", "succeeded"]),
        ("awaiting_approval", "failed", ["approved", "started", "failed"]),
        ("awaiting_approval", "started", ["approved", "started"]),
        ("approved", "indeterminate", ["started", "indeterminate"]),
        ("started", "started", []),
    ],
)
def test_what_an_answer_leaves_out_is_taken_on_the_way(before, after, way):
    assert call_way(before, CallStatus(after)) == way


class Rows:
    """Rows of calls in one transaction that is rolled back, made past the engine."""

    def __init__(self, administrator):
        self.connection = administrator
        self.workspace_id = uuid7()
        administrator.execute("SELECT set_config('app.workspace_id', %s, true)", [str(self.workspace_id)])

    def insert(self, status):
        row_id, by = uuid7(), "somebody" if status in RESOLVED_CALL else ""
        self.connection.execute(
            f"INSERT INTO workflows_call ({COLUMNS}) VALUES (%s, %s, %s, %s, 1, 'tool', 'up.send', '', 'k', 'a', 'h', '', '', "
            "%s, 0, 0, '', '', '[]', '', '', 0, 0, 0, %s, CASE WHEN %s = '' THEN NULL ELSE now() END)",
            [row_id, self.workspace_id, uuid7(), uuid7(), status, by, by],
        )
        return row_id

    def change(self, row_id, written, *, role="worker"):
        """What Postgres says to it: "" when it is done."""
        try:
            with self.connection.transaction():
                self.connection.execute(f"SET LOCAL ROLE prov_{role}")
                changed = self.connection.execute(f"UPDATE workflows_call SET {written} WHERE id = %s", [row_id])
                assert changed.rowcount == 1
                self.connection.execute("RESET ROLE")
        except psycopg.errors.CheckViolation as refusal:
            return str(refusal)
        return ""


@pytest.fixture
def rows(transactional_db):
    with psycopg.connect(databases.admin_url_of_worker()) as administrator:
        yield Rows(administrator)
        administrator.rollback()


def test_the_database_allows_these_pairs_and_refuses_all_others(rows):
    """T01: a hijacked worker cannot move a call from where it stands to where it would like it."""
    for before, after in PAIRS:
        row_id, resolves = rows.insert(before), after in RESOLVED_CALL
        written = f"status = '{after}'" + (", resolved_by = 'somebody', resolved_at = now()" if resolves else "")
        said = rows.change(row_id, written, role="web" if resolves else "worker")
        if (before, after) in ALLOWED:
            assert said == "", (before, after)
        else:
            assert "cannot become" in said, (before, after)


@pytest.mark.parametrize("cost", ["NaN", "-0.01"])
def test_no_call_costs_what_cannot_be_added_up(rows, cost):
    """Nor may the database's own superuser say so: NaN would hide what all the others cost."""
    row_id = rows.insert("started")
    assert "workflows_call_cost" in rows.change(row_id, f"cost = '{cost}'")
    assert "workflows_call_cost" in rows.change(row_id, f"cost = '{cost}'", role="owner")
    assert rows.change(row_id, "cost = 4294.12345678") == ""


@pytest.mark.parametrize("status", sorted(TERMINAL_CALL))
def test_a_call_that_has_ended_stays_and_a_late_answer_is_kept_beside_it_once(rows, status):
    row_id, late = rows.insert(status), "late_result_ref = 'inline', late_result_at = now()"
    for written in ("reason = 'never'", "result_ref = 'other'", "attempts = 9", f"{late}, tokens_in = 1"):
        assert "has ended" in rows.change(row_id, written), written
    assert rows.change(row_id, late) == ""
    assert "has ended" in rows.change(row_id, late.replace("inline", "another"))


# --- How calls end with their run --------------------------------------------------------------------------------------


@pytest.fixture
def gated(transactional_db, as_role):
    """A desk whose agent must ask before each call."""
    with desk_in(as_role, trust="medium") as made:
        yield made


def cancel(desk, run):
    return services.cancel_run(actor=desk.operator, run_id=run.pk, reason="Not needed.")


def statuses(desk, run, kind="tool"):
    return [call.status for call in desk.calls(run, kind)]


def asked(desk):
    desk.answers = [calls(text="hello"), says({"number": 7})]
    run = desk.drive(desk.start("asking"))
    assert (statuses(desk, run), run.waiting_on) == (["awaiting_approval"], ["approval"]), run.failure_reason
    return run


@pytest.mark.django_db(transaction=True)
def test_a_call_whose_run_is_canceled_while_a_person_thinks_is_withdrawn(gated):
    run = asked(gated)
    assert cancel(gated, run).status == "canceled"
    (call,) = gated.calls(run)
    assert call.status == "withdrawn"
    assert call.finished_at


@pytest.mark.django_db(transaction=True)
def test_a_call_of_a_run_past_its_deadline_is_withdrawn(gated, as_role):
    run = asked(gated)
    with as_role("worker"), transaction.atomic():
        sweep.end_overdue(run.workspace_id, run.pk)
    assert (gated.fresh(run).failure_code, statuses(gated, run)) == ("deadline", ["withdrawn"])


@pytest.mark.django_db(transaction=True)
def test_a_call_that_was_asked_for_and_never_answered_is_unknown_when_its_run_is_canceled(desk, settings):
    """runs.md 3.5: cut in flight, its effect is unknown, and the canceled run says so."""
    gateway, settings.GATEWAY_URL = settings.GATEWAY_URL, "http://127.0.0.1:9"
    run = desk.drive(desk.start("sending"))
    settings.GATEWAY_URL = gateway
    (call,) = desk.calls(run)
    assert (call.status, call.is_asked, call.shown_status) == ("planned", True, "started"), run.failure_reason
    assert cancel(desk, run).status == "canceled"
    (call,) = desk.calls(run)
    assert (call.status, call.finished_at) == ("indeterminate", None)
    assert "effect is unknown" in call.reason


@pytest.mark.django_db(transaction=True)
def test_a_call_that_never_left_is_canceled_with_its_run(desk, monkeypatch):
    def halted(self, call, _agent):
        raise engine.StepStopped(journal._later(0, "not now"))

    monkeypatch.setattr(journal.Journal, "_demand_no_halt", halted)
    run = desk.drive(desk.start("sending"))
    assert statuses(desk, run) == ["planned"], run.failure_reason
    cancel(desk, run)
    assert statuses(desk, run) == ["canceled"]


@pytest.mark.django_db(transaction=True)
def test_an_unknown_call_stays_unknown_when_its_run_is_canceled(desk):
    desk.up.reply = lambda _name, _arguments: broken
    run = desk.drive(desk.start("sending"))
    cancel(desk, run)
    assert statuses(desk, run) == ["indeterminate"]


@pytest.mark.django_db(transaction=True)
def test_a_person_may_think_longer_than_a_silent_gateway_would_be_waited_for(gated):
    """Looking whether somebody has decided is no attempt: it was answered each time."""
    run = asked(gated)
    for _ in range(journal.MOST_ATTEMPTS + 2):
        run = gated.drive(run)
    assert (run.status, statuses(gated, run)) == ("waiting", ["awaiting_approval"]), run.failure_reason
    gated.decide(run)
    done = gated.drive(run)
    assert (done.status, statuses(gated, run)) == ("succeeded", ["succeeded"]), done.failure_reason
    assert len(gated.up.calls) == 1


@pytest.mark.django_db(transaction=True)
def test_the_console_closes_calls_only_of_a_run_that_it_cancels(gated, as_role):
    run = asked(gated)
    with pytest.raises(Exception, match="may not change call"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE workflows_call SET status = 'withdrawn' WHERE run_id = %s AND kind = 'tool'", [run.pk])
    with transaction.atomic():
        assert Call.objects.get(run_id=run.pk, kind="tool").status == "awaiting_approval"
