"""Text that no database stores and numbers that no parser should read: refused by name at every door, never a 500 (T30)."""

import json

import pytest

from apikeys import services as apikeys
from provenance.db import enter
from tests import factories
from tests.browsing import program
from tests.workflows.driving import published
from tests.workflows.samples import ADDING
from workflows import doorbell

pytestmark = pytest.mark.django_db(transaction=True)

SCOPES = {"runs:write", "runs:read", "workflows:write", "workflows:read", "audit:read", "approvals:read", "agents:read"}
BAD_TEXT = {"half a surrogate pair": "\\ud800", "U+0000": "\\u0000", "both": "a\\udfff\\u0000"}
BAD_ADDRESSES = [
    "runs?status=%00",
    "runs?workflow=%00",
    "runs?cursor=%00",
    "runs?limit=%00",
    "audit/events?actor=%00",
    "audit/events?object=%00",
    "audit/events?type=%00",
    "audit/events?%00=x",
    "approvals?status=%00",
]


@pytest.fixture
def integration(monkeypatch):
    """A program with a key, in a workspace with one workflow."""
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)
    workspace = factories.make_workspace()
    with enter(workspace.pk):
        owner = factories.make_member(workspace, roles={"admin", "editor", "auditor"})
        published(owner, ADDING, "adding")
        key = apikeys.issue_key(actor=owner, name="integration", scopes=SCOPES, expires_in_days=1)[1]
    return program(key)


def refused(response):
    assert 400 <= response.status_code < 500, (response.status_code, response.content)
    problem = json.loads(response.content)
    assert problem["code"] not in {"unauthenticated", "permission_denied", "not_found"}, problem
    assert len(problem["detail"]) > 10


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_with_nul_in_it_is_refused_by_name(integration, address):
    refused(integration.get(f"/api/v1/{address}"))


@pytest.mark.parametrize("kind", BAD_TEXT)
def test_the_input_of_a_run_is_refused(integration, kind):
    for body in (f'{{"input": {{"first": "{BAD_TEXT[kind]}"}}}}', f'{{"input": {{"{BAD_TEXT[kind]}": 1}}}}'):
        refused(integration.post("/api/v1/workflows/adding/runs", body, content_type="application/json"))


def test_a_number_of_five_thousand_digits_is_refused(integration):
    body = f'{{"input": {{"first": {"9" * 5000}, "second": 1}}}}'
    refused(integration.post("/api/v1/workflows/adding/runs", body, content_type="application/json"))


def sources():
    """Drafts that spell what cannot be stored, in YAML and in JSON, as a value and as a key."""
    for kind, text in BAD_TEXT.items():
        yield pytest.param(f'name: "{text}"\n', id=f"YAML value, {kind}")
        yield pytest.param(f'"{text}": 1\n', id=f"YAML key, {kind}")
        yield pytest.param(f'steps: ["a", {{x: "{text}"}}]\n', id=f"nested YAML, {kind}")
        yield pytest.param(f'{{"name": "{text}"}}', id=f"JSON value, {kind}")
        yield pytest.param(f'{{"{text}": 1}}', id=f"JSON key, {kind}")
    yield pytest.param('name: "\\0"\n', id="YAML short U+0000")
    yield pytest.param("{" + f'"budget": {"9" * 5000}' + "}", id="JSON of 5000 digits")


@pytest.mark.parametrize("source", list(sources()))
def test_a_draft_that_cannot_be_stored_is_refused(integration, source):
    for way in (json.dumps({"source": source}), json.dumps({"source": source.replace("\\u0000", "\0")})):
        refused(integration.put("/api/v1/workflows/adding/draft", way, content_type="application/json"))


def test_a_yaml_number_of_five_thousand_digits_is_text_and_no_error_of_ours(integration):
    body = json.dumps({"source": f"budget: {'9' * 5000}\n"})
    response = integration.put("/api/v1/workflows/adding/draft", body, content_type="application/json")
    assert response.status_code < 500
