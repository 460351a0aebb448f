"""Where a run stops by itself: turns of an agent, silence of the gateway, tokens, and answers that are too large."""

import json

import pytest
import yaml

from agents import services as agents
from gateway.services import set_dlp_policy
from tests.browsing import browser
from tests.fakes.http_server import serving
from tests.fakes.mcp_server import text
from tests.gateway.world import reread_policy
from tests.workflows.desk import ASKING, SENDING, broken, calls, desk_in, says
from tests.workflows.resolving import let_time_pass, resolve
from workflows import services
from workflows.journal import MOST_ATTEMPTS
from workflows.steps.agent import MOST_ANSWER_TOKENS
from workflows.unknown import Settlement

pytestmark = pytest.mark.django_db(transaction=True)

TWENTY_MEGABYTES = 20 * 1024 * 1024


def reconfigure(desk, **changes):
    """Publish a version of `helper` that differs in this."""
    values = {
        "provider": "fake",
        "model": "model-2026-01-01",
        "system_prompt": "You help.",
        "requested_tools": [agents.RequestedTool(tool="up.send", reason="It needs to for the tests.")],
        **changes,
    }
    agents.publish_version(
        actor=desk.world.admin, agent_id=desk.world.agents["helper"].id, configuration=agents.Configuration(**values)
    )


def publish(desk, definition):
    source = yaml.safe_dump(definition)
    services.save_draft(actor=desk.operator, slug=definition["name"], source=source)
    services.publish_version(actor=desk.operator, slug=definition["name"])


# --- Turns and attempts ------------------------------------------------------------------------------------------------


def test_an_agent_stops_after_the_turns_its_version_has(desk):
    """M159: the next turn is not asked for, and what was done stays done."""
    reconfigure(desk, max_turns=2)
    desk.answers = [calls(text="in time"), says({"number": 7})]
    assert desk.drive(desk.start("asking")).status == "succeeded"
    desk.answers = [calls(text="one"), calls(text="two"), says({"number": 7})]
    failed = desk.drive(desk.start("asking"))
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert desk.steps(failed)[0].error_code == "max_turns"
    assert "all of its 2 turns" in failed.failure_reason
    assert len(desk.answers) == 1
    assert [sent["text"] for sent in desk.up.sent] == ["in time", "one", "two"]


def test_a_gateway_that_takes_a_call_and_never_answers_is_asked_only_so_often(desk, settings):
    """It says that it never heard of the call, and each time the call is sent it hangs up."""

    def hang_up(connection, request):
        if request.line.startswith("GET"):
            connection.answer(b'{"status": 404, "title": "Not found"}', status="404 Not Found")
        else:
            broken(connection, None)

    run = desk.start("sending")
    with serving(hang_up) as deaf:
        settings.GATEWAY_URL = deaf.url
        for _ in range(MOST_ATTEMPTS):
            run = desk.drive(run)
            assert (run.status, run.waiting_on) == ("waiting", ["timer"]), run.failure_reason
        failed = desk.drive(run)
        sent = [request for request in deaf.requests if request.line.startswith("POST")]
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert desk.steps(failed)[0].error_code == "no_answer"
    assert len(sent) == MOST_ATTEMPTS


# --- A retry is judged anew --------------------------------------------------------------------------------------------


def test_a_retry_of_a_step_with_an_approval_of_its_own_asks_a_person_again(transactional_db, as_role):
    """T05: the approval that the step was given has started one call, and does not start another."""
    approving = {
        "name": "approve",
        "kind": "approval",
        "authorizes": "send",
        "risk": "high",
        "sla_minutes": 60,
        "title": "Send it",
        "rationale": "Somebody wants it sent.",
    }
    with desk_in(as_role, trust="medium") as desk:
        publish(desk, {**SENDING, "name": "gated", "title": "Gated", "steps": [approving, *SENDING["steps"]]})
        good, desk.up.reply = desk.up.reply, lambda _name, _arguments: broken
        run = desk.drive(desk.start("gated"))
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
        first, second = desk.calls(run)
        assert first.approval_id != second.approval_id
        assert len(desk.up.calls) == 2


# --- Tokens ------------------------------------------------------------------------------------------------------------


def asked_for(desk, number=-1):
    """How long the answer of a turn may be."""
    return desk.asked[number]["max_tokens"]


def test_an_answer_may_use_only_what_the_budget_has_left(desk):
    """M159: shrunk to what is left instead of overdrawn, and never longer than the platform allows."""
    desk.answers = [says({"number": 7})]
    desk.drive(desk.start("asking"))
    assert asked_for(desk) == MOST_ANSWER_TOKENS
    reconfigure(desk, token_budget=3_000)
    desk.answers = [calls(text="one"), says({"number": 7})]
    done = desk.drive(desk.start("asking"))
    assert done.status == "succeeded", done.failure_reason
    first, second = asked_for(desk, 1), asked_for(desk, 2)
    assert first < 3_000
    assert second < first


def test_a_budget_that_reaches_for_no_answer_asks_nobody(desk):
    reconfigure(desk, token_budget=1_000)
    source = {**ASKING, "steps": [{**ASKING["steps"][0], "task": "Send it. " + "Read this first. " * 250}]}
    publish(desk, source)
    failed = desk.drive(desk.start("asking"))
    assert (failed.status, failed.failure_code) == ("failed", "budget_exceeded")
    assert not desk.asked


# --- Large answers -----------------------------------------------------------------------------------------------------


def test_a_result_of_twenty_megabytes_ends_a_read_and_leaves_a_write_to_a_person(desk):
    """A write was sent, so it may have happened: its run neither fails nor sends it again."""
    desk.up.reply = lambda _name, _arguments: text("x" * TWENTY_MEGABYTES)
    run = desk.drive(desk.start("sending"))
    assert (run.status, run.waiting_on) == ("waiting", ["decision"]), run.failure_reason
    assert desk.calls(run)[0].status == "indeterminate"
    assert len(desk.up.calls) == 1
    desk.world.review("up.send", "read")
    reread_policy(desk.world)
    failed = desk.drive(desk.start("sending"))
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert "larger than" in failed.failure_reason


# --- What the model and the people see ---------------------------------------------------------------------------------


def test_a_withheld_field_is_in_no_byte_that_the_model_server_receives(desk):
    """M060-M063, asserted at the other end of the wire."""
    set_dlp_policy(actor=desk.world.admin, name="personal", fields=["billing_address"], selector="up")
    desk.up.reply = lambda _name, _arguments: text(
        "Billing address: 17 Harbor Lane", structuredContent={"number": 7, "billing_address": "17 Harbor Lane"}
    )
    desk.answers = [calls(text="one"), says({"number": 7})]
    assert desk.drive(desk.start("asking")).status == "succeeded"
    received = json.dumps(desk.asked)
    assert "Harbor" not in received
    assert "redacted" in received
    assert desk.up.calls


def run_page(desk, run):
    return browser(desk.operator).get(f"/w/{desk.world.workspace.slug}/runs/{run.public_id}/").text


def test_a_run_says_on_its_page_that_its_model_is_scripted_and_only_then(desk):
    chip = "Scripted model</span>"
    assert chip in run_page(desk, desk.start("asking"))
    agents.create_provider(actor=desk.world.admin, name="real", base_url="https://models.example.com/v1")
    reconfigure(desk, provider="real")
    assert chip not in run_page(desk, desk.start("asking"))
