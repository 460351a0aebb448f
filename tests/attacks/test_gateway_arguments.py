"""What a caller puts into its arguments: schema tricks, malformed JSON, names of secrets (gateway.md 5, row 14; T02)."""

import json

import pytest

from audit.taxonomy import Event
from provenance.ids import uuid7
from tests.attacks.calls import call_body, refused
from tests.fakes.mcp_server import fake_mcp
from tests.gateway.world import detail


@pytest.mark.parametrize(
    "arguments", [{"text": 1}, {"text": "x", "extra": 1}, {"text": {"$ref": "x"}}, {"TEXT": "x"}, {"text": ["x"]}]
)
def test_arguments_that_do_not_fit_the_pinned_schema_stay_here(echo, fake, arguments):
    refused(echo, echo.call("helper", "up.echo", **arguments), "arguments.schema")
    assert not fake.calls


@pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": {"text": {"type": "string"}}}])
def test_a_schema_left_open_is_closed_by_us(world, schema):
    with fake_mcp({"name": "open", "inputSchema": schema}) as server:
        world.add_server("up", server.url)
        world.review("up.open")
        world.add_agent("helper", ["up.open"])
        world.grant("helper", "up.open")
        refused(world, world.call("helper", "up.open", smuggled="x"), "arguments.schema")
        assert not server.calls


@pytest.mark.parametrize(
    "body",
    [
        b'{"call_id":"%s","call_key":"k","tool":"up.echo","tool":"up.other","arguments":{}}',
        b'{"call_id":"%s","call_key":"k","tool":"up.echo","arguments":{"text":NaN}}',
        b'{"call_id":"%s","call_key":"k","tool":"up.echo","arguments":{"text":1e400}}',
        b'{"call_id":"%s","call_key":"k","tool":"up.echo","arguments":{"text":"\\ud800"}}',
        b'{"call_id":"%s","call_key":"k","tool":"up.echo","arguments":' + b"[" * 100 + b"]" * 100 + b"}",
        b'[{"call_id":"%s"}]',
        b'{"call_id":"%s"',
        b"",
    ],
    ids=["duplicate key", "NaN", "1e400", "surrogate", "deep", "batch", "cut off", "empty"],
)
def test_a_malformed_call_is_refused_before_anything_looks_at_it(echo, fake, body):
    body = body.replace(b"%s", str(uuid7()).encode())
    with echo.http("helper") as client:
        response = client.post("/call", content=body, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    assert not fake.calls


def test_an_oversized_call_is_refused(echo, fake):
    with echo.http("helper") as client:
        response = client.post("/call", json=call_body("up.echo", text="x" * 2_000_000))
    assert response.status_code == 413
    assert not fake.calls


def test_the_server_gets_our_bytes_and_not_the_caller_s(echo, fake):
    with echo.http("helper") as client:
        body = json.dumps(call_body("up.echo", text="é"), indent=8).replace("é", "\\u00e9").encode()
        client.post("/call", content=body, headers={"content-type": "application/json"})
    (request,) = fake.calls
    assert b'"text":"\xc3\xa9"' in request.body


@pytest.mark.parametrize(
    "place",
    [
        {"text": "secret://erp"},
        {"text": "see SECRET://erp now"},
        {"text": "\uff53ecret://x"},
        {"text": "sec\u200bret://x"},
    ],
)
def test_a_secret_reference_in_arguments_is_refused_and_not_resolved(echo, fake, place):
    """T02."""
    refused(echo, echo.call("helper", "up.echo", **place), "arguments.secret_reference")
    assert "arguments.secret_reference" in {detail(event)["rule"] for event in echo.events(Event.POLICY_VIOLATION)}
    assert not fake.calls
