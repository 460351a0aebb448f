"""A worker or a gateway that was stopped in the middle of a `once` call, and wakes up again (runs.md 5.3).

The worker is a real process, stopped with SIGSTOP while the tool has its call and has not answered. Its lease is over,
another worker goes on, and then the first one wakes up. The tool counts its effects itself.
"""

import signal
import threading
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.db import transaction

from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway.models import ToolCall
from gateway.server import Application, Gateway
from tests import databases
from tests.browsing import browser
from tests.fakes.mcp_server import text
from tests.gateway.world import served
from tests.waiting import wait_until
from tests.workflows.desk import desk_in
from tests.workflows.workers import Broker, lose_lease, worker
from workflows import services
from workflows.unknown import Settlement

pytestmark = pytest.mark.django_db(transaction=True)

BROKER = 12
SOON = 60


@pytest.fixture
def desk(transactional_db, as_role):
    with desk_in(as_role) as made:
        yield made


class Slow:
    """A tool that has the call, and answers when it is told to."""

    def __init__(self, desk):
        self.received, self.may_answer = threading.Event(), threading.Event()
        desk.up.reply = self.reply

    def reply(self, _name, _arguments):
        self.received.set()
        assert self.may_answer.wait(SOON)
        return text("done", structuredContent={"number": 7})


@contextmanager
def stopped_worker(run, token, tmp_path, slow):
    """A worker process that was stopped while its call is at the tool. It wakes up when the block says so, or ends."""
    broker = Broker(BROKER)
    try:
        with worker(broker, tmp_path / "worker.log") as process:
            broker.ring(run.workspace_id, token.pk, token.dispatch_no)
            assert slow.received.wait(180), (tmp_path / "worker.log").read_text()
            process.send_signal(signal.SIGSTOP)
            try:
                yield process
            finally:
                process.send_signal(signal.SIGCONT)
    finally:
        broker.close()


@contextmanager
def another_gateway():
    """A second gateway process's worth of gateway: it performs nothing and knows only what stands in the database."""
    application = Application(lambda: Gateway(databases.role_url("gateway"), KeyRing.from_settings("gateway")))
    first = settings.GATEWAY_URL
    with served(application) as url:
        settings.GATEWAY_URL = url
        try:
            yield
        finally:
            settings.GATEWAY_URL = first


def let_time_pass():
    """By the clock of the database nobody can still be performing any call."""
    with databases.admin() as owner:
        owner.execute("UPDATE workflows_call SET not_after = now() - interval '1 hour'")
        owner.execute("UPDATE gateway_toolcall SET not_after = now() - interval '1 hour'")


def recorded(call):
    with transaction.atomic():
        return ToolCall.objects.get(pk=call.pk)


def wakes_up_and_ends(process):
    """Let the worker go on, and end when it has done with what it holds."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    assert process.wait(timeout=SOON) == 0


def test_a_worker_that_slept_through_its_lease_makes_no_second_effect(desk, tmp_path):
    """The other worker takes the answer that the gateway has; the sleeper finds itself fenced out and writes nothing."""
    slow, run = Slow(desk), desk.start("sending")
    with stopped_worker(run, desk.token(run), tmp_path, slow) as sleeper:
        lose_lease(run.pk)
        waiting = desk.drive(run)
        assert (waiting.status, waiting.waiting_on) == ("waiting", ["timer"]), waiting.failure_reason
        slow.may_answer.set()
        wait_until(lambda: recorded(desk.calls(run)[0]).state == "succeeded", "the gateway has the answer", SOON)
        done = desk.drive(run)
        assert done.status == "succeeded", done.failure_reason
        (call,) = desk.calls(run)
        wakes_up_and_ends(sleeper)
    assert len(desk.up.calls) == 1
    assert desk.calls(run)[0].fence == call.fence
    assert desk.fresh(run).status == "succeeded"
    assert [event.outcome for event in desk.world.events(Event.MCP_TOOL_CALLED)] == ["success"]


def test_an_answer_after_the_call_was_given_up_is_kept_and_decides_nothing(desk, tmp_path):
    """Worker and gateway both sleep, another pair gives the call up, and then the tool answers the sleepers."""
    slow, run = Slow(desk), desk.start("sending")
    with stopped_worker(run, desk.token(run), tmp_path, slow) as sleeper:
        lose_lease(run.pk)
        let_time_pass()
        with another_gateway():
            unknown = desk.drive(run)
            assert unknown.waiting_on == ["decision"], unknown.failure_reason
        slow.may_answer.set()
        wait_until(lambda: recorded(desk.calls(run)[0]).late_result_ref, "the late answer is kept", SOON)
        wakes_up_and_ends(sleeper)

    (call,) = desk.calls(run)
    assert (call.status, recorded(call).state) == ("indeterminate", "indeterminate")
    assert desk.fresh(run).waiting_on == ["decision"]
    (event,) = desk.world.events(Event.MCP_TOOL_ANSWERED_LATE)
    assert (event.object_id, event.kid) == (str(call.pk), "gateway-1")

    # A person sees it, and the person's word is what counts.
    address = f"/w/{desk.world.workspace.slug}/runs/{run.public_id}/"
    page = browser(desk.operator).get(address).text
    assert "The tool has answered since" in page
    assert "&quot;number&quot;: 7" in page
    services.resolve_call(
        actor=desk.operator, call_id=call.pk, outcome=Settlement.HAPPENED, result='{"number": 7}', reason="As it says."
    )
    done = desk.drive(run)
    assert done.status == "succeeded", done.failure_reason
    assert len(desk.up.calls) == 1
