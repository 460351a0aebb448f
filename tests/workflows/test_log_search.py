"""The log is searched for a workflow: what happened in its runs is found, which have ids of their own."""

import pytest

from audit import belongings, finding, names, selectors
from audit.selectors import EventFilters
from provenance.api import Paging
from provenance.db import enter
from tests.workflows.driving import drive, published
from tests.workflows.samples import ADDING
from workflows import doorbell, services

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)


@pytest.fixture(autouse=True, params=["few", "many"])
def _rows(request, monkeypatch):
    """What is found is the same whether the rows are looked up or, being too many, the events are asked."""
    if request.param == "many":
        monkeypatch.setattr(belongings, "MANY", 0)
        monkeypatch.setattr(finding, "AT_ONCE", 2)


def found(actor, *names_of_workflows):
    things = [thing for name in names_of_workflows for thing in names.find(actor, name, "workflow")]
    wanted = EventFilters(about=[key for thing in things for key in thing.keys])
    rows, _ = selectors.search(actor=actor, filters=wanted, paging=Paging(limit=200))
    assert selectors.filtered(actor, wanted).count() == len(rows)
    return [row.event for row in rows]


def test_a_workflow_leads_to_what_happened_in_its_runs(editor, auditor, as_role):
    with enter(editor.workspace_id):
        for slug in ("adding", "other"):
            published(editor, ADDING.replace("name: adding", f"name: {slug}"), slug)
        run, other = (
            services.start_run(actor=editor, workflow_slug=slug, input={"first": 4, "second": 5})
            for slug in ("adding", "other")
        )
    drive(run, as_role)
    with enter(editor.workspace_id):
        events = found(auditor, "adding")
        assert {event.action for event in events} >= {
            "workflow.created",
            "workflow.published",
            "run.queued",
            "run.succeeded",
        }
        assert {event.run_id for event in events} == {run.pk, None}
        assert {event.run_id for event in found(auditor, "adding", "other")} == {run.pk, other.pk, None}
