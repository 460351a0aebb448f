"""What became of a `once` call whose answer was lost: the gateway asks the tool that its reviewer named (runs.md 3.4)."""

import socket
import threading

import pytest

from audit.taxonomy import Event
from gateway.contract import CallState
from gateway.models import ToolCall
from provenance.db import enter
from provenance.errors import Invalid
from provenance.ids import uuid7
from tests.fakes.mcp_server import fake_mcp, tool
from tests.gateway.world import detail, reread_policy

KEY = {"key": {"type": "string"}}
SENT = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
ANSWER = {"number": 7}


@pytest.fixture
def post(world):
    """`up.send`, which may be sent once, and `up.sent`, which knows by the key what was sent."""
    tools = [tool("send", {"text": {"type": "string"}, **KEY}, outputSchema=SENT), tool("sent", KEY)]
    with fake_mcp(*tools) as server:
        world.environment = "development"
        world.add_server("up", server.url, access="write")
        world.review("up.sent")
        world.review("up.send", "write", idempotency_argument="key", verify_tool="sent")
        world.add_agent("helper", ["up.send"], trust="high")
        world.grant("helper", "up.send")
        world.start_run()
        yield server


def losing(word):
    """The answer to `send` is lost on its way; `sent` says the word, which may be a handler of the connection."""

    def reply(name, _arguments):
        if name == "send":
            return lambda connection, _id: connection.socket.shutdown(socket.SHUT_RDWR)
        return word if callable(word) else {"content": [], "structuredContent": word}

    return reply


def happened(**result):
    return {"happened": True, **({"result": result} if result else {})}


def sending(world, call_id=None, key="the-key"):
    return world.call("helper", "up.send", call_id=call_id, key=key, text="hello")


def let_time_pass(world):
    """Nobody can still be performing any call."""
    world.owner_does("UPDATE gateway_toolcall SET not_after = now() - interval '1 hour'")


def names(post):
    return ["sent" if "text" not in arguments else "send" for arguments in post.sent]


def test_a_call_that_happened_is_settled_by_what_the_verify_tool_says_of_it(world, post):
    post.reply = losing(happened(**ANSWER))
    call_id = uuid7()

    response = sending(world, call_id)

    assert (response.state, response.rule) == (CallState.SUCCEEDED, "call.verified")
    assert response.result.structured_content == ANSWER
    assert names(post) == ["send", "sent"]
    assert post.sent[1] == {"key": "the-key"}
    assert world.outcome("helper", call_id).result.structured_content == ANSWER
    # Once more, and nothing is asked or sent again.
    assert sending(world, call_id).result.structured_content == ANSWER
    assert len(post.calls) == 2


def test_the_question_is_a_recorded_call_of_its_own(world, post):
    """Before and after, like every call, and the settled call names it."""
    post.reply = losing(happened(**ANSWER))
    call_id = uuid7()
    sending(world, call_id)
    with enter(world.workspace.id):
        question = ToolCall.objects.get(tool_name="up.sent")
    assert (question.state, question.run_id) == ("succeeded", world.run.id)
    before = [detail(event) for event in world.events(Event.MCP_TOOL_REQUESTED)]
    assert [entry.get("verifies") for entry in before] == [None, str(call_id)]
    lost, asked, settled = world.events(Event.MCP_TOOL_CALLED)
    assert [event.object_id for event in (lost, asked, settled)] == [str(call_id), str(question.pk), str(call_id)]
    assert [event.outcome for event in (lost, asked, settled)] == ["unknown", "success", "success"]
    said = detail(settled)
    assert (said["rule"], said["verified_by"], said["verification"]) == ("call.verified", "up.sent", str(question.pk))


def test_a_no_counts_only_when_nobody_can_still_be_performing_the_call(world, post):
    post.reply = losing({"happened": False})
    call_id = uuid7()

    early = sending(world, call_id)
    assert early.state is CallState.INDETERMINATE
    assert early.retry_after_seconds > 1

    let_time_pass(world)
    late = sending(world, call_id)
    assert (late.state, late.rule) == (CallState.FAILED, "call.did_not_happen")
    assert names(post) == ["send", "sent", "sent"]


def test_a_gateway_that_died_in_a_call_leaves_one_that_is_asked_about(world, post):
    """`started` stands there, and nobody performs it any more: the next who claims the step asks (T04)."""
    post.reply = losing(happened(**ANSWER))
    call_id = uuid7()
    sending(world, call_id)
    world.owner_does("UPDATE gateway_toolcall SET state = 'started', rule = '', result_ref = '', finished_at = NULL")
    let_time_pass(world)
    assert world.outcome("helper", call_id).state is CallState.INDETERMINATE
    assert sending(world, call_id).state is CallState.SUCCEEDED
    assert names(post).count("send") == 1


CANNOT_SAY = {
    "no form": {"content": [{"type": "text", "text": "yes, it happened"}]},
    "not a boolean": {"happened": "yes"},
    "no result": happened(),
    "another result": happened(number="seven"),
    "an error": lambda connection, _id: connection.answer(status="500 Broken"),
    "silence": lambda connection, _id: connection.socket.shutdown(socket.SHUT_RDWR),
}


@pytest.mark.parametrize("name", CANNOT_SAY)
def test_a_verify_tool_that_cannot_say_leaves_the_call_to_a_person(world, post, name):
    post.reply = losing(CANNOT_SAY[name])
    call_id = uuid7()
    sending(world, call_id)
    let_time_pass(world)
    response = sending(world, call_id)
    assert (response.state, response.retry_after_seconds) == (CallState.INDETERMINATE, None)
    assert "up.sent" in response.reason
    assert names(post).count("send") == 1


def test_what_the_verify_tool_brings_goes_through_the_policies_of_the_call(world, post):
    from gateway.services import set_dlp_policy

    set_dlp_policy(actor=world.admin, name="numbers", fields=["secret_number"], selector="up.send")
    reread_policy(world)
    post.reply = losing({"happened": True, "result": {"number": 7, "secret_number": "No. 4711"}})
    response = sending(world)
    assert response.state is CallState.SUCCEEDED, response
    assert "No. 4711" not in str(response.to_json())
    assert [entry.field for entry in response.redactions] == ["secret_number"]


@pytest.mark.parametrize("stop", ["status = 'quarantined'", "effect = 'write'", "status = 'pending'"])
def test_a_verify_tool_that_is_not_a_reviewed_read_is_not_asked(world, post, stop):
    world.served(f"UPDATE gateway_tool SET {stop} WHERE name = 'sent'")
    reread_policy(world)
    post.reply = losing(happened(**ANSWER))
    assert sending(world).state is CallState.INDETERMINATE
    assert names(post) == ["send"]
    assert len(world.events(Event.MCP_TOOL_BLOCKED)) == 1


def test_a_verify_tool_whose_definition_changed_is_not_asked(world, post):
    post.reply = losing(happened(**ANSWER))
    post.tools[1] = {**post.tools[1], "description": "Another."}
    assert sending(world).state is CallState.INDETERMINATE
    assert names(post) == ["send"]


def test_a_key_that_a_policy_withholds_is_not_asked_about(world, post):
    """Asked about another key, the tool would say that nothing happened, and the call would be made again."""
    from gateway.services import set_dlp_policy

    set_dlp_policy(actor=world.admin, name="keys", fields=["key"], selector="up.sent", direction="input")
    reread_policy(world)
    post.reply = losing({"happened": False})
    call_id = uuid7()
    sending(world, call_id)
    let_time_pass(world)
    assert sending(world, call_id).state is CallState.INDETERMINATE
    assert names(post) == ["send"]


def test_a_worker_that_lost_its_lease_settles_nothing(world, post):
    post.reply = losing({"content": []})
    call_id = uuid7()
    sending(world, call_id)
    post.reply = losing(happened(**ANSWER))
    world.owner_does("UPDATE workflows_token SET fence = 2")
    assert sending(world, call_id).state is CallState.INDETERMINATE
    assert names(post) == ["send", "sent"]


def test_ten_who_ask_at_once_share_one_question(world, post):
    post.reply = losing({"content": []})
    call_id = uuid7()
    sending(world, call_id)
    asked = threading.Event()

    def slowly(connection, message_id):
        asked.wait(60)
        connection.answer(
            b'{"jsonrpc":"2.0","id":%d,"result":{"resultType":"complete","content":[],'
            b'"structuredContent":{"happened":true,"result":{"number":7}}}}' % message_id
        )

    post.reply = losing(slowly)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(sending(world, call_id))) for _ in range(10)]
    for thread in threads:
        thread.start()
    asked.set()
    for thread in threads:
        thread.join()
    assert {answer.state for answer in answers} == {CallState.SUCCEEDED}
    assert names(post).count("send") == 1
    settled = [event for event in world.events(Event.MCP_TOOL_CALLED) if event.object_id == str(call_id)]
    assert [event.outcome for event in settled] == ["unknown", "success"]


@pytest.mark.parametrize(
    ("tools", "review", "words"),
    [
        ([tool("sent", KEY)], {"verify_tool": "other", "idempotency_argument": "key"}, "a tool of the same server"),
        ([tool("sent", KEY)], {"verify_tool": "sent"}, "needs idempotency_argument"),
        ([tool("sent", {"text": {}})], {"verify_tool": "sent", "idempotency_argument": "key"}, "must take key"),
        (
            [
                {
                    **tool("sent", {**KEY, "more": {}}),
                    "inputSchema": {"properties": {**KEY, "more": {}}, "required": ["more"]},
                }
            ],
            {"verify_tool": "sent", "idempotency_argument": "key"},
            "must need nothing but key",
        ),
    ],
    ids=["unknown", "no key", "another key", "more"],
)
def test_a_review_names_only_a_tool_that_can_be_asked(world, tools, review, words):
    with fake_mcp(tool("send", KEY), *tools) as server:
        world.add_server("up", server.url)
        with pytest.raises(Invalid) as refused:
            world.review("up.send", "write", **review)
    assert words in str(refused.value.data["errors"])
