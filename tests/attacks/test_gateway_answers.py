"""What a hostile server answers: too large, malformed, another's, or not what it promised (gateway.md 5, rows 10, 11, 14, 16, 19)."""

import json

import pytest

from audit.taxonomy import Event
from gateway.contract import CallState
from tests.fakes.mcp_server import fake_mcp, tool
from tests.gateway.world import SECRET


def big(connection, message_id):
    item = json.dumps({"type": "text", "text": "x" * 1_000_000}).encode()
    head = b'{"jsonrpc":"2.0","id":%d,"result":{"resultType":"complete","content":[' % message_id
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + head)
    for _ in range(20):
        connection.send(item + b",")
    connection.send(item + b"]}}")
    connection.socket.close()


def deep(connection, message_id):
    connection.answer(
        b'{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":%s}}' % (message_id, b"[" * 5000 + b"]" * 5000)
    )


def many(connection, message_id):
    result = {"content": [{"type": "text", "text": "x"}] * 5000}
    connection.answer(json.dumps({"jsonrpc": "2.0", "id": message_id, "result": result}).encode())


def compressed(connection, message_id):
    import gzip

    body = gzip.compress(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}' % message_id)
    connection.answer(body, Content_Encoding="gzip")


def raw(body):
    return lambda connection, message_id: connection.answer(body.replace(b"$ID", str(message_id).encode()))


HOSTILE_ANSWERS = {
    "20 MB": (big, "result.too_large"),
    "5000 levels": (deep, "upstream.protocol"),
    "5000 items": (many, "result.too_many_items"),
    "compressed": (compressed, "egress.compressed"),
    "duplicate keys": (raw(b'{"jsonrpc":"2.0","id":$ID,"id":$ID,"result":{"content":[]}}'), "upstream.protocol"),
    "NaN": (raw(b'{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"structuredContent":NaN}}'), "upstream.protocol"),
    "1e400": (
        raw(b'{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"structuredContent":1e400}}'),
        "upstream.protocol",
    ),
    "another id": (raw(b'{"jsonrpc":"2.0","id":9$ID,"result":{"content":[]}}'), "upstream.protocol"),
    "the id as text": (raw(b'{"jsonrpc":"2.0","id":"$ID","result":{"content":[]}}'), "upstream.protocol"),
    "a batch": (raw(b'[{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}]'), "upstream.protocol"),
    "sampling": (raw(b'{"jsonrpc":"2.0","id":$ID,"method":"sampling/createMessage","params":{}}'), "upstream.protocol"),
    "input required": (
        raw(b'{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"input_required"}}'),
        "upstream.protocol",
    ),
    "unknown content": (
        raw(b'{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"script"}]}}'),
        "upstream.protocol",
    ),
    "HTML": (lambda c, _i: c.answer(b"<html>", Content_Type="text/html"), "upstream.error"),
}


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
def test_a_hostile_answer_is_a_clear_error_and_an_event(echo, fake, name):
    """Rows 11, 14, 16 and 19."""
    handler, rule = HOSTILE_ANSWERS[name]
    fake.reply = lambda _name, _arguments: handler
    response = echo.call("helper", "up.echo", text="x")
    assert (response.state, response.rule) == (CallState.FAILED, rule), response
    assert response.result is None
    assert len(response.reason) > 20
    (event,) = echo.events(Event.MCP_TOOL_CALLED)
    assert (event.outcome, echo.rule(Event.MCP_TOOL_CALLED)) == ("failure", rule)


def test_the_words_of_a_server_s_error_are_not_passed_on(echo, fake):
    fake.reply = lambda _n, _a: raw(
        b'{"jsonrpc":"2.0","id":$ID,"error":{"code":-1,"message":"key was ' + SECRET.encode() + b'"}}'
    )
    response = echo.call("helper", "up.echo", text="x")
    assert SECRET not in json.dumps(response.to_json())
    assert (response.state, response.rule) == (CallState.FAILED, "upstream.error")


def test_an_answer_that_breaks_its_own_schema_is_not_delivered(world):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with fake_mcp(tool("count", outputSchema=schema)) as server:
        world.add_server("up", server.url)
        world.review("up.count")
        world.add_agent("helper", ["up.count"])
        world.grant("helper", "up.count")
        server.reply = lambda _n, _a: {"content": [], "structuredContent": {"n": "many"}}
        assert world.call("helper", "up.count").rule == "result.schema"
        server.reply = lambda _n, _a: {"content": [], "structuredContent": {"n": 3}}
        assert world.call("helper", "up.count").state is CallState.SUCCEEDED
