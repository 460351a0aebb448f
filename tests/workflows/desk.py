"""A small company of a test's own making: one tool that sends, and a model that says what the test wants it to say."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.db import transaction

from agents import services as agents
from approvals import services as approvals
from approvals.models import ApprovalRequest
from provenance.actor import Actor
from tests import databases, factories
from tests.fakes.http_server import Connection, Received, serving
from tests.fakes.mcp_server import FakeMcp, fake_mcp, text, tool
from tests.gateway.world import World, world_of
from workflows import doorbell, engine, services
from workflows.models import Call, Run, Step, Token

INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["words"],
    "additionalProperties": False,
    "properties": {"words": {"type": "string"}},
}
ANSWERS = {"type": "object", "required": ["number"], "properties": {"number": {"type": "integer"}}}
SENDING = {
    "name": "sending",
    "title": "Sending",
    "environment": "development",
    "input": INPUT,
    "steps": [
        {"name": "send", "kind": "tool", "agent": "helper", "tool": "up.send", "arguments": {"text": "${input.words}"}},
        {"name": "told", "kind": "transform", "output": "sent as ${steps.send.output.number}"},
    ],
}
ASKING = {
    **SENDING,
    "name": "asking",
    "title": "Asking",
    "steps": [{"name": "work", "kind": "agent", "agent": "helper", "task": "Send it.", "output": ANSWERS}],
}


def broken(connection: Connection, _id: Any) -> None:
    """The tool has received the call and its answer never comes."""
    connection.socket.shutdown(socket.SHUT_RDWR)


def says(value: Any) -> dict[str, Any]:
    """The model answers with this text, or this JSON value."""
    return {"content": value if isinstance(value, str) else json.dumps(value)}


def calls(**arguments: Any) -> dict[str, Any]:
    """The model asks for `up.send`."""
    function = {"name": "up__send", "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


@dataclass
class Desk:
    """A workspace with agent `helper`, its tool and its model."""

    world: World
    up: FakeMcp
    as_role: Callable[[str], Any]
    answers: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    operator: Actor = field(init=False)
    approver: Actor = field(init=False)

    def __post_init__(self) -> None:
        self.operator = factories.make_member(self.world.workspace, roles={"admin", "editor"}, name="Operator")
        self.approver = factories.make_member(self.world.workspace, roles={"approver"}, name="Approver")
        self.world.environment = "development"

    def open(self, trust: str, model_url: str) -> None:
        world = self.world
        world.add_server("up", self.up.url, access="write")
        world.review("up.send", "write")
        agents.create_provider(actor=world.admin, name="fake", base_url=f"{model_url}/v1", scripted=True)
        world.add_agent("helper", ["up.send"], trust=trust, provider="fake")
        world.grant("helper", "up.send")
        # A tool step may not call what asks a person first; an agent may.
        for definition in (SENDING, ASKING) if trust == "high" else (ASKING,):
            source = yaml.safe_dump(definition)
            services.save_draft(actor=self.operator, slug=definition["name"], source=source)
            services.publish_version(actor=self.operator, slug=definition["name"])

    def answer(self, connection: Connection, request: Received) -> None:
        self.asked.append(json.loads(request.body))
        delta = self.answers.pop(0)
        finish = "tool_calls" if "tool_calls" in delta else "stop"
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "model-2026-01-01"}
        told = {**chunk, "choices": [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}]}
        body = f"data: {json.dumps(told)}\n\ndata: [DONE]\n\n"
        connection.answer(body.encode(), Content_Type="text/event-stream")

    def start(self, workflow: str, words: str = "hello") -> Run:
        with transaction.atomic():
            return services.start_run(actor=self.operator, workflow_slug=workflow, input={"words": words})

    def drive(self, run: Run) -> Run:
        """Answer the doorbell of a run, woken if it waits; the run as it stands then."""
        with databases.admin() as owner:
            owner.execute(
                "UPDATE workflows_token SET state = 'ready' WHERE run_id = %s AND state = 'waiting'", [run.pk]
            )
        token = self.token(run)
        with self.as_role("worker"):
            engine.drive(run.workspace_id, token.pk, token.dispatch_no)
        return self.fresh(run)

    def token(self, run: Run) -> Token:
        with transaction.atomic():
            return Token.objects.get(run_id=run.pk)

    def fresh(self, run: Run) -> Run:
        with transaction.atomic():
            return Run.objects.get(pk=run.pk)

    def calls(self, run: Run, kind: str = "tool") -> list[Call]:
        with transaction.atomic():
            return list(Call.objects.filter(run_id=run.pk, kind=kind).order_by("id"))

    def steps(self, run: Run) -> list[Step]:
        with transaction.atomic():
            return list(Step.objects.filter(run_id=run.pk).order_by("id"))

    def decide(self, run: Run, verdict: str = "approve") -> None:
        with transaction.atomic():
            request = ApprovalRequest.objects.filter(run_id=run.pk).latest("id")
        approvals.decide(actor=self.approver, request_id=request.pk, verdict=verdict, reason="As asked for.")


@contextmanager
def desk_in(as_role: Callable[[str], Any], trust: str = "high", output_schema: Any = ANSWERS) -> Iterator[Desk]:
    """A desk whose helper has this trust. It rings nobody: each test drives its runs itself."""
    more = {"outputSchema": output_schema} if output_schema else {}
    with (
        fake_mcp(tool("send", {"text": {"type": "string"}}, **more)) as up,
        world_of(factories.make_workspace()) as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(doorbell, "ring", lambda *_: True)
        up.reply = lambda _name, _arguments: text("done", structuredContent={"number": 7})
        settings.GATEWAY_URL = world.url
        desk = Desk(world, up, as_role)
        with serving(desk.answer) as model:
            desk.open(trust, model.url)
            yield desk
