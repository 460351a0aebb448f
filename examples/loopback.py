"""What every process of the examples shares: a loopback port, a bearer token from a file, an ASGI server."""

import hmac
import socket
import sys
from pathlib import Path
from typing import NoReturn

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
MIN_TOKEN_CHARACTERS = 16


class BearerGuard:
    """Lets a request through only with the one token; everything else gets 401 and never reaches `app`.

    `open_paths` need no token; they must tell nothing.
    """

    def __init__(self, app: ASGIApp, token: str, *, open_paths: frozenset[str] = frozenset()) -> None:
        self.app = app
        self._token = token.encode()
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.admits(Request(scope)):
            answer = JSONResponse(
                {"error": {"type": "unauthorized", "message": "Send the header 'Authorization: Bearer <token>'."}},
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def admits(self, request: Request) -> bool:
        """Whether the request carries the token. Takes the same time for every wrong token of one length."""
        if request.url.path in self._open_paths:
            return True
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(presented.strip().encode(), self._token)


def read_token(path: Path) -> str:
    """The token in a file. Ends the process with a sentence when there is none worth the name."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        stop(f"cannot read the token file {path}: {error.strerror}; write a random token into it and start again")
    if len(token) < MIN_TOKEN_CHARACTERS:
        stop(f"the token in {path} has fewer than {MIN_TOKEN_CHARACTERS} characters; write a longer random one")
    return token


def serve(app: ASGIApp, *, port: int, name: str) -> None:
    """Serve `app` on loopback until SIGINT or SIGTERM. Port 0 takes a free one; the printed line says which."""
    with listen(port) as listener:
        print(f"{name} listening on http://{HOST}:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A listening socket, so that a client that reads the printed address is never too early."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        stop(f"cannot listen on {HOST}:{port}: {error.strerror}; choose another port with --port")
    listener.listen(128)
    return listener


def stop(sentence: str) -> NoReturn:
    """End the process with exit code 2, as argparse does for bad arguments."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)
