"""The published schema: generated without a doubt, and true of what the API answers."""

import json

import jsonschema_rs
import pytest
from django.core.management import call_command
from django.test import Client

from apikeys import services as apikeys
from provenance.db import enter
from tests import factories
from tests.browsing import program


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """The schema, after a generator that takes warnings for errors has checked it against OpenAPI."""
    path = tmp_path_factory.mktemp("schema") / "schema.json"
    call_command("spectacular", file=str(path), format="openapi-json", fail_on_warn=True, validate=True)
    return json.loads(path.read_text("utf-8"))


@pytest.fixture
def workspace(db):
    """Not in scope: the door of keys brings it there."""
    return factories.make_workspace()


@pytest.fixture
def owner(workspace):
    with enter(workspace.pk):
        return factories.make_member(workspace, roles={"admin", "editor"})


@pytest.fixture
def client(workspace, owner):
    """A program that may read agents and the log and nothing else."""
    with enter(workspace.pk):
        scopes = {"agents:read", "audit:read"}
        return program(apikeys.issue_key(actor=owner, name="reader", scopes=scopes, expires_in_days=1)[1])


def operations(schema):
    return [(path, method, body) for path, item in schema["paths"].items() for method, body in item.items()]


def validator(schema, path, status, media_type="application/json"):
    """Checks answers of a GET as the schema describes them; references resolve inside it."""
    described = schema["paths"][path]["get"]["responses"][status]["content"][media_type]["schema"]
    return jsonschema_rs.validator_for({**described, "components": schema["components"]})


def is_list(operation):
    content = operation["responses"].get("200", {}).get("content", {})
    return content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("Page")


def test_no_operation_answers_with_a_bare_array(schema):
    described = [body["responses"][status] for _, _, body in operations(schema) for status in body["responses"]]
    shapes = [content["schema"] for answer in described for content in answer.get("content", {}).values()]
    assert shapes
    assert not [shape for shape in shapes if shape.get("type") == "array"]


def test_each_list_names_its_page_and_how_to_get_the_next(schema):
    lists = {path: body for path, _, body in operations(schema) if is_list(body)}
    assert {path.removeprefix("/api/v1/") for path in lists} == {
        "agents", "approvals", "audit/digests", "audit/events", "audit/holds", "audit/sinks", "audit/timelines/{kind}/{subject}", "grants", "halts", "runs", "servers", "tools", "workflows",
    }  # fmt: skip
    for body in lists.values():
        assert {"limit", "cursor"} <= {parameter["name"] for parameter in body["parameters"]}


def test_each_operation_says_its_scope_and_how_it_refuses(schema):
    for path, method, body in operations(schema):
        assert "Scope: " in body["description"], (method, path)
        assert {"401", "default"} <= set(body["responses"]), (method, path)
    start = schema["paths"]["/api/v1/workflows/{slug}/runs"]["post"]
    assert "`runs:write`" in start["description"]
    assert {"201", "401", "403", "404", "409", "422"} <= set(start["responses"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/api/v1/agents", "/api/v1/audit/events"])
def test_a_real_page_is_what_the_schema_says(schema, client, owner, address):
    with enter(owner.workspace_id):
        for slug in ("first", "second"):
            factories.make_agent(owner, slug=slug)
    answer = client.get(f"{address}?limit=1").json()
    page = validator(schema, address, "200")
    page.validate(answer)
    assert answer["next"]
    page.validate(client.get(f"{address}?cursor={answer['next']}").json())
    assert not page.is_valid(answer["items"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("query", "key", "status"), [("", False, 401), ("?limit=0", True, 422)])
def test_a_real_refusal_is_what_the_schema_says(schema, client, query, key, status):
    answer = (client if key else Client()).get(f"/api/v1/agents{query}")
    assert answer.status_code == status
    validator(schema, "/api/v1/agents", str(status), "application/problem+json").validate(answer.json())


@pytest.mark.django_db(transaction=True)
def test_a_missing_scope_is_refused_as_the_schema_says(schema, client):
    answer = client.get("/api/v1/runs")
    assert answer.status_code == 403
    validator(schema, "/api/v1/runs", "403", "application/problem+json").validate(answer.json())


def test_a_value_that_may_be_any_json_may_be_null(schema):
    """`oneOf` with any JSON and null refuses null, because it fits both."""
    for name, shape in schema["components"]["schemas"].items():
        for field, described in shape.get("properties", {}).items():
            assert {} not in described.get("oneOf", []), (name, field)
