"""A task carries ids, never objects or payloads: what stands in the broker is read by whoever reads the broker (STYLE)."""

import inspect
from uuid import uuid4

import pytest

from provenance.celery import app
from workflows import doorbell

app.loader.import_default_modules()
OURS = sorted(name for name in app.tasks if not name.startswith("celery."))
IDS, NUMBERS = "_id", {"dispatch_no"}


def test_there_are_tasks_to_look_at():
    assert doorbell.TASK in app.tasks


@pytest.mark.parametrize("name", OURS)
def test_a_task_takes_ids_and_counters_and_nothing_else(name):
    parameters = inspect.signature(app.tasks[name].run).parameters.values()
    assert parameters
    for parameter in parameters:
        kind = "number" if parameter.name in NUMBERS else "id" if parameter.name.endswith(IDS) else "payload"
        assert (kind, parameter.annotation) in {("id", str), ("number", int)}, f"{name}({parameter})"
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, f"{name}({parameter})"


def test_what_is_sent_to_the_broker_is_ids_and_a_number(monkeypatch):
    sent = []
    monkeypatch.setattr(app, "send_task", lambda name, args=(), **more: sent.append((name, list(args), more)))
    workspace_id, token_id = uuid4(), uuid4()
    doorbell.ring(workspace_id, token_id, 3)
    ((name, args, more),) = sent
    assert (name, args) == (doorbell.TASK, [str(workspace_id), str(token_id), 3])
    assert not more.get("kwargs")
