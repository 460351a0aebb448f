"""Whoever holds the broker puts anything into its queue: the worker takes bells, drops the rest, and goes on (T17).

On the worker hang the sweeps: the watch over the log, deadlines, streams, and every run that nobody rings for.
"""

import base64
import json
from contextlib import contextmanager
from uuid import uuid4

import pytest
import redis

from provenance.bells import LONGEST_BODY, TASKS, bell
from provenance.celery import app
from tests.waiting import wait_until
from tests.workflows.workers import Broker, has_leader, worker

QUEUE = "drive"
LANE = 13
IDS = [str(uuid4()), str(uuid4()), 1]


def message(task: object = "workflows.drive", body: object = (IDS, {}, {}), **more: object) -> dict[str, object]:
    """What Celery would send, or somebody who writes it by hand."""
    text = body if isinstance(body, str) else json.dumps(body)
    own_id = str(uuid4())
    return {
        "body": base64.b64encode(text.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": task, "id": own_id, "lang": "py", **more},
        "properties": {
            "delivery_tag": own_id,
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    }


NO_BELLS = {
    "null": None,
    "a number": 7,
    "a list": [],
    "no headers": {"body": "eA=="},
    "headers that are a list": message() | {"headers": [1]},
    "a body that is no list": message(body=7),
    "a body without arguments": message(body=[]),
    "a body that is no base64": message() | {"body": "%"},
    "a body that is too long": message(body=[["a" * LONGEST_BODY], {}, {}]),
    "a body too deep to read": message(body="[" * 1_500),
    "arguments that are no ids": message(body=[[{"a": 1}, [1], None], {}, {}]),
    "arguments by name only": message(body=[{"token_id": 1}, {}, {}]),
    "a task of nobody": message("os.system"),
    "a task that is no text": message([1]),
    **{f"Celery's own {name}": message(name) for name in sorted(app.tasks) if name.startswith("celery.")},
}


@pytest.mark.parametrize("sent", NO_BELLS.values(), ids=NO_BELLS)
def test_what_is_no_bell_of_ours_is_dropped(sent):
    assert bell(sent) is None


def test_of_a_bell_only_the_task_and_its_ids_are_taken():
    """No link to another task, no time in which it is kept in memory, no place for an answer."""
    links = {name: [{"task": "celery.chord_unlock"}] for name in ("callbacks", "errbacks", "chain", "chord")}
    hostile = message(body=[IDS, {"self": 1}, links], eta="9999-12-31T00:00:00", expires=[1], retries="x", stamps=7)
    ours = bell(hostile | {"content-type": "application/x-python-serialize"})
    assert json.loads(base64.b64decode(ours["body"])) == [IDS, {}, dict.fromkeys(links)]
    assert ours["headers"].keys() == {"lang", "task", "id", "root_id", "retries", "ignore_result"}
    assert (ours["headers"]["retries"], ours["content-type"]) == (0, "application/json")
    assert ours["properties"]["delivery_tag"] != hostile["properties"]["delivery_tag"]


def test_every_task_that_a_worker_has_can_be_rung_for():
    app.loader.import_default_modules()
    assert {name for name in app.tasks if not name.startswith("celery.")} == TASKS


@pytest.fixture(autouse=True)
def _call_token(settings):
    settings.CALL_TOKEN = "what a worker of this test signs calls with"


@contextmanager
def sweeping_worker(tmp_path):
    """A worker that leads, and its broker as somebody sees it who may write there."""
    broker, log = Broker(LANE), tmp_path / "worker.log"
    with worker(broker, log) as process, redis.Redis.from_url(broker.url) as client:
        wait_until(lambda: broker.has_listener() or process.poll() is not None, f"the worker listens; {log}")
        wait_until(has_leader, f"the worker leads; {log}")
        try:
            yield process, client, log
        finally:
            client.delete(QUEUE, "unacked", "unacked_index")
    broker.close()


@pytest.mark.django_db(transaction=True)
def test_no_element_of_the_queue_ends_the_worker(tmp_path):
    poison = [b"garbage", b"\xff\xfe", b"[" * 200_000, *(json.dumps(each).encode() for each in NO_BELLS.values())]
    with sweeping_worker(tmp_path) as (process, client, log):
        for each in poison:
            client.lpush(QUEUE, each)
        # Last, and so behind all of them: a bell about nobody's token.
        client.lpush(QUEUE, json.dumps(message(body=[["no id", "no id", 1], {}, {}])))
        wait_until(lambda: "names nothing" in log.read_text() or process.poll() is not None, f"the bell; {log}")
        assert process.poll() is None, log.read_text()[-3_000:]
        assert client.llen(QUEUE) == client.hlen("unacked") == 0


@pytest.mark.django_db(transaction=True)
def test_a_queue_that_is_something_else_stops_no_sweep(tmp_path):
    with sweeping_worker(tmp_path) as (process, client, log):
        client.delete(QUEUE)
        client.set(QUEUE, "no list")
        wait_until(lambda: "ResponseError" in log.read_text() or process.poll() is not None, f"it is read; {log}")
        wait_until(has_leader, f"the worker leads; {log}")
        client.delete(QUEUE)
        client.lpush(QUEUE, json.dumps(message(body=[["no id", "no id", 1], {}, {}])))
        wait_until(lambda: "names nothing" in log.read_text() or process.poll() is not None, f"the bell; {log}")
        assert process.poll() is None, log.read_text()[-3_000:]


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_finds_no_broker_sweeps_all_the_same(tmp_path):
    broker = Broker(LANE)

    class Away:
        celery_url = f"redis+socket://{tmp_path}/nobody.sock"
        unbind = broker.unbind

    with worker(Away(), tmp_path / "worker.log"):
        wait_until(has_leader, f"the worker leads; {tmp_path}/worker.log")
    broker.close()
