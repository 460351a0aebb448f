"""Run tokens that their own minter bends: a token is good for minutes, and for nothing once its run has ended (T04)."""

from dataclasses import asdict
from uuid import UUID

import httpx2
import pytest
from django.core import signing

from gateway import tokens
from gateway.contract import CallRequest, FactsRequest
from provenance.ids import uuid7
from tests.gateway.world import CALL_TOKEN


def forged(world, **changes):
    """The headers of a worker that mints what `mint` would not."""
    claims = {
        name: str(value) if isinstance(value, UUID) else value for name, value in asdict(world.claims("helper")).items()
    }
    body = {**claims, "expires_at": 2**31 - 1, **changes}
    token = signing.Signer(key=CALL_TOKEN, salt=tokens.SALT).sign_object(body)
    return {"Authorization": f"Bearer {token}"}


BENT = {
    "lives for ever": {"expires_at": 2**52},
    "lives for longer than numbers go": {"expires_at": 10**400},
    "ends soon, in words": {"expires_at": "soon"},
    "ends never": {"expires_at": None},
    "ends in truth": {"expires_at": True},
    "ends in part": {"expires_at": 1e300},
    "a fence of text": {"fence": "1"},
    "an environment of lists": {"environment": []},
    "a run of numbers": {"run_id": 7},
    "a word too many": {"admin": True},
}


@pytest.mark.parametrize("bend", BENT)
@pytest.mark.parametrize("path", ["/call", "/call/tools", "/call/facts"])
def test_a_bent_token_opens_nothing(echo, path, bend):
    response = httpx2.post(echo.url + path, json={}, headers=forged(echo, **BENT[bend]))
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


def asking(world, path, client):
    call_id = uuid7()
    body = {
        "/call": CallRequest(
            call_id=call_id, call_key=f"key-{call_id}", tool="up.echo", arguments={"text": "x"}
        ).to_json(),
        "/call/tools": {},
        "/call/facts": FactsRequest(tool="up.echo", arguments={"text": "x"}, call_key="key-1").to_json(),
    }[path]
    return client.post(path, json=body)


@pytest.mark.parametrize("path", ["/call/tools", "/call/facts"])
def test_after_its_run_a_token_learns_nothing_more(echo, fake, path):
    with echo.http("helper") as client:
        assert asking(echo, path, client).status_code == 200
        echo.owner_does("UPDATE workflows_token SET state = 'done' WHERE run_id = %s", echo.run.id)
        response = asking(echo, path, client)
    assert (response.status_code, response.json()["code"]) == (409, "call_fenced")


@pytest.mark.parametrize("path", ["/call/tools", "/call/facts"])
def test_a_token_that_lies_about_its_run_learns_nothing(echo, path):
    with echo.http("helper", environment="staging") as client:
        assert asking(echo, path, client).status_code == 409
