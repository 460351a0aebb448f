"""An agent step turn by turn: what the model says, what the gateway says, and when enough is enough."""

import json

import pytest
import yaml

from audit.taxonomy import Event
from tests.gateway.world import reread_policy
from tests.workflows.company import EXAMPLES, RESEARCH_INPUT
from tests.workflows.desk import calls, desk_in, says
from workflows import halts, journal
from workspaces.services import engage_halt, release_halt

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gated(transactional_db, as_role):
    """A desk at which a person decides about each call that changes something."""
    with desk_in(as_role, trust="medium") as made:
        yield made


def test_a_call_that_needs_a_person_parks_the_agent_and_goes_on_after_the_decision(gated):
    gated.answers = [calls(text="hello"), says({"number": 7})]
    run = gated.drive(gated.start("asking"))
    assert (run.status, run.waiting_on) == ("waiting", ["approval"]), run.failure_reason
    assert not gated.up.calls
    gated.decide(run)
    assert gated.token(run).state == "ready"
    done = gated.drive(run)
    assert done.status == "succeeded", done.failure_reason
    assert gated.up.sent == [{"text": "hello"}]
    assert len(gated.asked) == 2
    assert len(gated.world.events(Event.APPROVAL_CONSUMED)) == 1


def test_a_call_that_a_person_rejected_is_refused_and_the_model_is_told(gated):
    gated.answers = [calls(text="hello"), says({"number": 0})]
    run = gated.drive(gated.start("asking"))
    gated.decide(run, "reject")
    done = gated.drive(run)
    assert done.status == "succeeded", done.failure_reason
    assert not gated.up.calls
    assert [call.status for call in gated.calls(run)] == ["rejected"]
    assert "was refused and did not happen" in json.dumps(gated.asked[-1]["messages"][-1])


@pytest.mark.parametrize("wrong", ["I think it is seven.", {"number": "seven"}])
def test_an_answer_that_does_not_fit_is_repaired_once(desk, wrong):
    desk.answers = [says(wrong), says({"number": 7})]
    done = desk.drive(desk.start("asking"))
    assert done.status == "succeeded", done.failure_reason
    assert "cannot be used" in desk.asked[1]["messages"][-1]["content"]


def test_an_answer_that_is_wrong_again_fails_the_step(desk):
    desk.answers = [says({"number": "seven"}), says({"number": "eight"})]
    failed = desk.drive(desk.start("asking"))
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert desk.steps(failed)[0].error_code == "answer_unusable"
    assert len(desk.asked) == 2


def test_an_agent_that_repeats_itself_is_stopped_before_the_third_call(desk):
    desk.answers = [calls(text="again")] * 5
    failed = desk.drive(desk.start("asking"))
    assert (failed.status, failed.failure_code) == ("failed", "step_failed")
    assert desk.steps(failed)[0].error_code == "loop"
    assert len(desk.up.calls) == 2


def test_a_malformed_call_of_the_model_is_given_back_to_it_and_the_run_goes_on(company):
    undisturbed = company.start("account-research", RESEARCH_INPUT)
    written = yaml.safe_load((EXAMPLES / "agents/account-research.yaml").read_text("utf-8"))
    company.change_agent("account-research", {**written, "model": "scripted-fault-malformed-arguments-2026-11-01"})
    run = company.drive(company.start("account-research", RESEARCH_INPUT))
    assert run.status == "succeeded", run.failure_reason
    assert company.world.events(Event.MCP_TOOL_CALLED)
    # One answer more than without the fault: the call that was cut in half cost a turn.
    assert len(company.calls(run, "model")) > len(company.calls(company.drive(undisturbed), "model"))


# --- Halts -------------------------------------------------------------------------------------------------------------


def halt(desk, mode="pause", kind="tool", name="up.send"):
    return engage_halt(actor=desk.world.admin, scope_kind=kind, scope_id=name, mode=mode, reason="Looks wrong")


@pytest.mark.parametrize(("kind", "name"), [("tool", "up.send"), ("agent", "helper"), ("environment", "development")])
def test_a_halted_run_is_paused_once_and_goes_on_when_the_halt_is_released(desk, kind, name):
    run = desk.start("sending")
    control = halt(desk, kind=kind, name=name)
    for _ in range(3):
        run = desk.drive(run)
        assert run.status == "paused"
    assert len(desk.world.events(Event.RUN_PAUSED)) == 1
    assert not desk.up.calls
    release_halt(actor=desk.world.admin, control_id=control.pk, reason="It was right")
    reread_policy(desk.world)
    done = desk.drive(run)
    assert done.status == "succeeded", done.failure_reason


@pytest.mark.parametrize(("mode", "status"), [("pause", "paused"), ("terminate", "canceled")])
def test_a_halt_between_the_look_of_the_engine_and_that_of_the_gateway_is_obeyed(
    desk, monkeypatch, as_role, mode, status
):
    """The gateway refuses the call; the run is paused or ended by the halt and does not fail."""
    look, controls = halts.stopping, []

    def looked(*args, **more):
        found = look(*args, **more)
        if more.get("tool") and not controls:
            controls.append(None)
            with as_role("web"):
                controls[0] = halt(desk, mode)
        return found

    run = desk.start("sending")
    monkeypatch.setattr(journal.halts, "stopping", looked)
    run = desk.drive(run)
    assert run.status == status, run.failure_reason
    assert not desk.up.calls
    if mode == "pause":
        release_halt(actor=desk.world.admin, control_id=controls[0].pk, reason="It was right")
        reread_policy(desk.world)
        assert desk.drive(run).status == "succeeded"


def test_a_halt_of_the_model_provider_pauses_the_agent(desk):
    desk.answers = [says({"number": 7})]
    control = halt(desk, kind="provider", name="fake")
    run = desk.drive(desk.start("asking"))
    assert run.status == "paused", run.failure_reason
    run = desk.drive(run)
    assert len(desk.world.events(Event.RUN_PAUSED)) == 1
    release_halt(actor=desk.world.admin, control_id=control.pk, reason="It was right")
    reread_policy(desk.world)
    assert desk.drive(run).status == "succeeded"
    assert len(desk.asked) == 1
