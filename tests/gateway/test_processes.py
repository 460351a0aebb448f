"""Production's split: web under granian and the gateway as processes of their own, over one database, each with its role."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from apikeys.services import issue_key
from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.home import CHECKOUT, Home
from tests import databases
from tests.gateway.world import CALL_TOKEN
from tests.ports import free_ports

STARTS_WITHIN_SECONDS = 180


@contextmanager
def running(role, port, log, **variables):
    """`./manage.py run ROLE` as an operator starts it, over the database of this test."""
    command = [sys.executable, str(CHECKOUT / "manage.py"), "run", role]
    environment = {
        "PATH": os.environ["PATH"],
        "PROVENANCE_HOME": str(Home.locate().root),
        "PROVENANCE_ENV": "production",
        "PROVENANCE_PORT": str(port),
        "DATABASE_URL": databases.role_url(role),
        "REDIS_URL": os.environ["TEST_REDIS_URL"],
        **variables,
    }
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def wait_until_ready(url, process, log):
    """Its own `/readyz` says when; a process that ended says why."""
    end = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/readyz", timeout=30).status_code == httpx2.codes.OK:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} is not ready: {log.read_text()}")


@pytest.fixture
def split(echo, tmp_path):
    """The addresses of web and gateway, started at once."""
    ports = {"web": free_ports(1), "gateway": free_ports(1)}
    urls = {role: f"http://127.0.0.1:{port}" for role, port in ports.items()}
    shared = {"PROVENANCE_GATEWAY_URL": urls["gateway"]}
    tokens = {"gateway": {"CALL_TOKEN": CALL_TOKEN}}
    with ExitStack() as stack:
        started = {}
        for role, port in ports.items():
            log = tmp_path / f"{role}.log"
            more = {**shared, "PROVENANCE_URL": urls["web"], **tokens.get(role, {})}
            started[role] = stack.enter_context(running(role, port, log, **more)), log
        for role, (process, log) in started.items():
            wait_until_ready(urls[role], process, log)
        yield urls


def test_each_process_serves_its_half_and_nothing_of_the_other(echo, fake, split):
    _key, text = issue_key(actor=echo.admin, name="program", scopes=["agents:read"], expires_in_days=1)
    web, gateway = split["web"], split["gateway"]

    # Web answers people and programs out of the database.
    assert "Sign in" in httpx2.get(f"{web}/sign-in/", timeout=60).raise_for_status().text
    listed = httpx2.get(f"{web}/api/v1/agents", headers={"X-API-Key": text}, timeout=60)
    assert [agent["slug"] for agent in listed.json()["items"]] == ["helper"]

    # The gateway performs a call, and signs it with its own key.
    echo.url = gateway
    assert echo.call("helper", "up.echo", text="hello").state is CallState.SUCCEEDED
    assert fake.sent == [{"text": "hello"}]
    (called,) = echo.events(Event.MCP_TOOL_CALLED)
    assert called.kid == "gateway-1"

    # Neither is a way round into the other.
    assert httpx2.post(f"{web}/call", json={}, timeout=60).status_code in {403, 404, 405}
    assert httpx2.get(f"{gateway}/sign-in/", timeout=60).status_code == httpx2.codes.NOT_FOUND
    assert httpx2.get(f"{gateway}/api/v1/agents", headers={"X-API-Key": text}, timeout=60).status_code == (
        httpx2.codes.NOT_FOUND
    )
