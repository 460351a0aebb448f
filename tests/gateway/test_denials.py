"""Every refusal at a gateway door is an event: strangers aggregated (T26), callers named, in either kind of process."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest
from django.conf import settings
from django.db import transaction

from apikeys import keytext
from apikeys.services import issue_key, revoke_key
from audit.models import AuditDetail
from audit.signing import KeyRing
from audit.taxonomy import Event
from gateway import tokens
from tests import databases
from tests.factories import instance_events, make_provider
from tests.gateway.world import CALL_TOKEN, detail
from tests.ports import free_ports

ALLOWED = {200, 202}


@pytest.fixture
def told(world):
    """The refusals of strangers that this test's log tells, each with its erasable detail."""
    return lambda: [(event, _facts(event)) for event in instance_events(Event.AUTHZ_DENIED)]


def _facts(event):
    before = databases.become("prov_audit_read")
    try:
        with transaction.atomic():
            return AuditDetail.objects.get(event_id=event.id).facts
    finally:
        databases.become(before)


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/mcp", {}, 401, "key_missing"),
        ("/mcp", {"X-API-Key": keytext.new_key()}, 401, "key_unknown"),
        ("/mcp", {"Authorization": "Bearer of-somebody-else"}, 401, "key_not_whole"),
        ("/mcp", {"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
        ("/mcp", {"Host": "evil.example"}, 421, "host_not_served"),
        ("/call", {}, 401, "unauthenticated"),
        ("/call/tools", {"Authorization": "Bearer forged"}, 401, "unauthenticated"),
        ("/call/model/x/chat/completions", {"Authorization": "Bearer forged"}, 401, "unauthenticated"),
        ("/call", {"Host": "evil.example"}, 421, "host_not_served"),
    ],
)
def test_a_stranger_s_refusal_is_told_without_what_it_presented(world, told, *, path, headers, status, code):
    answer = httpx2.post(f"{world.url}{path}", json={}, headers=headers)
    assert answer.status_code == status
    ((event, facts),) = told()
    assert (event.outcome, facts["code"], facts["source"]) == ("blocked", code, "127.0.0.1")
    assert facts["door"] == f"/{path.split('/')[1]}"
    assert not any(value in event.body + str(facts) for value in headers.values())


def test_an_expired_run_token_is_a_stranger_s(world, told):
    world.add_agent("helper", [])
    token = tokens.mint(world.claims("helper"), CALL_TOKEN, lifetime_seconds=-1)
    httpx2.post(f"{world.url}/call/tools", json={}, headers={"Authorization": f"Bearer {token}"})
    assert len(told()) == 1


def test_a_flood_of_strangers_is_a_handful_of_events(world, told):
    """T26: the 1st, 10th, … of a source and minute; their gaps count the others."""
    with httpx2.Client(base_url=world.url) as client:
        for _ in range(30):
            client.post("/call", json={})
            client.post("/mcp", json={})
    # 60 in one minute are two events; should the minute turn, two for each, and what the first did not tell.
    assert 2 <= len(told()) <= 5


def test_a_key_that_was_good_once_is_counted_by_itself(world, told):
    world.add_agent("helper", [])
    key, text = issue_key(actor=world.admin, name="k", scopes=["gateway:read"], agent_id=world.agents["helper"].id)
    revoke_key(actor=world.admin, key_id=key.pk, reason="Found in a repository.")
    httpx2.post(f"{world.url}/mcp", json={}, headers={"X-API-Key": text})
    ((_event, facts),) = told()
    assert (facts["source"], facts["code"]) == (f"key {key.prefix}", "key_revoked")


def test_a_good_key_without_an_agent_is_denied_by_name_in_its_workspace(world, told):
    key, text = issue_key(actor=world.admin, name="reader", scopes=["gateway:read"])
    assert httpx2.post(f"{world.url}/mcp", json={}, headers={"X-API-Key": text}).status_code == 403
    (event,) = world.events(Event.AUTHZ_DENIED)
    assert (event.actor_type, event.actor_id, event.object_id) == ("integration", str(key.pk), "/mcp")
    assert "not bound to an agent" in detail(event)["reason"]
    assert told() == []


class TestModelCalls:
    @pytest.fixture
    def analyst(self, world):
        make_provider(world.admin)
        world.add_agent("analyst", [], provider="scripted", model="scripted-analyst-2026-11-01")
        return world

    def refused(self, world, provider="scripted", model="scripted-analyst-2026-11-01", **claims):
        token = tokens.mint(world.claims("analyst", **claims), CALL_TOKEN)
        url = f"{world.url}/call/model/{provider}/chat/completions"
        answer = httpx2.post(url, json={"model": model}, headers={"Authorization": f"Bearer {token}"})
        (event,) = world.events(Event.AUTHZ_DENIED)
        assert (event.outcome, event.run_id) == ("blocked", world.run.id)
        assert detail(event)["rule"] == answer.json()["code"]
        return answer.json()["code"], event

    def test_another_model(self, analyst):
        assert self.refused(analyst, model="gpt-of-my-own")[0] == "model_not_pinned"

    def test_another_provider_and_its_name_is_erasable(self, analyst):
        code, event = self.refused(analyst, provider="my-own-provider")
        assert code == "provider_unknown"
        assert "my-own-provider" not in event.body

    def test_a_lost_lease(self, analyst):
        assert self.refused(analyst, fence=7)[0] == "call.fenced"

    def test_a_secret_that_is_not_bound(self, analyst):
        assert self.refused(analyst)[0] == "secret_not_bound"


@contextmanager
def separate_gateway():
    """A process of the gateway's role alone, with the gateway's sign-in and the gateway's keys."""
    port = free_ports(1)
    held = {kid: key for kid, key in settings.AUDIT_MAC_KEYS.items() if kid in {"gateway-1", "web-1"}}
    environ = {
        "PATH": os.environ["PATH"],
        "PROVENANCE_HOME": os.environ["PROVENANCE_HOME"],
        "PROVENANCE_ENV": "test",
        "PROVENANCE_ROLE": "gateway",
        "PROVENANCE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": databases.role_url("gateway"),
        "AUDIT_MAC_KEYS": ",".join(f"{kid}:{key}" for kid, key in held.items()),
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "gateway.server:application",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(command, cwd=databases.CHECKOUT, env=environ)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(url, process):
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert process.poll() is None, "the gateway ended"
        try:
            assert httpx2.get(url).status_code in ALLOWED
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the gateway did not start")


def test_a_gateway_that_is_a_process_of_its_own_tells_its_refusals_too(world, told):
    """It signs as gateway, and Postgres takes into the log of no workspace nothing else from it."""
    _key, reader = issue_key(actor=world.admin, name="reader", scopes=["gateway:read"])
    with separate_gateway() as url:
        assert httpx2.post(f"{url}/mcp", json={}, headers={"X-API-Key": keytext.new_key()}).status_code == 401
        assert httpx2.post(f"{url}/mcp", json={}, headers={"X-API-Key": reader}).status_code == 403
    ((event, facts),) = told()
    assert (event.kid, facts["code"]) == ("gateway-1", "key_unknown")
    assert KeyRing.from_settings().key(event.kid, None).verifies(event.body.encode(), bytes(event.mac))
    assert [event.kid for event in world.events(Event.AUTHZ_DENIED)] == ["gateway-1"]
