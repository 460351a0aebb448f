"""A call of unknown outcome waits for a person, and goes on with what the person says (runs.md 3.4)."""

import json
from dataclasses import replace

import pytest
from django.db import DatabaseError, connection, transaction

from audit.taxonomy import Event
from gateway.models import ToolCall
from provenance.actor import ActorKind
from provenance.db import enter, scope
from provenance.errors import Invalid, NotFound, PermissionDenied
from tests import databases, factories
from tests.browsing import browser
from tests.gateway.world import detail
from tests.workflows.desk import broken, calls, desk_in, says
from tests.workflows.resolving import FOUND, let_time_pass, resolve
from workflows import services
from workflows.unknown import Settlement

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lost(desk):
    """A run that waits for a person, because the answer of its one call was lost."""
    return lose_answer(desk)


def lose_answer(desk):
    good, desk.up.reply = desk.up.reply, lambda _name, _arguments: broken
    run = desk.drive(desk.start("sending"))
    desk.up.reply = good
    assert (run.status, run.waiting_on) == ("waiting", ["decision"]), run.failure_reason
    return run


def test_a_run_goes_on_with_the_result_that_a_person_found(desk, lost):
    resolve(desk, lost, Settlement.HAPPENED, result='{"number": 12}')
    assert desk.token(lost).state == "ready"
    done = desk.drive(lost)
    assert done.status == "succeeded", done.failure_reason
    (call,) = desk.calls(lost)
    assert (call.status, call.resolved_by, call.reason) == ("resolved_succeeded", desk.operator.id, FOUND)
    assert len(desk.up.calls) == 1
    (event,) = desk.world.events(Event.CALL_RESOLVED)
    assert event.kid == "web-1"
    assert detail(event)["outcome"] == "happened"
    assert json.loads(event.body)["context"]["step"] == "send"
    with transaction.atomic():
        assert ToolCall.objects.get(pk=call.pk).state == "indeterminate"


@pytest.mark.parametrize(
    "result",
    ["", "   ", "not json", '{"number": "twelve"}', "[]", '{"number": NaN}', "null", '{"number": 1, "a": "\\u0000"}'],
)
def test_a_result_that_the_tool_could_not_have_given_is_refused(desk, lost, result):
    with pytest.raises(Invalid) as refused:
        resolve(desk, lost, Settlement.HAPPENED, result=result)
    assert refused.value.data["errors"][0]["path"].startswith("result")
    assert desk.calls(lost)[0].status == "indeterminate"
    assert not desk.world.events(Event.CALL_RESOLVED)


def test_what_did_not_happen_fails_the_step(desk, lost):
    resolve(desk, lost, Settlement.DID_NOT_HAPPEN)
    failed = desk.drive(lost)
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert FOUND in failed.failure_reason
    assert [step.status for step in desk.steps(lost)] == ["failed"]
    assert len(desk.up.calls) == 1


def test_a_retry_waits_until_nobody_can_still_be_sending_and_is_a_call_of_its_own(desk, lost):
    """The same key, so that a tool that knows keys does it once; another id, so that the first keeps its record."""
    with pytest.raises(services.RetryTooEarly) as early:
        resolve(desk, lost, Settlement.RETRY)
    assert early.value.data["retry_at"] in early.value.data.values()
    assert "It can be sent again from" in early.value.message
    let_time_pass()
    resolve(desk, lost, Settlement.RETRY)
    done = desk.drive(lost)
    assert done.status == "succeeded", done.failure_reason
    first, second = desk.calls(lost)
    assert (first.status, second.status) == ("retried", "succeeded")
    assert first.call_key == second.call_key
    assert len(desk.up.calls) == 2
    with transaction.atomic():
        assert ToolCall.objects.get(pk=first.pk).state == "indeterminate"


def test_a_retry_of_an_approved_call_asks_a_person_again(transactional_db, as_role):
    """T05: an approval starts one call, and the one that was lost has used it up."""
    with desk_in(as_role, trust="medium") as desk:
        good, desk.up.reply = desk.up.reply, lambda _name, _arguments: broken
        desk.answers = [calls(text="hello"), says({"number": 7})]
        run = desk.drive(desk.start("asking"))
        assert run.waiting_on == ["approval"], run.failure_reason
        desk.decide(run)
        run = desk.drive(run)
        assert run.waiting_on == ["decision"], run.failure_reason
        desk.up.reply = good
        let_time_pass()
        resolve(desk, run, Settlement.RETRY)
        asked = desk.drive(run)
        assert asked.waiting_on == ["approval"], asked.failure_reason
        assert len(desk.up.calls) == 1
        desk.decide(run)
        done = desk.drive(run)
        assert done.status == "succeeded", done.failure_reason
        assert len(desk.up.calls) == 2
        assert len(desk.world.events(Event.APPROVAL_CONSUMED)) == 2


def test_only_a_person_with_the_permission_settles(desk, lost):
    viewer = factories.make_member(desk.world.workspace, roles={"viewer"})
    machines = [replace(desk.operator, kind=kind) for kind in ActorKind if kind is not ActorKind.USER]
    for actor in [viewer, desk.approver, *machines]:
        with pytest.raises(PermissionDenied):
            resolve(desk, lost, Settlement.DID_NOT_HAPPEN, actor=actor)
    elsewhere = factories.make_workspace()
    stranger = factories.make_member(elsewhere, roles={"admin"})
    (call,) = desk.calls(lost)
    said = {"call_id": call.pk, "outcome": Settlement.DID_NOT_HAPPEN, "reason": FOUND}
    with scope(elsewhere.id), pytest.raises(NotFound):
        services.resolve_call(actor=stranger, **said)
    with pytest.raises(Invalid):
        resolve(desk, lost, Settlement.DID_NOT_HAPPEN, reason="  ")
    assert desk.calls(lost)[0].status == "indeterminate"


def test_a_call_is_settled_once_and_not_after_its_run_ended(desk, lost):
    resolve(desk, lost, Settlement.DID_NOT_HAPPEN)
    with pytest.raises(services.CallIsSettled):
        resolve(desk, lost, Settlement.HAPPENED, result='{"number": 1}')
    other = lose_answer(desk)
    with enter(other.workspace_id):
        services.cancel_run(actor=desk.operator, run_id=other.pk, reason="Not needed.")
    with pytest.raises(services.RunIsOver):
        resolve(desk, other, Settlement.DID_NOT_HAPPEN)
    assert len(desk.world.events(Event.CALL_RESOLVED)) == 1


def test_a_call_that_a_worker_looks_at_is_left_alone(desk, lost):
    with databases.admin() as owner:
        owner.execute("UPDATE workflows_token SET state = 'ready' WHERE run_id = %s", [lost.pk])
        owner.execute(
            "UPDATE workflows_token SET state = 'leased', lease_until = now() + interval '1 minute' WHERE run_id = %s",
            [lost.pk],
        )
    with pytest.raises(services.CallIsLookedAt):
        resolve(desk, lost, Settlement.DID_NOT_HAPPEN)


@pytest.mark.parametrize(
    ("role", "written"),
    [
        ("web", "status = 'failed'"),
        ("web", "reason = 'never'"),
        ("worker", "status = 'resolved_failed', resolved_by = 'somebody', resolved_at = now()"),
    ],
)
def test_only_the_console_settles_and_it_writes_nothing_else_of_a_call(desk, lost, as_role, role, written):
    """What a hijacked process could do: the trigger refuses it."""
    with as_role(role), pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE workflows_call SET {written} WHERE run_id = %s", [lost.pk])


def test_the_page_shows_the_call_and_only_a_post_settles_it(desk, lost):
    client = browser(desk.operator)
    run_page = f"/w/{desk.world.workspace.slug}/runs/{lost.public_id}/"
    page = client.get(run_page).text
    (shown,) = [line for line in page.splitlines() if 'action="' in line and "/resolve" in line]
    where = shown.split('action="')[1].split('"')[0]
    for fact in ("up.send", "hello", "What became of", desk.calls(lost)[0].call_key, "Not before"):
        assert fact in page
    assert "&quot;number&quot;" in page
    client.get(where + "?outcome=did_not_happen&reason=x")
    assert desk.calls(lost)[0].status == "indeterminate"
    wrong = client.post(where, {"outcome": "happened", "result": '{"number": "x"}', "reason": FOUND})
    assert wrong.status_code == 422
    assert FOUND in wrong.text
    assert client.post(where, {"outcome": "retry", "reason": FOUND}).status_code == 422
    assert browser(desk.approver).post(where, {"outcome": "did_not_happen", "reason": FOUND}).status_code == 403
    assert "Record this" not in browser(desk.approver).get(run_page).text
    assert client.post(where, {"outcome": "did_not_happen", "reason": FOUND}).status_code == 302
    assert desk.calls(lost)[0].status == "resolved_failed"
    assert client.post(where, {"outcome": "retry", "reason": FOUND}).status_code == 302
    assert desk.drive(lost).status == "failed"
