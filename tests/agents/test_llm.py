"""The model client against the scripted model and against servers that misbehave (M018, M134, M159)."""

import json
import socket
import threading
import time
from decimal import Decimal

import httpx2
import pytest

from agents.llm import (
    Capabilities,
    Interrupt,
    ModelBudgetExceeded,
    ModelClient,
    ModelRefused,
    ModelStopped,
    ModelUnavailable,
    Prices,
    ToolSpec,
    Usage,
)
from agents.prompt import DataItem, assemble, new_boundary, tool_message
from provenance.egress import Egress
from tests.examples.processes import scripted_model
from tests.fakes.http_server import serving

RELEASE = "2026-11-01"
SCHEMA = {
    "type": "object",
    "properties": {"change_needed": {"type": "boolean"}, "rationale": {"type": "string"}},
    "required": ["change_needed", "rationale"],
    "additionalProperties": False,
}
GET_VENDOR = ToolSpec(
    "erp__getVendor",
    "Read a vendor.",
    {
        "type": "object",
        "properties": {"vendor_id": {"type": "string"}},
        "required": ["vendor_id"],
        "additionalProperties": False,
    },
)
QUESTION = [{"role": "user", "content": "hello"}]


class Instructions:
    system_prompt = "You review payment terms of vendors against signed contracts."
    forbidden_actions = ()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    with scripted_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture
def http():
    with httpx2.Client(timeout=60) as client:
        yield client


@pytest.fixture
def model(scripted, http):
    def make(name="analyst", **options):
        return ModelClient(
            base_url=f"{scripted.url}/v1",
            api_key=scripted.key,
            http_client=http,
            model=f"scripted-{name}-{RELEASE}",
            **options,
        )

    return make


def sse(connection, *chunks, done=True):
    lines = [f"data: {json.dumps(chunk) if not isinstance(chunk, str) else chunk}\n\n" for chunk in chunks]
    body = "".join(lines) + ("data: [DONE]\n\n" if done else "")
    connection.answer(body.encode(), Content_Type="text/event-stream")


def chunk(delta=None, finish=None, **fields):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-2026",
        "choices": [choice],
        **fields,
    }


def text_answer(text, **fields):
    return [chunk({"role": "assistant", "content": text}), chunk(finish="stop", **fields)]


def call_chunk(arguments, name="erp__getVendor", call_id="call_1", index=0):
    return chunk(
        {
            "tool_calls": [
                {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            ]
        }
    )


@pytest.fixture
def answering(http):
    """A client of a server that streams these chunks; the requests it got are in `.requests`."""
    running = []

    def make(*chunks, done=True, handle=None, **options):
        context = serving(handle or (lambda connection, _: sse(connection, *chunks, done=done)))
        server = context.__enter__()
        running.append(context)
        client = ModelClient(
            base_url=f"{server.url}/v1", api_key="run-token", http_client=http, model="m-2026-01-01", **options
        )
        return client, server

    yield make
    for context in running:
        context.__exit__(None, None, None)


def sent(server):
    return json.loads(server.requests[-1].body)


# --- With the scripted model -----------------------------------------------------------------------------------------


def test_a_conversation_with_tools_ends_in_a_structured_answer(model, scripted):
    client, boundary = model(), new_boundary()
    messages = assemble(Instructions(), task="Review vendor V-10001 against contract CON-1001.", boundary=boundary)
    first = client.complete(messages, tools=[GET_VENDOR], response_schema=SCHEMA, max_tokens=500)
    assert first.finish_reason == "tool_calls"
    (call,) = first.tool_calls
    assert (call.name, call.arguments, call.problem) == ("erp__getVendor", {"vendor_id": "V-10001"}, "")
    assert first.model == f"scripted-analyst-{RELEASE}"
    assert first.usage.tokens_in > 0
    assert not first.usage.estimated
    result = DataItem("erp.getVendor", {"vendor_id": "V-10001", "name": "A", "payment_terms": "NET30"})
    messages += [first.message, tool_message(call.id, result, boundary)]
    parts = []
    last = client.complete(messages, tools=[GET_VENDOR], response_schema=SCHEMA, max_tokens=500, on_delta=parts.append)
    assert not last.tool_calls
    assert last.problem == ""
    assert last.value["change_needed"] is False
    assert "".join(parts) == last.text
    assert last.usage.tokens_in > first.usage.tokens_in


def test_malformed_arguments_come_back_as_a_problem_for_the_model(model):
    messages = assemble(
        Instructions(), task="Review vendor V-10001 against contract CON-1001.", boundary=new_boundary()
    )
    (call,) = model("fault-malformed-arguments").complete(messages, tools=[GET_VENDOR], max_tokens=500).tool_calls
    assert call.arguments is None
    assert "complete JSON object" in call.problem


def test_too_many_requests_can_be_tried_again(model):
    messages = [{"role": "user", "content": f"once {time.time_ns()}"}]
    client = model("fault-429-once")
    with pytest.raises(ModelUnavailable) as caught:
        client.complete(messages, max_tokens=50)
    assert caught.value.retryable
    assert caught.value.retry_after_seconds == pytest.approx(0.02)
    assert client.complete(messages, max_tokens=50).finish_reason == "stop"


def test_a_failing_server_can_be_tried_again(model):
    with pytest.raises(ModelUnavailable) as caught:
        model("fault-500").complete(QUESTION, max_tokens=50)
    assert caught.value.data["http_status"] == 500


def test_an_unknown_model_is_refused(model):
    with pytest.raises(ModelRefused) as caught:
        model("nobody").complete(QUESTION, max_tokens=50)
    assert not caught.value.retryable


def test_a_wrong_key_is_refused_and_never_repeated(scripted, http):
    client = ModelClient(
        base_url=f"{scripted.url}/v1", api_key="stolen-key-text", http_client=http, model="x-2026-01-01"
    )
    with pytest.raises(ModelRefused) as caught:
        client.complete(QUESTION, max_tokens=50)
    assert "stolen-key-text" not in str(caught.value) + repr(caught.value.data) + repr(client)


def test_a_stalled_stream_is_stopped_from_another_thread_at_once(model):
    """The heartbeat cancels a run while the model is silent."""
    interrupt, started = Interrupt(), threading.Event()
    threading.Thread(target=lambda: (started.wait(60), time.sleep(0.1), interrupt.stop())).start()
    watch = interrupt.watch

    def watched(response):
        watch(response)
        started.set()

    interrupt.watch = watched
    with pytest.raises(ModelStopped):
        model("fault-stall").complete(QUESTION, max_tokens=50, interrupt=interrupt)


def test_a_call_that_was_stopped_before_it_began_is_not_sent(answering):
    client, server = answering(*text_answer("x"))
    interrupt = Interrupt()
    interrupt.stop()
    with pytest.raises(ModelStopped):
        client.complete(QUESTION, max_tokens=5, interrupt=interrupt)
    assert server.requests == []


def test_silence_ends_at_the_clients_time_limit(scripted):
    with httpx2.Client(timeout=0.3) as http:
        client = ModelClient(
            base_url=f"{scripted.url}/v1",
            api_key=scripted.key,
            http_client=http,
            model=f"scripted-fault-stall-{RELEASE}",
        )
        with pytest.raises(ModelUnavailable):
            client.complete(QUESTION, max_tokens=50)


def test_the_client_works_through_the_outbound_door(scripted):
    with Egress.to(scripted.url).client() as http:
        client = ModelClient(
            base_url=f"{scripted.url}/v1", api_key=scripted.key, http_client=http, model=f"scripted-analyst-{RELEASE}"
        )
        assert client.complete(QUESTION, max_tokens=50).text


# --- What is sent ----------------------------------------------------------------------------------------------------


def test_nothing_is_kept_at_the_provider_and_nothing_of_the_environment_is_sent(answering, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-a-developer")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-a-developer")
    client, server = answering(*text_answer("x"))
    client.complete(QUESTION, max_tokens=77)
    body = sent(server)
    assert (body["store"], body["stream"], body["max_tokens"], body["model"]) == (False, True, 77, "m-2026-01-01")
    assert server.requests[0].headers["authorization"] == "Bearer run-token"
    assert "of-a-developer" not in repr(server.requests)


def test_a_closed_schema_is_asked_for_strictly(answering):
    client, server = answering(*text_answer('{"change_needed": true, "rationale": "r"}'))
    assert client.complete(QUESTION, response_schema=SCHEMA, max_tokens=5).value["change_needed"] is True
    assert sent(server)["response_format"]["json_schema"]["strict"] is True


def test_an_open_schema_is_not_claimed_to_be_strict(answering):
    client, server = answering(*text_answer("{}"))
    client.complete(QUESTION, response_schema={"type": "object", "properties": {"a": {}}}, max_tokens=5)
    assert sent(server)["response_format"]["json_schema"]["strict"] is False


def test_without_strict_schemas_the_answer_is_a_tool(answering):
    client, server = answering(
        call_chunk('{"change_needed": false, "rationale": "same"}', name="give_answer"),
        chunk(finish="tool_calls"),
        capabilities=Capabilities(strict_schema=False),
    )
    answer = client.complete(QUESTION, tools=[GET_VENDOR], response_schema=SCHEMA, max_tokens=5)
    assert answer.value == {"change_needed": False, "rationale": "same"}
    assert answer.tool_calls == ()
    assert "tool_calls" not in answer.message
    assert [tool["function"]["name"] for tool in sent(server)["tools"]] == ["erp__getVendor", "give_answer"]
    assert "response_format" not in sent(server)


def test_without_tools_the_answer_is_json_by_request(answering):
    plain = Capabilities(tools=False, strict_schema=False)
    client, server = answering(
        *text_answer('```json\n{"change_needed": true, "rationale": "r"}\n```'), capabilities=plain
    )
    assert client.complete(QUESTION, response_schema=SCHEMA, max_tokens=5).value["rationale"] == "r"
    assert sent(server)["response_format"] == {"type": "json_object"}
    assert "change_needed" in sent(server)["messages"][-1]["content"]
    assert "tools" not in sent(server)


# --- What comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finish", "problem"),
    [
        ("no json", "stop", "not JSON"),
        ('{"change_needed": "yes", "rationale": "r"}', "stop", "change_needed"),
        ('{"change_needed": true}', "stop", "rationale"),
        ('{"change_needed": true, "rationale": "r", "extra": 1}', "stop", "extra"),
        ('{"change_needed": true, "change_needed": false, "rationale": "r"}', "stop", "twice"),
        ('{"change_needed": NaN, "rationale": "r"}', "stop", "not a JSON number"),
        ('{"change_needed": true, "rat', "length", "token limit"),
        ("[" * 100_000, "stop", "not JSON"),
    ],
)
def test_an_answer_that_misses_its_schema_says_why(answering, text, finish, problem):
    client, _ = answering(chunk({"content": text}), chunk(finish=finish))
    answer = client.complete(QUESTION, response_schema=SCHEMA, max_tokens=5)
    assert answer.value is None
    assert problem in answer.problem


@pytest.mark.parametrize(
    "arguments", ['{"a": ', "[1]", '"x"', '{"a": 1, "a": 2}', '{"a": Infinity}', "x" * 300_000, "[" * 100_000]
)
def test_arguments_that_are_no_object_are_never_guessed_at(answering, arguments):
    client, _ = answering(call_chunk(arguments), chunk(finish="tool_calls"))
    answer = client.complete(QUESTION, tools=[GET_VENDOR], max_tokens=5)
    (call,) = answer.tool_calls
    assert call.arguments is None
    assert call.problem
    # Some servers parse the history and fail on what they themselves produced.
    assert answer.message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_arguments_arrive_in_pieces_and_calls_in_parallel(answering):
    client, _ = answering(
        call_chunk('{"vendor', call_id="a"),
        call_chunk("{}", name="erp__list", call_id="b", index=1),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '_id": "V-1"}'}}]}),
        chunk(finish="tool_calls"),
    )
    calls = client.complete(QUESTION, tools=[GET_VENDOR], max_tokens=5).tool_calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [
        ("a", "erp__getVendor", {"vendor_id": "V-1"}),
        ("b", "erp__list", {}),
    ]


def test_a_tool_that_was_not_offered_is_passed_on_for_the_gateway_to_refuse(answering):
    """The refusal must be an event there, not a silence here."""
    client, _ = answering(call_chunk("{}", name="crm__updateAccount"), chunk(finish="tool_calls"))
    (call,) = client.complete(QUESTION, tools=[GET_VENDOR], max_tokens=5).tool_calls
    assert (call.name, call.arguments, call.problem) == ("crm__updateAccount", {}, "")


@pytest.mark.parametrize("name", ["", "erp getVendor", "erp.get\u200bVendor", "../x", "x" * 200])
def test_a_name_that_no_tool_can_have_is_a_problem(answering, name):
    client, _ = answering(call_chunk("{}", name=name), chunk(finish="tool_calls"))
    (call,) = client.complete(QUESTION, tools=[GET_VENDOR], max_tokens=5).tool_calls
    assert call.arguments is None
    assert "erp__getVendor" in call.problem


def test_a_flood_of_tool_calls_is_refused(answering):
    client, _ = answering(*[call_chunk("{}", index=index) for index in range(100)], chunk(finish="tool_calls"))
    with pytest.raises(ModelRefused, match="more than"):
        client.complete(QUESTION, tools=[GET_VENDOR], max_tokens=5)


def test_usage_of_the_last_chunk_counts(answering):
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    client, _ = answering(*text_answer("x"), {**chunk(), "choices": [], "usage": usage})
    assert client.complete(QUESTION, max_tokens=5).usage == Usage(1200, 34)


def test_without_usage_the_estimate_is_rather_too_high(answering):
    client, _ = answering(*text_answer("word " * 100))
    usage = client.complete([{"role": "user", "content": "word " * 100}], max_tokens=5).usage
    assert usage.estimated
    assert usage.tokens_in >= 200
    assert usage.tokens_out >= 200


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1, 2**31, 1.5, "many", None])
@pytest.mark.parametrize("which", ["prompt_tokens", "completion_tokens"])
def test_what_is_no_count_of_tokens_is_estimated(answering, which, wrong):
    """A budget that was settled with less than nothing would grow, and NaN is less than no limit."""
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234, which: wrong}
    client, _ = answering(*text_answer("x"), {**chunk(), "choices": [], "usage": usage})
    found = client.complete(QUESTION, max_tokens=5).usage
    assert found.estimated
    assert (type(found.tokens_in), type(found.tokens_out)) == (int, int)
    assert min(found.tokens_in, found.tokens_out) > 0


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("402 Payment Required", {}, ModelBudgetExceeded),
        ("429 Too Many", {"error": {"code": "insufficient_quota", "message": "m"}}, ModelBudgetExceeded),
        ("429 Too Many", {"error": {"code": "rate_limit_exceeded", "message": "m"}}, ModelUnavailable),
        ("408 Timeout", {}, ModelUnavailable),
        ("503 Unavailable", {}, ModelUnavailable),
        ("400 Bad", {"error": {"code": "context_length_exceeded", "message": "m"}}, ModelRefused),
        ("403 Forbidden", {"code": "halt.engaged", "detail": "m"}, ModelRefused),
        ("302 Found", {}, ModelRefused),
    ],
)
def test_refusals_are_classified(answering, status, body, error):
    client, server = answering(handle=lambda connection, _: connection.answer(json.dumps(body).encode(), status=status))
    with pytest.raises(error):
        client.complete(QUESTION, max_tokens=5)
    assert len(server.requests) == 1, "every call is journaled, so none is repeated in secret"


@pytest.mark.parametrize(
    "chunks",
    [
        ["not json"],
        [{"choices": "text"}],
        [{"choices": [{"index": 0, "delta": "x"}]}],
        [{"choices": [{"index": 0, "delta": {"content": 5}, "finish_reason": "stop"}]}],
        [{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": "a", "function": 3}]}}]}],
        [[1, 2]],
        [{"error": {"message": "overloaded", "code": "overloaded"}}],
        [chunk({"content": "half"})],
        [],
    ],
)
def test_whatever_a_server_streams_is_an_answer_or_a_clear_error(answering, chunks):
    client, _ = answering(*chunks)
    with pytest.raises(ModelUnavailable):
        client.complete(QUESTION, max_tokens=5)


def test_a_stream_that_breaks_off_is_not_an_answer(answering):
    def half(connection, _):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n")
        connection.send(f"data: {json.dumps(chunk({'content': 'half'}))}\n\n".encode())
        connection.socket.shutdown(socket.SHUT_RDWR)

    client, _ = answering(handle=half)
    with pytest.raises(ModelUnavailable):
        client.complete(QUESTION, max_tokens=5)


def test_cost_is_exact():
    prices = Prices.parse("2.50", "10", "USD")
    assert prices.cost(Usage(1, 1)) == Decimal("0.0000125")
    assert prices.cost(Usage(1_000_000, 0)) == Decimal("2.50")
    assert Prices.parse("", "10", "USD") is None


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-1", "1e7", "1E+999999999", "cheap"])
def test_a_price_that_no_service_stores_is_unknown(price):
    assert Prices.parse(price, "10", "USD") is None
    assert Prices.parse("2.50", price, "USD") is None
