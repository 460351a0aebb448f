"""Agents through HTTP: what programs and people see (M080, C16)."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents import services
from agents.diffs import prompt_digest
from apikeys import services as keys
from audit import awaiting
from audit.taxonomy import Event
from provenance.db import enter
from provenance.permissions import SCOPES
from tests import factories
from tests.audit import sealing
from tests.browsing import browser, program

pytestmark = pytest.mark.django_db(transaction=True)
PROMPT = factories.agent_configuration().system_prompt


@pytest.fixture
def workspace(db):
    """Not in scope: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def agent(workspace, editor):
    with enter(workspace.id):
        made = factories.make_agent(editor)
        services.publish_version(
            actor=editor, agent_id=made.pk, configuration=factories.agent_configuration(max_turns=3)
        )
        return made


@pytest.fixture
def api(workspace, admin):
    """A program with every scope there is."""
    with enter(workspace.id):
        _key, text = keys.issue_key(actor=admin, name="all", scopes=sorted(SCOPES))
    return program(text)


def test_the_list_shows_the_version_in_force(agent, api):
    (item,) = api.get("/api/v1/agents").json()["items"]
    assert (item["slug"], item["trust_level"], item["version"]["number"]) == ("ledger-ops", "low", 2)
    assert item["version"]["scripted"] is True
    assert item["version"]["prompt_digest"] == prompt_digest(PROMPT)


def test_one_agent_one_version_and_what_it_changed(agent, api):
    assert api.get("/api/v1/agents/ledger-ops").json()["versions"] == [2, 1]
    assert api.get("/api/v1/agents/ledger-ops/versions/1").json()["max_turns"] == 12
    assert api.get("/api/v1/agents/ledger-ops/versions/2/diff").json() == {
        "former": 1,
        "latter": 2,
        "changes": [{"field": "max_turns", "before": 12, "after": 3}],
    }


@pytest.mark.parametrize("path", ["nobody", "ledger-ops/versions/9", "ledger-ops/versions/9/diff"])
def test_what_is_not_there_is_not_found(agent, api, path):
    assert api.get(f"/api/v1/agents/{path}").status_code == 404


def test_a_key_without_the_scope_is_told_which_one(workspace, admin, agent):
    with enter(workspace.id):
        _key, text = keys.issue_key(actor=admin, name="k", scopes=["runs:read"])
    response = program(text).get("/api/v1/agents")
    assert response.status_code == 403
    assert json.loads(response.content)["missing_scope"] == "agents:read"


def test_the_list_asks_the_database_the_same_number_of_times(workspace, editor, api):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert api.get("/api/v1/agents").status_code == 200
        return len(captured)

    with enter(workspace.id):
        factories.make_agent(editor, slug="first")
    few = queries()
    with enter(workspace.id):
        for number in range(8):
            factories.make_agent(editor, slug=f"agent-{number}")
    assert queries() == few


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_a_viewer_sees_agents_but_no_instructions(workspace, viewer, agent):
    client = browser(viewer)
    listed = client.get(f"/w/{workspace.slug}/agents/").content.decode()
    shown = client.get(f"/w/{workspace.slug}/agents/ledger-ops/").content.decode()
    assert "Ledger ops" in listed
    assert "Scripted, not a language model" in listed
    assert "erp.getVendor" in shown
    assert "Change bank details of a vendor." in shown
    assert "marzipan" not in listed + shown
    assert "Read the instructions" not in shown
    assert client.post(f"/w/{workspace.slug}/agents/ledger-ops/versions/2/prompt").status_code == 403


def test_an_editor_reads_the_instructions_and_leaves_a_trace(workspace, editor, agent, events):
    client, address = browser(editor), f"/w/{workspace.slug}/agents/ledger-ops/versions/2/prompt"
    # A GET leads back to the agent: it shows nothing, and so it leaves no trace.
    assert client.get(address).status_code == 302
    with enter(workspace.id):
        assert not events(Event.AGENT_PROMPT_VIEWED)
    with sealing.going_on():
        response = client.post(address)
    assert "marzipan" in response.content.decode()
    assert response["Cache-Control"] == "no-store"
    with enter(workspace.id):
        assert len(events(Event.AGENT_PROMPT_VIEWED)) == 1


def test_instructions_that_are_not_sealed_in_time_are_withheld_and_the_reading_stays_in_the_log(
    workspace, editor, agent, events, monkeypatch
):
    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.1)
    response = browser(editor).post(f"/w/{workspace.slug}/agents/ledger-ops/versions/2/prompt")
    assert response.status_code == 503
    assert "marzipan" not in response.content.decode()
    assert "was not sealed" in response.content.decode()
    with enter(workspace.id):
        assert len(events(Event.AGENT_PROMPT_VIEWED)) == 1


def test_another_tenants_page_is_not_found(agent, stranger, workspace):
    assert browser(stranger).get(f"/w/{workspace.slug}/agents/").status_code == 404
