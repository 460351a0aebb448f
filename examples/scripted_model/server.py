"""The HTTP side of the scripted model: `/v1/models`, `/v1/chat/completions`, and `/requests` for tests."""

import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from examples.loopback import BearerGuard
from examples.scripted_model import wire
from examples.scripted_model.faults import Fault, SeenRequests
from examples.scripted_model.scripts import next_turn
from examples.scripted_model.transcript import Answer, Turn

RELEASE = "2026-11-01"
RELEASED_AT = 1793491200  # that day in seconds since 1970
LABEL = {"X-Scripted-Model": "rules, not a language model"}
MAX_BODY_BYTES = 16 * 1024 * 1024
KEPT_REQUESTS = 200
KEPT_BYTES = 32 * 1024 * 1024
STALL_SECONDS = 600


@dataclass(frozen=True)
class Model:
    """What stands behind a model id."""

    obedient: bool = False
    fault: Fault | None = None


MODELS = {
    f"scripted-analyst-{RELEASE}": Model(),
    f"scripted-obeys-{RELEASE}": Model(obedient=True),
    **{f"scripted-fault-{fault}-{RELEASE}": Model(fault=fault) for fault in Fault},
}


class ReceivedRequests:
    """The last request bodies, byte for byte, so that a test can assert what reached the model. Oldest go first."""

    def __init__(self) -> None:
        self._bodies: deque[tuple[int, str]] = deque()
        self._count = 0
        self._size = 0

    def keep(self, body: bytes) -> None:
        text = body.decode("utf-8", errors="backslashreplace")
        self._count += 1
        self._size += len(text)
        self._bodies.append((self._count, text))
        while len(self._bodies) > KEPT_REQUESTS or (self._size > KEPT_BYTES and len(self._bodies) > 1):
            self._size -= len(self._bodies.popleft()[1])

    def clear(self) -> None:
        self._bodies.clear()
        self._size = 0

    def listing(self) -> list[dict[str, Any]]:
        """Oldest first; `number` counts every request since the start."""
        return [{"number": number, "body": text} for number, text in self._bodies]


class ScriptedModel:
    """The endpoints and the little they remember."""

    def __init__(self) -> None:
        self._received = ReceivedRequests()
        self._seen = SeenRequests()

    async def models(self, _request: Request) -> Response:
        return _labelled({"object": "list", "data": [_describe(model_id) for model_id in MODELS]})

    async def model(self, request: Request) -> Response:
        model_id = request.path_params["model_id"]
        return _labelled(_describe(model_id)) if model_id in MODELS else _no_such_model(model_id)

    async def completions(self, request: Request) -> Response:
        """Answer one chat request; what cannot be read gets 400, an unknown model 404."""
        body = await _body(request)
        if body is None:
            return _refused(413, f"A request may have {MAX_BODY_BYTES} bytes.", "invalid_request_error")
        self._received.keep(body)
        try:
            chat = wire.read_request(body)
            fault = Fault(named) if (named := request.headers.get("x-scripted-fault")) else None
        except wire.BadRequest as problem:
            return _refused(400, str(problem), "invalid_request_error", param=problem.param)
        except ValueError:
            return _refused(400, f"Faults are: {', '.join(Fault)}.", "invalid_request_error", param="x-scripted-fault")
        model = MODELS.get(chat.model)
        if model is None:
            return _no_such_model(chat.model)
        return await self._answer(chat, Model(obedient=model.obedient, fault=fault or model.fault))

    async def _answer(self, chat: wire.ChatRequest, model: Model) -> Response:
        match model.fault:
            case Fault.SERVER_ERROR:
                return _refused(500, "The scripted model fails on demand.", "server_error")
            case Fault.TOO_MANY_REQUESTS_ONCE if self._seen.first_time(chat.body):
                wait = {"Retry-After": "1", "Retry-After-Ms": "20"}
                return _refused(
                    429, "Repeat the request.", "rate_limit_error", code="rate_limit_exceeded", headers=wait
                )
            case Fault.STALL if not chat.stream:
                await anyio.sleep(STALL_SECONDS)
        turn = _turn(chat, model)
        breaks = model.fault is Fault.MALFORMED_ARGUMENTS and not chat.transcript.calls
        completion = wire.complete(chat, turn, break_arguments=breaks)
        if not chat.stream:
            return _labelled(wire.whole(completion))
        chunks = wire.chunks(completion, include_usage=chat.include_usage)
        return StreamingResponse(
            _events(chunks, stalls=model.fault is Fault.STALL), media_type="text/event-stream", headers=LABEL
        )

    async def received(self, _request: Request) -> Response:
        return _labelled({"requests": self._received.listing()})

    async def forget(self, _request: Request) -> Response:
        self._received.clear()
        return Response(status_code=204, headers=LABEL)


def application(key: str) -> ASGIApp:
    """The server as ASGI application. Everything but `/healthz` demands the key."""
    scripted = ScriptedModel()
    routes = [
        Route("/healthz", _healthz),
        Route("/v1/models", scripted.models),
        Route("/v1/models/{model_id}", scripted.model),
        Route("/v1/chat/completions", scripted.completions, methods=["POST"]),
        Route("/requests", scripted.received),
        Route("/requests", scripted.forget, methods=["DELETE"]),
    ]
    return BearerGuard(Starlette(routes=routes), key, open_paths=frozenset({"/healthz"}))


def _turn(chat: wire.ChatRequest, model: Model) -> Turn:
    turn = next_turn(chat.transcript, obedient=model.obedient)
    if isinstance(turn, Answer) or chat.may_call_tools:
        return turn
    text = f"I would call {', '.join(call.name for call in turn)}, but the request forbids tool calls."
    return Answer({"rationale": text, "confidence": "0.00"}, text)


async def _events(chunks: Iterator[dict[str, Any]], *, stalls: bool) -> AsyncIterator[str]:
    for chunk in chunks:
        yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        if stalls:
            await anyio.sleep(STALL_SECONDS)
    yield "data: [DONE]\n\n"


async def _body(request: Request) -> bytes | None:
    """The body, or None when it is too large; a body that lies about its length is cut off while it arrives."""
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > MAX_BODY_BYTES:
            return None
    return bytes(received)


async def _healthz(_request: Request) -> Response:
    return _labelled({"status": "ok"})


def _describe(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": RELEASED_AT, "owned_by": "scripted"}


def _no_such_model(model_id: str) -> Response:
    message = f"There is no model {model_id!r} here. Models: {', '.join(MODELS)}."
    return _refused(404, message, "invalid_request_error", param="model", code="model_not_found")


def _refused(
    status: int,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    body = wire.error(message, kind, param=param, code=code)
    return JSONResponse(body, status_code=status, headers={**LABEL, **(headers or {})})


def _labelled(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers=LABEL)
