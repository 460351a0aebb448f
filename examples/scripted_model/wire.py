"""The chat completions format: requests read strictly, answers and stream chunks written as the protocol has them."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.scripted_model.shaping import shape
from examples.scripted_model.transcript import Answer, Transcript, Turn, read_transcript

FINGERPRINT = "scripted"
PIECE_CHARACTERS = 24
CHARACTERS_PER_TOKEN = 4


class BadRequest(Exception):
    """The request is not one this server can read. `param` names the part."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class ChatRequest:
    """A request that was read and found whole. `digest` names the conversation, however its answer is delivered."""

    body: bytes
    digest: str
    model: str
    transcript: Transcript
    prompt_tokens: int
    may_call_tools: bool
    parallel: bool
    answer_format: Mapping[str, Any]
    max_tokens: int | None
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class Completion:
    """An answer before it is written as one object or as many chunks. `calls` are (id, name, arguments as text)."""

    id: str
    model: str
    content: str | None
    calls: tuple[tuple[str, str, str], ...]
    finish_reason: str
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        """Counted from the length of what was said, four characters a token, so that budgets have something to hold."""
        said = tokens(self.content or "") + sum(tokens(name + arguments) for _, name, arguments in self.calls)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": said,
            "total_tokens": self.prompt_tokens + said,
        }


def read_request(body: bytes) -> ChatRequest:
    """The request, or `BadRequest` with the part that is wrong."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON.") from error
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    if not isinstance(data.get("model"), str):
        raise BadRequest("A model id is needed.", "model")
    messages, tools = _objects(data, "messages"), _objects(data, "tools")
    if not messages:
        raise BadRequest("At least one message is needed.", "messages")
    if data.get("n") not in (None, 1):
        raise BadRequest("One choice per request.", "n")
    conversation = json.dumps([messages, tools], ensure_ascii=False)
    limit = data.get("max_completion_tokens") or data.get("max_tokens")
    return ChatRequest(
        body=body,
        digest=hashlib.sha256(conversation.encode("utf-8", errors="backslashreplace")).hexdigest(),
        model=data["model"],
        transcript=read_transcript(messages, tools),
        prompt_tokens=tokens(conversation),
        may_call_tools=data.get("tool_choice") != "none",
        parallel=data.get("parallel_tool_calls") is not False,
        answer_format=data.get("response_format") or {"type": "text"},
        max_tokens=limit if isinstance(limit, int) else None,
        stream=data.get("stream") is True,
        include_usage=(data.get("stream_options") or {}).get("include_usage") is True,
    )


def complete(request: ChatRequest, turn: Turn, *, break_arguments: bool = False) -> Completion:
    """Write a turn as a completion. Ids follow from the conversation, so the same request gets the same answer."""
    completion_id = f"chatcmpl-scripted-{request.digest[:20]}"
    if isinstance(turn, Answer):
        content, finish_reason = _content(turn, request)
        return Completion(completion_id, request.model, content, (), finish_reason, request.prompt_tokens)
    wanted = turn if request.parallel else turn[:1]
    calls = []
    for number, call in enumerate(wanted):
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        # Cut in the middle, as a model does that ran out of breath.
        arguments = arguments[: len(arguments) // 2] if break_arguments else arguments
        calls.append((f"call_{request.digest[20:36]}{number:02d}", call.name, arguments))
    return Completion(completion_id, request.model, None, tuple(calls), "tool_calls", request.prompt_tokens)


def whole(completion: Completion) -> dict[str, Any]:
    """The completion as one object."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.content, "refusal": None}
    if completion.calls:
        message["tool_calls"] = [_call(*call) for call in completion.calls]
    choice = {"index": 0, "message": message, "finish_reason": completion.finish_reason, "logprobs": None}
    return {**_head(completion, "chat.completion"), "choices": [choice], "usage": completion.usage}


def chunks(completion: Completion, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The completion as the chunks of a stream, without the closing `[DONE]`."""
    yield _chunk(completion, {"role": "assistant", "content": "" if completion.content is not None else None})
    for piece in pieces(completion.content or ""):
        yield _chunk(completion, {"content": piece})
    for index, (call_id, name, arguments) in enumerate(completion.calls):
        yield _chunk(completion, {"tool_calls": [{"index": index, **_call(call_id, name, "")}]})
        for piece in pieces(arguments):
            yield _chunk(completion, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk(completion, {}, finish_reason=completion.finish_reason)
    if include_usage:
        yield {**_head(completion, "chat.completion.chunk"), "choices": [], "usage": completion.usage}


def error(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The protocol's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARACTERS):
        yield text[start : start + PIECE_CHARACTERS]


def tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _content(answer: Answer, request: ChatRequest) -> tuple[str, str]:
    content = _formatted(answer, request.answer_format)
    if request.max_tokens is not None and tokens(content) > request.max_tokens:
        return content[: request.max_tokens * CHARACTERS_PER_TOKEN], "length"
    return content, "stop"


def _formatted(answer: Answer, answer_format: Mapping[str, Any]) -> str:
    if answer_format.get("type") == "json_schema":
        schema = answer_format.get("json_schema", {}).get("schema", {})
        return json.dumps(shape(answer.facts, schema), ensure_ascii=False)
    if answer_format.get("type") == "json_object":
        return json.dumps(answer.facts, ensure_ascii=False)
    return answer.text


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _head(completion: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": completion.id,
        "object": kind,
        "created": int(time.time()),
        "model": completion.model,
        "system_fingerprint": FINGERPRINT,
    }


def _chunk(completion: Completion, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    return {**_head(completion, "chat.completion.chunk"), "choices": [choice]}


def _objects(data: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    value = data.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRequest(f"{name} must be a list of objects.", name)
    return value
