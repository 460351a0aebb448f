"""Servers of both eras are spoken to as they want, with exactly one request per call."""

import json
import socket

import pytest

from gateway.contract import CallState
from tests.fakes.mcp_server import fake_mcp, text, tool


@pytest.fixture
def old(world):
    with fake_mcp(tool("echo", {"text": {"type": "string"}}), is_modern=False) as server:
        world.add_server("up", server.url)
        world.review("up.echo")
        world.add_agent("helper", ["up.echo"])
        world.grant("helper", "up.echo")
        yield server


def test_an_older_server_gets_a_session_and_one_request_per_call(world, old):
    world.call("helper", "up.echo", text="first")
    seen = len(old.http.requests)
    assert world.call("helper", "up.echo", text="second").state is CallState.SUCCEEDED
    assert len(old.http.requests) == seen + 1
    assert old.calls[-1].headers["mcp-session-id"] == "session-1"
    assert "_meta" not in json.loads(old.calls[-1].body)["params"]


def test_a_session_that_the_server_forgot_is_made_anew(world, old):
    assert world.call("helper", "up.echo", text="a").state is CallState.SUCCEEDED
    old.lose_sessions = 1
    assert world.call("helper", "up.echo", text="b").state is CallState.SUCCEEDED


def test_a_modern_server_gets_one_request_per_call(echo, fake):
    echo.call("helper", "up.echo", text="first")
    seen = len(fake.http.requests)
    echo.call("helper", "up.echo", text="second")
    assert len(fake.http.requests) == seen + 1
    assert fake.calls[-1].headers["mcp-name"] == "echo"


def test_an_event_stream_is_read_to_its_response(echo, fake):
    def stream(connection, message_id):
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
        answer = {"jsonrpc": "2.0", "id": message_id, "result": text("streamed")}
        body = "".join(f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n" for message in (note, answer))
        connection.answer(f": ping\r\n\r\n{body}".encode(), Content_Type="text/event-stream")

    fake.reply = lambda _n, _a: stream
    assert echo.call("helper", "up.echo", text="x").result.text == "streamed"


def test_a_write_whose_answer_was_lost_is_indeterminate_and_never_repeated(world):
    """runs.md 3.4: nobody knows whether it happened, so nobody may act as if it had not."""
    with fake_mcp(tool("send", {"text": {"type": "string"}})) as server:
        world.add_server("up", server.url, access="write")
        world.environment = "development"
        world.review("up.send", "write")
        world.add_agent("helper", ["up.send"], trust="high")
        world.served("UPDATE secrets_vault_secret SET access = 'write'")
        world.grant("helper", "up.send")
        server.reply = lambda _n, _a: lambda connection, _id: connection.socket.shutdown(socket.SHUT_RDWR)
        response = world.call("helper", "up.send", text="x")
        assert (response.state, response.rule) == (CallState.INDETERMINATE, "upstream.broken"), response
        assert len(server.calls) == 1
        again = world.call("helper", "up.send", call_id=response.call_id, key=f"key-{response.call_id}", text="x")
        assert again.state is CallState.INDETERMINATE
        assert len(server.calls) == 1
