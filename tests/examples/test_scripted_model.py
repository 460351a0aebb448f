"""The scripted model's protocol, driven by the official client: labels, tools, streams, faults."""

import json

import httpx2
import openai
import pytest

from tests.examples.agent_loop import ANALYST
from tests.examples.processes import scripted_model

TASK = [
    {"role": "system", "content": "You review vendor payment terms."},
    {"role": "user", "content": "Review vendor V-10305 against contract CON-5555."},
]
PLAIN = [{"role": "user", "content": "Review vendor payment terms of nobody in particular."}]


def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


TOOLS = [tool("ledger__getVendor"), tool("papers__searchDocuments"), tool("papers__getDocument")]


@pytest.fixture
def ask(model):
    def run(client=None, **options):
        client = client or model.client()
        with client:
            return client.chat.completions.create(**{"model": ANALYST, "messages": TASK, "tools": TOOLS, **options})

    return run


def test_without_the_key_nothing_is_answered(model):
    with openai.OpenAI(base_url=f"{model.url}/v1", api_key="not-the-key-not-the-key", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=ANALYST, messages=PLAIN)
    assert httpx2.get(f"{model.url}/requests").status_code == 401
    assert httpx2.get(f"{model.url}/healthz").status_code == 200


def test_every_model_is_labelled_as_scripted(model):
    with model.client() as client:
        models = client.models.list().data
        assert client.models.retrieve(ANALYST).id == ANALYST
    assert {one.owned_by for one in models} == {"scripted"}
    assert all(one.id.startswith("scripted-") for one in models)


def test_every_answer_is_labelled_as_scripted(model):
    with model.client() as client:
        raw = client.chat.completions.with_raw_response.create(model=ANALYST, messages=PLAIN)
    assert raw.headers["x-scripted-model"] == "rules, not a language model"
    assert raw.parse().system_fingerprint == "scripted"


def test_an_unknown_model_is_not_found(ask):
    with pytest.raises(openai.NotFoundError, match="scripted-analyst"):
        ask(model="gpt-best")


def test_tools_are_found_by_suffix_and_called_by_the_name_they_were_offered(ask):
    choice = ask().choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls]
    assert calls == [
        ("ledger__getVendor", {"vendor_id": "V-10305"}),
        ("papers__searchDocuments", {"query": "CON-5555"}),
    ]


def test_one_call_at_a_time_when_asked(ask):
    assert len(ask(parallel_tool_calls=False).choices[0].message.tool_calls) == 1


def test_no_calls_when_they_are_forbidden(ask):
    message = ask(tool_choice="none").choices[0].message
    assert not message.tool_calls
    assert "forbids tool calls" in message.content


def test_the_same_request_gets_the_same_answer(ask):
    first, second = ask(), ask()
    assert first.id == second.id
    assert first.choices == second.choices


def test_usage_grows_with_what_was_said(ask):
    longer = [TASK[0], {"role": "user", "content": TASK[1]["content"] + " Be careful." * 50}]
    short, long = ask().usage, ask(messages=longer).usage
    assert long.prompt_tokens > short.prompt_tokens > 0
    assert short.total_tokens == short.prompt_tokens + short.completion_tokens


def test_an_answer_stops_at_the_token_limit(ask):
    choice = ask(messages=PLAIN, tools=[], max_completion_tokens=3).choices[0]
    assert choice.finish_reason == "length"
    assert len(choice.message.content) == 12


def test_a_task_no_script_knows_is_said(ask):
    content = ask(messages=[{"role": "user", "content": "Write a poem."}], tools=[]).choices[0].message.content
    assert content.startswith("This is a scripted model.")


def test_a_structured_answer_follows_the_schema(ask):
    schema = {"type": "object", "properties": {"rationale": {"type": "string"}}, "required": ["rationale"]}
    answer_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = ask(messages=PLAIN, tools=[], response_format=answer_format).choices[0].message.content
    assert json.loads(content) == {"rationale": "The task names no vendor."}


def test_streamed_tool_calls_are_the_same_as_whole_ones(model, ask):
    whole = ask()
    with (
        model.client() as client,
        client.chat.completions.stream(
            model=ANALYST, messages=TASK, tools=TOOLS, stream_options={"include_usage": True}
        ) as stream,
    ):
        streamed = stream.get_final_completion()
    assert [
        (call.id, call.function.name, call.function.arguments) for call in streamed.choices[0].message.tool_calls
    ] == [(call.id, call.function.name, call.function.arguments) for call in whole.choices[0].message.tool_calls]
    assert streamed.choices[0].finish_reason == "tool_calls"


def test_streamed_text_comes_in_pieces_and_usage_only_when_asked_for(model, ask):
    whole = ask(messages=PLAIN, tools=[])
    with model.client() as client:
        plain = list(client.chat.completions.create(model=ANALYST, messages=PLAIN, stream=True))
        counted = list(
            client.chat.completions.create(
                model=ANALYST, messages=PLAIN, stream=True, stream_options={"include_usage": True}
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in plain)
    assert text == whole.choices[0].message.content
    assert len(plain) > 3
    assert all(chunk.usage is None for chunk in plain)
    assert counted[-1].choices == []
    assert counted[-1].usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": 1}',
        b'{"model": "x", "messages": []}',
        b'{"model": "x", "messages": ["hello"]}',
        b"[" * 100_000,
    ],
)
def test_a_request_that_cannot_be_read_is_a_400(model, body):
    headers = {"Authorization": f"Bearer {model.key}"}
    answer = httpx2.post(f"{model.url}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_429_once_is_answered_by_the_clients_own_retry(model, ask):
    busy = "scripted-fault-429-once-2026-11-01"
    messages = [*PLAIN, {"role": "user", "content": "first"}]
    with pytest.raises(openai.RateLimitError):
        ask(model=busy, messages=messages)
    assert ask(model=busy, messages=messages).choices
    assert ask(
        model.client(max_retries=1), model=busy, messages=[*PLAIN, {"role": "user", "content": "second"}]
    ).choices


def test_500_stays_500(model, ask):
    with pytest.raises(openai.InternalServerError):
        ask(model.client(max_retries=1), model="scripted-fault-500-2026-11-01")


def test_malformed_arguments_come_once_and_the_conversation_recovers(ask):
    broken = "scripted-fault-malformed-arguments-2026-11-01"
    message = ask(model=broken).choices[0].message
    for call in message.tool_calls:
        with pytest.raises(json.JSONDecodeError):
            json.loads(call.function.arguments)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "arguments are not JSON"} for call in message.tool_calls
    ]
    again = ask(model=broken, messages=[*TASK, message.model_dump(exclude_none=True), *results]).choices[0].message
    assert json.loads(again.tool_calls[0].function.arguments) == {"vendor_id": "V-10305"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stalled_answer_runs_into_the_clients_timeout(model, stream):
    headers = {"X-Scripted-Fault": "stall"}
    with model.client(timeout=0.5) as client, pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
        list(client.chat.completions.create(model=ANALYST, messages=PLAIN, stream=stream, extra_headers=headers))


def test_a_call_that_keeps_failing_is_given_up(ask):
    messages = list(TASK)
    for _ in range(4):
        message = ask(messages=messages).choices[0].message
        if not message.tool_calls:
            break
        messages.append(message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "refused"} for call in message.tool_calls]
    assert "could not be read: refused" in message.content


def test_the_last_requests_can_be_read_back_byte_for_byte(model):
    model.forget()
    body = '{"model":"scripted-analyst-2026-11-01",  "messages":[{"role":"user","content":"Straße • vendor"}]}'
    headers = {"Authorization": f"Bearer {model.key}"}
    httpx2.post(f"{model.url}/v1/chat/completions", content=body.encode(), headers=headers).raise_for_status()
    (kept,) = httpx2.get(f"{model.url}/requests", headers=headers).json()["requests"]
    assert kept["body"] == body


def test_a_stalled_request_does_not_hold_up_the_end_of_the_server(tmp_path):
    with scripted_model(tmp_path) as model, model.client(timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=ANALYST, messages=PLAIN, extra_headers={"X-Scripted-Fault": "stall"})
