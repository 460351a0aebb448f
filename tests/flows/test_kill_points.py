"""The worker dies at every point there is; another goes on, the run ends as it should, and the ERP changed once (T04).

Each point has a real worker process that kills itself there. They die side by side, a few at a time, each with a bell of
its own, and one heir finds by sweeping what all of them left behind.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Queue
from threading import Lock
from typing import Any

import pytest
import yaml

from audit.taxonomy import Event
from provenance.embedded import EmbeddedValkey
from provenance.home import Home
from tests.waiting import wait_until
from tests.workflows.company import FINANCE_INPUT, company_in
from tests.workflows.workers import Broker, has_leader, hold_back, lose_lease, worker
from workflows import doorbell, engine
from workflows.faults import KILLED, Point

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class At:
    """The point at which a worker dies, when it passes it for the nth time."""

    point: Point
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.point.value}:{self.nth}"


# What a worker passes from the start until the run waits for a person, and from the decision to the end.
BEFORE_DECISION = (
    At(Point.DOORBELL_RECEIVED),
    At(Point.CLAIMED),
    At(Point.STEP_BEGUN),
    # Not the first time: there are earlier calls, messages and steps to find again. The decision's list has the first.
    At(Point.CALL_STARTED, nth=3),
    At(Point.CALL_SENT, nth=2),
    At(Point.MODEL_ANSWERING),
    At(Point.CALL_ANSWERED, nth=2),
    At(Point.CALL_RECORDED, nth=2),
    At(Point.MESSAGE_STORED),
    At(Point.MESSAGE_STORED, nth=3),
    At(Point.STEP_SETTLED, nth=2),
    At(Point.APPROVAL_REQUESTED),
    At(Point.PARKED),
)
AFTER_DECISION = (
    At(Point.DOORBELL_RECEIVED),
    At(Point.CLAIMED),
    At(Point.STEP_BEGUN),
    At(Point.CALL_STARTED),
    At(Point.CALL_SENT),
    At(Point.CALL_ANSWERED),
    At(Point.CALL_RECORDED),
    At(Point.STEP_SETTLED),
    At(Point.RUN_ENDED),
)
# Reached when a worker's turn is over.
LONG_RUN = (At(Point.YIELDED),)
LONG_WORKFLOW = {
    "name": "long",
    "title": "More steps than a turn has",
    "environment": "development",
    "input": {"type": "object", "additionalProperties": False, "properties": {}},
    "steps": [
        {"name": f"step{number}", "kind": "transform", "output": {"number": number}}
        for number in range(engine.TURN_STEPS + 3)
    ],
}
LANES = (8, 10, 11)
HEIR = 9


def test_every_point_is_tried():
    assert {at.point for at in (*BEFORE_DECISION, *AFTER_DECISION, *LONG_RUN)} == set(Point)


@pytest.fixture
def company(transactional_db, tmp_path, as_role):
    """The demo's company, played by the test and by real workers."""
    with company_in(tmp_path, as_role) as made:
        yield made


@pytest.fixture
def bells(monkeypatch):
    """The last bell of each token. None is sent before the worker that will die listens."""
    rung: dict[Any, tuple[Any, ...]] = {}
    monkeypatch.setattr(doorbell, "ring", lambda *bell: rung.__setitem__(bell[1], bell) or True)
    return rung


@dataclass
class Doomed:
    """A run whose next worker dies at the point."""

    at: At
    run: Any
    bell: tuple[Any, ...]


@pytest.fixture
def kill(tmp_path):
    """`kill([Doomed(…), …])`: a worker for each, dead at its point, and the lease it left has run out."""
    lanes: Queue[Broker] = Queue()
    brokers = [Broker(number) for number in LANES]
    for broker in brokers:
        lanes.put(broker)

    waiting: set[Any] = set()
    one_at_a_time = Lock()

    def hold_back_the_others(run: Any) -> None:
        with one_at_a_time:
            waiting.discard(run.pk)
            for run_id in waiting:
                hold_back(run_id)

    def die(doomed: Doomed) -> None:
        broker, log = lanes.get(), tmp_path / f"{doomed.at}-{doomed.run.pk}.log"
        try:
            broker.forget()
            with worker(broker, log, fault=str(doomed.at)) as process:
                wait_until(lambda: broker.has_listener() or process.poll(), f"{doomed.at}: the worker is up; {log}")
                hold_back_the_others(doomed.run)
                broker.ring(*doomed.bell)
                assert process.wait(timeout=180) == KILLED, f"{doomed.at}: it ended by itself\n{log.read_text()}"
            lose_lease(doomed.run.pk)
        finally:
            lanes.put(broker)

    def kill(doomed: list[Doomed]) -> None:
        waiting.update(each.run.pk for each in doomed)
        with ThreadPoolExecutor(len(LANES)) as pool:
            list(pool.map(die, doomed))

    yield kill
    for broker in brokers:
        broker.close()


@pytest.fixture
def heir(company, tmp_path):
    """The worker that goes on. Nobody rings for it: it leads, and finds what is left by sweeping."""
    broker = Broker(HEIR)
    with worker(broker, tmp_path / "heir.log"):
        wait_until(has_leader, f"the heir leads; {tmp_path / 'heir.log'}")
        yield
    broker.close()


@pytest.mark.usefixtures("heir")
def test_a_worker_killed_anywhere_leaves_one_request_and_the_erp_changes_once(company, bells, kill):
    def doomed(at: At, run: Any) -> Doomed:
        return Doomed(at, run, bells[company.token(run).pk])

    def start(workflow: str, given: dict[str, Any]) -> Any:
        # At once: the heir finds what nobody answers, and all the others take their time to start.
        run = company.start(workflow, given)
        hold_back(run.pk)
        return run

    company.publish(yaml.safe_dump(LONG_WORKFLOW))
    long_run = start("long", {})
    runs = [start("vendor-terms", FINANCE_INPUT) for _ in BEFORE_DECISION]
    kill(
        [
            doomed(*LONG_RUN, long_run),
            *(doomed(at, run) for at, run in zip(BEFORE_DECISION, runs, strict=True)),
        ]
    )
    for at, run in zip(BEFORE_DECISION, runs, strict=True):
        _wait_for(lambda run=run: company.token(run).waiting_on == "approval" or company.fresh(run).is_terminal, at)
        standing = company.fresh(run)
        assert (standing.status, standing.waiting_on) == ("waiting", ["approval"]), (at, standing.failure_reason)
        assert company.open_requests(run) == 1, at
        assert {call.status for call in company.calls(run)} == {"succeeded"}, at
    assert company.ledger() == []
    assert not company.world.events(Event.RUN_FAILED)

    deciding = list(zip(AFTER_DECISION, runs, strict=False))
    dates = {run.pk: f"2027-01-{day:02}" for day, (_, run) in enumerate(deciding, start=1)}
    for _, run in deciding:
        company.decide(run, effective_from=dates[run.pk])
        hold_back(run.pk)
    kill([doomed(at, run) for at, run in deciding])
    for at, run in [*deciding, (*LONG_RUN, long_run)]:
        _wait_for(lambda run=run: company.fresh(run).is_terminal, at)
        ended = company.fresh(run)
        assert ended.status == "succeeded", (at, ended.failure_reason)
    changes = company.ledger()
    assert sorted(change["effective_from"] for change in changes) == sorted(dates.values())
    assert len({change["idempotency_key"] for change in changes}) == len(AFTER_DECISION)
    assert len(company.world.events(Event.APPROVAL_CONSUMED)) == len(AFTER_DECISION)


def _wait_for(condition: Callable[[], Any], at: At) -> None:
    wait_until(condition, f"{at}: the run goes on")


@pytest.fixture
def own_valkey(tmp_path):
    """A Valkey that this test may stop."""
    home = Home(tmp_path / "valkey").ensure()
    valkey = EmbeddedValkey(home, durable=False)
    valkey.start()
    yield valkey
    valkey.stop()
    home.discard_run()


def test_a_run_goes_on_when_valkey_is_gone(company, own_valkey, monkeypatch, settings, tmp_path):
    """Slower, and not stopped: what nobody can ring for is found and driven by the sweeper."""
    settings.REDIS_URL = f"unix://{own_valkey.home.valkey_socket}?db=0"
    broker = Broker(0)
    monkeypatch.setattr(doorbell, "ring", broker.ring)
    log = tmp_path / "worker.log"
    with worker(broker, log):
        wait_until(broker.has_listener, f"the worker is up\n{log.read_text()}")
        run = company.start("vendor-terms", FINANCE_INPUT)
        wait_until(lambda: company.token(run).waiting_on == "approval", f"the run asks; {log}")
        own_valkey.stop()
        monkeypatch.setattr(doorbell, "ring", lambda *_bell: False)
        company.decide(run, effective_from="2027-01-01")
        wait_until(lambda: company.fresh(run).is_terminal, f"the end; {log}")
    assert company.fresh(run).status == "succeeded", company.fresh(run).failure_reason
    assert [change["effective_from"] for change in company.ledger()] == ["2027-01-01"]
