"""The smallest agent: offers tools to the model, performs what it asks for, until it answers. No gateway between."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.examples.processes import Endpoint, ScriptedModel

ANALYST = "scripted-analyst-2026-11-01"
OBEYS = "scripted-obeys-2026-11-01"
MAX_TURNS = 12


@dataclass(frozen=True)
class Played:
    """What an agent did: the final text and every call with its arguments."""

    text: str
    calls: list[tuple[str, dict[str, Any]]]

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.text)


def play(
    model: ScriptedModel,
    servers: Mapping[str, Endpoint],
    *,
    system: str,
    task: str,
    granted: Sequence[str],
    schema: Mapping[str, Any] | None = None,
    model_id: str = ANALYST,
    see: Callable[[str, dict[str, Any]], str] = lambda _name, answer: json.dumps(answer),
) -> Played:
    """Run one conversation. Calls outside `granted` are refused; `see` decides how a result reaches the model."""
    messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": task}]
    options: dict[str, Any] = {"tools": offer(servers, granted)}
    if schema:
        options["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    calls = []
    with model.client() as client:
        for _ in range(MAX_TURNS):
            message = client.chat.completions.create(model=model_id, messages=messages, **options).choices[0].message
            if not message.tool_calls:
                return Played(message.content, calls)
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                arguments = json.loads(call.function.arguments)
                calls.append((call.function.name, arguments))
                content = perform(servers, granted, call.function.name, arguments, see)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    raise AssertionError(f"no answer after {MAX_TURNS} turns: {calls}")


def offer(servers, granted):
    tools = []
    for server in sorted({name.split("__")[0] for name in granted}):
        for tool in servers[server].tools().values():
            if f"{server}__{tool.name}" in granted:
                function = {
                    "name": f"{server}__{tool.name}",
                    "description": tool.description,
                    "parameters": tool.input_schema,
                }
                tools.append({"type": "function", "function": function})
    return tools


def perform(servers, granted, name, arguments, see):
    if name not in granted:
        return json.dumps({"error": {"code": "tool_not_granted", "message": f"{name} is not granted to this agent."}})
    server, _, tool = name.partition("__")
    return see(name, servers[server].call(tool, **arguments).structured_content)
