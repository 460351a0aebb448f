"""Who stands at the gateway's doors: tokens of others and ours, hosts, origins, ids (gateway.md 5, rows 5, 7, 15, 17)."""

import httpx2
import pytest

from gateway import tokens
from gateway.contract import CallState
from provenance.ids import uuid7
from tests import factories
from tests.attacks.calls import call_body
from tests.gateway.world import CALL_TOKEN, SECRET


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Bearer not-a-token"},
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "prov_12345678_12345678901234567890123456789012_123456"},
    ],
    ids=["none", "garbage", "an upstream's", "basic", "a key"],
)
@pytest.mark.parametrize("path", ["/call", "/call/tools", "/call/facts", "/mcp"])
def test_no_door_opens_without_its_own_token(echo, fake, path, header):
    response = httpx2.post(f"{echo.url}{path}", json={}, headers=header)
    assert response.status_code == 401
    assert not fake.calls


@pytest.mark.parametrize("key", ["k" * 44, ""], ids=["another key", "no key"])
def test_a_run_token_that_we_did_not_sign_is_refused(echo, fake, key):
    token = tokens.mint(echo.claims("helper"), key or "x")
    response = httpx2.post(f"{echo.url}/call/tools", json={}, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401


def test_an_expired_run_token_is_refused(echo):
    token = tokens.mint(echo.claims("helper"), CALL_TOKEN, lifetime_seconds=-1)
    response = httpx2.post(f"{echo.url}/call/tools", json={}, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401


def test_the_caller_s_token_and_headers_never_reach_the_server(echo, fake):
    with echo.http("helper") as client:
        client.headers.update({"X-Secret-Of-Mine": "1", "Cookie": "session=abc"})
        client.post("/call", json=call_body("up.echo", text="x"))
    (request,) = fake.calls
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert not {"x-secret-of-mine", "cookie", "x-api-key"} & request.headers.keys()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", ""])
@pytest.mark.parametrize("path", ["/call/tools", "/mcp"])
def test_a_host_that_is_not_ours_is_not_served(echo, path, host):
    with echo.http("helper") as client:
        response = client.post(path, json={}, headers={"Host": host})
    assert response.status_code in {400, 421}


@pytest.mark.parametrize("path", ["/call/tools", "/mcp"])
def test_a_page_of_another_origin_is_not_served(echo, path):
    with echo.http("helper") as client:
        response = client.post(path, json={}, headers={"Origin": "https://evil.example"})
    assert response.status_code == 403


def test_a_deciding_header_may_not_stand_twice(echo):
    token = tokens.mint(echo.claims("helper"), CALL_TOKEN)
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer other")]
    assert httpx2.post(f"{echo.url}/call/tools", json={}, headers=headers).status_code == 400


def test_a_call_id_of_somebody_else_is_unknown(echo, fake):
    call_id = uuid7()
    echo.call("helper", "up.echo", call_id=call_id, text="mine")
    echo.add_agent("other", ["up.echo"])
    assert echo.outcome("other", call_id) is None
    echo.start_run()
    assert echo.outcome("helper", call_id) is None
    stolen = echo.call("helper", "up.echo", call_id=call_id, text="mine")
    assert (stolen.state, stolen.rule, stolen.result) == (CallState.BLOCKED, "call.reused_id", None)
    assert len(fake.calls) == 1


def test_a_token_of_another_workspace_sees_nothing_of_this_one(echo, fake):
    other = factories.make_workspace()
    claims = echo.claims("helper", workspace_id=other.id)
    with httpx2.Client(
        base_url=echo.url, headers={"Authorization": f"Bearer {tokens.mint(claims, CALL_TOKEN)}"}
    ) as client:
        assert client.post("/call/tools", json={}).json()["code"] == "call_fenced"
        response = client.post("/call", json=call_body("up.echo", text="x"))
    assert response.json()["state"] == "blocked"
    assert not fake.calls
