"""One exchange with a model: how tools and schema are said to its server, and how the streamed answer is read back.

Nothing here speaks to a network (`agents.llm` does). A model's output is a stranger's text: calls that are malformed and
answers that miss their schema come back as problems in words, for the model to correct.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from provenance import strict_json
from provenance.schemas import violations

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

Message = dict[str, Any]

ANSWER_TOOL = "give_answer"
MOST_TOOL_CALLS = 64
LONGEST_ARGUMENTS = 256 * 1024
LONGEST_CONTENT = 4 * 2**20
TOKENS_PER_PRICE = Decimal(1_000_000)
# What a column holds; more than this of either is no price and no call.
HIGHEST_PRICE = Decimal(1_000_000)
MOST_TOKENS = 2**31 - 1
# Bytes per token where a server reports no usage: fewer than in any real text, so that a budget is never undercounted.
ESTIMATED_BYTES_PER_TOKEN = 2

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class TooMuch(ValueError):
    """The model's answer is larger than any use of it."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is offered it. `name` is the model's spelling, `erp__getVendor`."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for. With a `problem`, `arguments` is None and the problem is its answer.

    The problem is a sentence that tells the model what to write instead.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `estimated` when the server did not say; the estimate is rather too high."""

    tokens_in: int
    tokens_out: int
    estimated: bool = False

    @property
    def total(self) -> int:
        """What a token budget is charged."""
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, slots=True)
class Prices:
    """Decimal prices per million tokens."""

    input: Decimal
    output: Decimal
    currency: str = "USD"

    @classmethod
    def parse(cls, input_price: str, output_price: str, currency: str) -> "Prices | None":
        """Prices as a provider's record writes them; None when one is unknown ("") or none that a service stores."""
        known = price_of(input_price), price_of(output_price)
        return None if known[0] is None or known[1] is None else cls(known[0], known[1], currency)

    def cost(self, usage: Usage) -> Decimal:
        """What a call costs, exactly."""
        return (usage.tokens_in * self.input + usage.tokens_out * self.output) / TOKENS_PER_PRICE


def price_of(text: str) -> Decimal | None:
    """The price that a text says; None when it is none. NaN would make a sum of all that it is added to, and pass every limit."""
    try:
        price = Decimal(text)
    except InvalidOperation:
        return None
    return price if price.is_finite() and 0 <= price <= HIGHEST_PRICE else None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider's server understands beyond plain chat. Probed or declared once per provider record."""

    tools: bool = True
    strict_schema: bool = True
    json_mode: bool = True
    max_completion_tokens: bool = False

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> "Capabilities":
        """Capabilities as a provider's record stores them; what it does not mention keeps its default."""
        known = {name: bool(stored[name]) for name in cls.__slots__ if name in stored}
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Completion:
    """What one call brought.

    `message` is the assistant message for the transcript. `value` is the structured answer when a schema was given and
    the model gave one; `problem` says why the answer is none, in words for the model.
    """

    message: Message
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    finish_reason: str
    value: Any = None
    problem: str = ""

    @property
    def text(self) -> str:
        """The words of the answer."""
        return self.message.get("content") or ""


class StreamedAnswer:
    """A streamed answer put together."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _CallParts] = {}
        self.tokens: tuple[int, int] | None = None
        self.model = ""
        self.finish_reason = ""
        self._size = 0

    def add(self, chunk: "ChatCompletionChunk", on_delta: Callable[[str], None] | None) -> None:
        """Take in one chunk."""
        self.model = chunk.model or self.model
        if chunk.usage:
            self.tokens = _counted(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices or []:
            if choice.index == 0:
                self._add_delta(choice.delta, on_delta)
                self.finish_reason = choice.finish_reason or self.finish_reason

    def _add_delta(self, delta: Any, on_delta: Callable[[str], None] | None) -> None:
        if delta.content:
            self.content.append(delta.content)
            self._grow(delta.content)
            if on_delta:
                on_delta(delta.content)
        if delta.refusal:
            self.refusal.append(delta.refusal)
            self._grow(delta.refusal)
        for part in delta.tool_calls or []:
            call = self.calls.setdefault(part.index, _CallParts())
            call.id = part.id or call.id
            if part.function:
                call.name += part.function.name or ""
                call.arguments += part.function.arguments or ""
                self._grow(part.function.arguments or "")
        if len(self.calls) > MOST_TOOL_CALLS:
            raise TooMuch(f"The model asked for more than {MOST_TOOL_CALLS} tool calls at once.")

    def _grow(self, text: str) -> None:
        self._size += len(text)
        if self._size > LONGEST_CONTENT:
            raise TooMuch(f"The model's answer is longer than {LONGEST_CONTENT} characters.")

    @property
    def size(self) -> int:
        """Characters received."""
        return self._size


def _counted(*said: Any) -> tuple[int, int] | None:
    """What a server says that a call took; None when it is no count. Less than nothing would fill a budget up again."""
    tokens_in, tokens_out = (value if type(value) is int and 0 <= value <= MOST_TOKENS else None for value in said)
    return None if tokens_in is None or tokens_out is None else (tokens_in, tokens_out)


@dataclass(slots=True)
class _CallParts:
    id: str = ""
    name: str = ""
    arguments: str = ""


class ChatRequest:
    """One request: how its tools and schema are said to this server, and how its answer is read back."""

    def __init__(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        schema: Mapping[str, Any] | None,
        max_tokens: int,
        capabilities: Capabilities,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._schema = schema
        # Strict schema, else a tool that takes the answer, else JSON by request: whatever the server can do.
        self._answers_by_tool = schema is not None and not capabilities.strict_schema and capabilities.tools
        self.body: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "stream_options": {"include_usage": True},
            "store": False,  # the transcript is ours
            "max_completion_tokens" if capabilities.max_completion_tokens else "max_tokens": max_tokens,
        }
        if capabilities.tools and (offered := self._offered()):
            self.body["tools"] = [_as_function(tool) for tool in offered]
        if schema is not None and not self._answers_by_tool:
            self._ask_for_json(schema, capabilities)

    def _offered(self) -> list[ToolSpec]:
        tools = list(self._tools.values())
        if self._answers_by_tool and self._schema is not None:
            tools.append(
                ToolSpec(ANSWER_TOOL, "Give the final answer of the task. Call it once, at the end.", self._schema)
            )
            if len(tools) == 1:
                self.body["tool_choice"] = {"type": "function", "function": {"name": ANSWER_TOOL}}
        return tools

    def _ask_for_json(self, schema: Mapping[str, Any], capabilities: Capabilities) -> None:
        if capabilities.strict_schema:
            wanted = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
            self.body["response_format"] = {"type": "json_schema", "json_schema": wanted}
            return
        if capabilities.json_mode:
            self.body["response_format"] = {"type": "json_object"}
        text = f"Answer with one JSON object and nothing else. It must match this JSON Schema: {json.dumps(schema)}"
        self.body["messages"] = [*self.body["messages"], {"role": "user", "content": text}]

    def completion(self, answer: StreamedAnswer) -> Completion:
        """The answer, read."""
        calls = [self._tool_call(index, parts) for index, parts in sorted(answer.calls.items())]
        final = next((call for call in calls if self._answers_by_tool and call.name == ANSWER_TOOL), None)
        text = "".join(answer.content) or "".join(answer.refusal)
        if final is not None:
            # In the transcript it is an answer, not a call that would wait for a result.
            calls, text = [], json.dumps(final.arguments, ensure_ascii=False) if final.arguments is not None else ""
        value, problem = None, final.problem if final else ""
        if self._schema is not None and not calls and not problem:
            value, problem = _structured(text, self._schema, answer.finish_reason)
        return Completion(
            message=_assistant_message(text, calls),
            tool_calls=tuple(calls),
            usage=self._usage(answer),
            model=answer.model or str(self.body["model"]),
            finish_reason=answer.finish_reason,
            value=value,
            problem=problem,
        )

    def _tool_call(self, index: int, parts: _CallParts) -> ToolCall:
        call_id = parts.id or f"call_{index}"
        if not _TOOL_NAME.fullmatch(parts.name):
            name = re.sub(r"[^A-Za-z0-9_-]", "_", parts.name)[:64] or "unnamed"
            return ToolCall(call_id, name, None, f"There is no tool of that name. Tools are: {self._names()}.")
        # Whether a tool may be called is the gateway's to say, also for one that was not offered: it is an event there.
        arguments, problem = _arguments(parts.arguments)
        return ToolCall(call_id, parts.name, arguments, problem)

    def _names(self) -> str:
        return ", ".join(self._tools) or "none"

    def _usage(self, answer: StreamedAnswer) -> Usage:
        if answer.tokens is not None:
            return Usage(*answer.tokens)
        sent = len(json.dumps(self.body, ensure_ascii=False).encode("utf-8", "replace"))
        return Usage(
            sent // ESTIMATED_BYTES_PER_TOKEN + 1, answer.size // ESTIMATED_BYTES_PER_TOKEN + 1, estimated=True
        )


def _as_function(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _assistant_message(text: str, calls: Sequence[ToolCall]) -> Message:
    message: Message = {"role": "assistant", "content": text or None}
    if calls:
        # Broken arguments go back as {}: some servers parse the history and fail on what they themselves produced.
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments or {}, ensure_ascii=False)},
            }
            for call in calls
        ]
    elif not text:
        message["content"] = ""
    return message


def _arguments(text: str) -> tuple[dict[str, Any] | None, str]:
    """The arguments of a call, or None and the sentence that tells the model what was wrong."""
    if len(text) > LONGEST_ARGUMENTS:
        return None, f"The arguments are longer than {LONGEST_ARGUMENTS} characters. Call again with less."
    try:
        value = strict_json.parse(text or "{}")
    except strict_json.Malformed as error:
        return None, f"The arguments are not JSON ({error}). Call again with one complete JSON object."
    if not isinstance(value, dict):
        return None, "The arguments are not a JSON object. Call again with one complete JSON object."
    return value, ""


def _structured(text: str, schema: Mapping[str, Any], finish_reason: str) -> tuple[Any, str]:
    """The answer as the schema wants it, or None and what is wrong with it."""
    if finish_reason == "length":
        return None, "it was cut off at the token limit; answer more briefly."
    try:
        value = strict_json.parse(_without_fence(text))
    except strict_json.Malformed as error:
        return None, f"it is not JSON ({error})."
    if wrong := violations(schema, value):
        return None, f"it does not match the schema at {wrong[0]}"
    return value, ""


def _without_fence(text: str) -> str:
    match = re.fullmatch(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", text, re.DOTALL)
    return match[1] if match else text


def _is_strict(schema: Any) -> bool:
    """Whether a schema keeps the rules of strict mode: each object closed, each of its properties required."""
    if isinstance(schema, list):
        return all(_is_strict(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and (
        schema.get("additionalProperties") is not False or set(schema.get("required", [])) != set(properties)
    ):
        return False
    return all(_is_strict(item) for item in schema.values())
