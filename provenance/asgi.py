"""The one-process front: `/mcp` and `/call` go to the gateway, everything else to Django in a thread pool."""

import asyncio
import os
from typing import Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provenance.settings")

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.db import connections

from gateway.http import (
    Application,
    ClientGone,
    Message,
    Receive,
    Refused,
    Request,
    Scope,
    Send,
    check_host,
    request_id_of,
    request_of,
    send_problem,
)
from gateway.server import application as gateway
from provenance import readiness
from provenance.wsgi import application as django_application

GATEWAY_PATHS = frozenset({"mcp", "call"})
DJANGO_THREADS = 10
LARGEST_BODY_BYTES = 4 * 2**20
BODY_SECONDS = 20.0

# a2wsgi and Django describe the same protocols with types of their own.
web: Application = cast("Application", WSGIMiddleware(cast("Any", django_application), workers=DJANGO_THREADS))


async def front(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection. Host and size limits hold for both halves.

    The lifespan is the gateway's, after a look at the walls: behind a broken one neither half starts.
    """
    if scope["type"] == "lifespan" and (found := await asyncio.to_thread(_broken_walls)):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "\n".join(found)})
        return
    if scope["type"] != "http" or _first_segment(scope["path"]) in GATEWAY_PATHS:
        await gateway(scope, receive, send)
        return
    try:
        request = request_of(scope, receive)
        check_host(request, settings.ALLOWED_HOSTS)
        body = await _whole_body(request)
    except ClientGone:
        return
    except Refused as refusal:
        await send_problem(send, refusal, request_id_of(scope))
        return
    await web(scope, _replayed(body, receive), send)


def _broken_walls() -> list[str]:
    """What readiness finds, asked in a thread of its own, whose connection goes back at once."""
    try:
        return readiness.problems()
    finally:
        connections.close_all()


def _first_segment(path: str) -> str:
    """`call` of `/call/tools`. A path need not begin with a slash: `OPTIONS *` has none."""
    return path.removeprefix("/").partition("/")[0]


async def _whole_body(request: Request) -> bytes:
    """The body, read here: a client that sends it slowly, or never, must not hold one of Django's few threads."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body(LARGEST_BODY_BYTES)
    except TimeoutError:
        raise Refused(408, "too_slow", f"The body did not arrive within {BODY_SECONDS:.0f} seconds.") from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, and after it what the connection says."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed
