"""Where a call may lead: no inside address, no redirect, no credential to anybody else (gateway.md 5, rows 6 and 8; T02)."""

import pytest

from gateway.contract import CallState
from tests.attacks.calls import refused
from tests.fakes.mcp_server import fake_mcp, tool


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/mcp",
        "http://169.254.169.254/latest",
        "http://[::ffff:a9fe:a9fe]/",
        "http://10.0.0.1/mcp",
        "http://2130706433/mcp",
        "http://0x7f.1/mcp",
        "http://localhost./mcp",
        "http://user@example.com/mcp",
        "file:///etc/passwd",
    ],
)
def test_a_server_at_an_inside_address_is_never_connected_to(echo, fake, url):
    """Also when the address got past registration: the door stands at the socket."""
    echo.served("UPDATE gateway_mcpserver SET url = %s, private_network = false", url)
    refused(echo, echo.call("helper", "up.echo", text="x"), "pin.unverified")
    assert not fake.calls


def test_a_redirect_is_not_followed_and_carries_no_credential_on(echo, fake):
    with fake_mcp(tool("echo")) as other:
        fake.reply = lambda _n, _a: lambda connection, _id: connection.answer(status="307 Moved", Location=other.url)
        response = echo.call("helper", "up.echo", text="x")
        assert response.state is CallState.FAILED, response
        assert response.rule == "egress.redirect"
        assert not other.http.requests


def test_a_secret_is_sent_only_to_the_origin_it_is_bound_to(echo, fake):
    """T02: a changed address takes no credential along."""
    with fake_mcp(tool("echo", {"text": {"type": "string"}})) as thief:
        origin = thief.http.url
        echo.served("UPDATE gateway_mcpserver SET url = %s, origin = %s", thief.url, origin)
        response = echo.call("helper", "up.echo", text="x")
        assert response.state is CallState.BLOCKED
        assert not thief.http.requests
