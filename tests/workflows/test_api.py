"""Workflows and runs over REST, as an integration with a scoped key sees them."""

import pytest

from apikeys import services as apikeys
from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.browsing import program
from tests.workflows.driving import drive, published
from tests.workflows.samples import ADDING
from workflows import doorbell
from workflows.models import Run

pytestmark = pytest.mark.django_db(transaction=True)

INPUT = {"input": {"first": 4, "second": 5}}


@pytest.fixture
def workspace(db):
    """Not in scope: the door of keys brings it there."""
    return factories.make_workspace()


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)


@pytest.fixture
def owner(workspace):
    with enter(workspace.pk):
        return factories.make_member(workspace, roles={"admin", "editor"})


@pytest.fixture
def client(workspace, owner):
    """A program with a key of these scopes."""

    def issue(*scopes):
        with enter(workspace.pk):
            return program(apikeys.issue_key(actor=owner, name="integration", scopes=set(scopes), expires_in_days=1)[1])

    return issue


@pytest.fixture
def adding(owner):
    with enter(owner.workspace_id):
        return published(owner, ADDING, "adding")


def post(client, path, body=None, **headers):
    return client.post(f"/api/v1/{path}", body or {}, content_type="application/json", **headers)


def test_a_run_is_started_watched_and_found(client, adding, as_role):
    integration = client("runs:write", "runs:read")
    answer = post(integration, "workflows/adding/runs", INPUT)
    assert answer.status_code == 201, answer.content
    started = answer.json()
    assert (started["status"], started["workflow"], started["version"]) == ("queued", "adding", 1)
    assert answer["Location"] == f"/api/v1/runs/{started['id']}"
    with enter(adding.workspace_id):
        run = Run.objects.get()
    drive(run, as_role)
    shown = integration.get(answer["Location"]).json()
    assert (shown["status"], shown["output"], shown["input"]) == ("succeeded", "small 9", INPUT["input"])
    assert [step["status"] for step in shown["steps"]] == ["succeeded", "succeeded", "pending", "succeeded"]
    assert [run["id"] for run in integration.get("/api/v1/runs?status=succeeded").json()["items"]] == [started["id"]]
    assert integration.get("/api/v1/runs?status=failed").json()["items"] == []


def test_trigger_is_another_name_for_the_same(client, adding):
    assert post(client("runs:write"), "workflows/adding/trigger", INPUT).status_code == 201


def test_a_repeat_with_the_same_key_is_answered_with_the_same_run(client, adding):
    integration = client("runs:write")
    first = post(integration, "workflows/adding/runs", INPUT, HTTP_IDEMPOTENCY_KEY="k-1")
    again = post(integration, "workflows/adding/runs", INPUT, HTTP_IDEMPOTENCY_KEY="k-1")
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == first.json()["id"]
    other = post(integration, "workflows/adding/runs", {"input": {"first": 1, "second": 1}}, HTTP_IDEMPOTENCY_KEY="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_an_input_that_does_not_fit_says_which_field(client, adding):
    answer = post(client("runs:write"), "workflows/adding/runs", {"input": {"first": "4"}})
    assert answer.status_code == 422
    assert {error["path"] for error in answer.json()["errors"]} == {"first", "second"}


@pytest.mark.parametrize(
    ("request_line", "missing"),
    [
        ("post workflows/adding/runs", "runs:write"),
        ("get runs", "runs:read"),
        ("get workflows", "workflows:read"),
        ("put workflows/adding/draft", "workflows:write"),
        ("post workflows/adding/publish", "workflows:write"),
    ],
)
def test_a_key_without_the_scope_is_told_which_one_and_the_log_knows(client, adding, events, request_line, missing):
    """M143, M147: a key that starts runs changes no workflow, and one that reads starts none."""
    method, path = request_line.split()
    scopes = {"runs:read", "runs:write", "workflows:read", "workflows:write"} - {missing}
    answer = getattr(client(*scopes), method)(f"/api/v1/{path}", {}, content_type="application/json")
    assert (answer.status_code, answer.json()["missing_scope"]) == (403, missing)
    with enter(adding.workspace_id):
        assert len(events(Event.AUTHZ_DENIED)) == 1


def test_a_run_is_canceled_once(client, adding):
    integration = client("runs:write", "runs:read")
    run_id = post(integration, "workflows/adding/runs", INPUT).json()["id"]
    answer = post(integration, f"runs/{run_id}/cancel", {"reason": "wrong input"})
    assert (answer.status_code, answer.json()["status"]) == (202, "canceled")
    assert post(integration, f"runs/{run_id}/cancel").json()["code"] == "run_is_over"


def test_a_run_of_another_workspace_is_not_found(client, adding, workspace, stranger):
    run_id = post(client("runs:write"), "workflows/adding/runs", INPUT).json()["id"]
    with enter(stranger.workspace_id):
        key = apikeys.issue_key(actor=stranger, name="theirs", scopes={"runs:read", "runs:write"}, expires_in_days=1)[1]
    theirs = program(key)
    assert theirs.get(f"/api/v1/runs/{run_id}").status_code == 404
    assert post(theirs, f"runs/{run_id}/cancel").status_code == 404
    assert theirs.get("/api/v1/runs/run_nonsense").status_code == 404


def test_a_workflow_is_drafted_and_published(client):
    author = client("workflows:write", "workflows:read")
    created = post(author, "workflows", {"name": "adding", "source": ADDING})
    assert (created.status_code, created.json()["live"]) == (201, None)
    broken = author.put(
        "/api/v1/workflows/adding/draft",
        {"source": ADDING.replace("next: end", "next: sum")},
        content_type="application/json",
    )
    assert broken.status_code == 200
    assert "cycle" in broken.json()["errors"][0]["message"]
    refused = post(author, "workflows/adding/publish")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_definition")
    author.put("/api/v1/workflows/adding/draft", {"source": ADDING}, content_type="application/json")
    assert post(author, "workflows/adding/publish").json()["number"] == 1
    shown = author.get("/api/v1/workflows/adding").json()
    assert (shown["live"], shown["definition"]["name"]) == (1, "adding")


BOMB = 'a: &a ["x", "x"]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n'


def test_a_text_that_cannot_be_read_is_refused_with_its_place_and_changes_nothing(client, workspace, events):
    """T30: an alias bomb is refused at its first anchor, as a new workflow and as a change of one."""
    author = client("workflows:write", "workflows:read")
    answers = [post(author, "workflows", {"name": "bomb", "source": BOMB})]
    post(author, "workflows", {"name": "adding", "source": ADDING})
    answers.append(
        author.put("/api/v1/workflows/adding/draft", {"source": BOMB}, content_type="application/json"),
    )
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_definition")
        assert "Line 1, column 4: anchors (&a) are not allowed; remove it" in answer.json()["detail"]
    assert author.get("/api/v1/workflows/bomb").status_code == 404
    assert author.get("/api/v1/workflows/adding").json()["draft"] == ADDING
    with enter(workspace.pk):
        assert len(events(Event.WORKFLOW_DRAFT_SAVED)) == 1


def test_a_definition_may_come_as_json(client):
    author = client("workflows:write", "workflows:read")
    definition = {
        "name": "tiny",
        "title": "Tiny",
        "environment": "development",
        "input": {"type": "object"},
        "steps": [{"name": "one", "kind": "transform", "output": 1}],
    }
    assert post(author, "workflows", {"name": "tiny", "definition": definition}).status_code == 201
    assert post(author, "workflows/tiny/publish").status_code == 201
    both = post(author, "workflows", {"name": "tiny", "definition": definition, "source": "x"})
    assert both.status_code == 422
