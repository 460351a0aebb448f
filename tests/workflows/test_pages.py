"""Runs in the console: what a reader sees, and that only a POST with the right stops one."""

import pytest

from apikeys.services import issue_key
from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.browsing import browser, program
from tests.workflows.driving import drive, fresh, published
from tests.workflows.samples import ADDING
from workflows import doorbell, services

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def silent_doorbell(monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_: True)


@pytest.fixture
def run(editor):
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        return services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})


def address(workspace, rest):
    return f"/w/{workspace.slug}/{rest}"


def test_list_names_each_run_and_filters_by_status(workspace, viewer, run):
    client = browser(viewer)
    assert run.short_id in client.get(address(workspace, "runs/")).text
    assert run.short_id in client.get(address(workspace, "runs/?status=queued")).text
    emptied = client.get(address(workspace, "runs/?status=failed"))
    assert run.short_id not in emptied.text
    assert "Clear filters" in emptied.text


def test_run_page_shows_steps_outputs_and_events(workspace, viewer, run, as_role):
    drive(run, as_role)
    client = browser(viewer)
    page = client.get(address(workspace, f"runs/{run.public_id}/"))
    assert page.status_code == 200
    assert "Succeeded" in page.text
    assert "run.succeeded" in page.text
    chosen = client.get(address(workspace, f"runs/{run.public_id}/?at=sum"))
    assert "&quot;value&quot;: 9" in chosen.text


def test_the_log_tells_in_sentences_and_names_the_events(workspace, viewer, run, as_role):
    drive(run, as_role)
    page = browser(viewer).get(address(workspace, f"runs/{run.public_id}/")).text
    assert "The run reached its end." in page
    assert "started version 1 of adding." in page
    assert "run.succeeded" in page


def test_a_run_says_which_person_started_it(workspace, editor, viewer, run):
    client = browser(viewer)
    for rest in ("runs/", f"runs/{run.public_id}/"):
        assert editor.label in client.get(address(workspace, rest)).text


def test_a_run_of_an_integration_names_the_key_and_who_answers_for_it(workspace, admin, viewer):
    with enter(workspace.id):
        published(factories.make_member(workspace, {"editor"}), ADDING, "adding")
        scopes = ["runs:write", "runs:read"]
        key, text = issue_key(actor=admin, name="Northwind back office", scopes=scopes, environment="production")
    asked = {"input": {"first": 4, "second": 5}}
    made = program(text).post("/api/v1/workflows/adding/runs", asked, content_type="application/json")
    client = browser(viewer)
    for rest in ("runs/", f"runs/{made.json()['id']}/"):
        page = client.get(address(workspace, rest)).text
        assert key.name in page
        assert f"key of {admin.label}" in page


def test_a_run_leads_its_auditors_to_its_events(workspace, viewer, auditor, run):
    link = f"?run={run.public_id}"
    assert link not in browser(viewer).get(address(workspace, f"runs/{run.public_id}/")).text
    client = browser(auditor)
    assert link in client.get(address(workspace, f"runs/{run.public_id}/")).text
    assert "run.queued" in client.get(address(workspace, f"audit/{link}")).text


def test_the_same_page_comes_as_a_fragment_for_htmx(workspace, viewer, run):
    fragment = browser(viewer).get(address(workspace, f"runs/{run.public_id}/"), headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert "Steps" in fragment.text


def test_get_asks_and_only_post_cancels(workspace, editor, run, events):
    client = browser(editor)
    where = address(workspace, f"runs/{run.public_id}/cancel")
    assert "Cancel" in client.get(where).text
    client.head(where)
    assert fresh(run).status == "queued"
    assert client.post(where, {"reason": ""}).status_code == 422
    assert client.post(where, {"reason": "Started twice"}).status_code == 302
    assert fresh(run).status == "canceled"
    with enter(workspace.id):
        assert events(Event.RUN_CANCELED)


def test_a_viewer_may_not_cancel(workspace, viewer, run):
    assert browser(viewer).post(address(workspace, f"runs/{run.public_id}/cancel"), {"reason": "x"}).status_code == 403
    assert fresh(run).status == "queued"
    assert "Cancel run" not in browser(viewer).get(address(workspace, f"runs/{run.public_id}/")).text


def test_a_run_of_another_workspace_is_not_found(workspace, other_workspace, run):
    from tests import factories

    stranger = factories.make_member(other_workspace, roles={"admin"})
    assert browser(stranger).get(address(other_workspace, f"runs/{run.public_id}/")).status_code == 404
    assert browser(stranger).get(address(workspace, f"runs/{run.public_id}/")).status_code == 404


def test_workflows_show_versions_and_definition(workspace, viewer, run):
    client = browser(viewer)
    assert "Adding" in client.get(address(workspace, "workflows/")).text
    page = client.get(address(workspace, "workflows/adding/")).text
    assert "v1" in page
    assert "input.first + input.second" in page
    source = page[page.index("steps:") :]
    assert source.index("name: ") < source.index("kind: ") < source.index("value: ")
