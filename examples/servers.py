"""The example servers: each alone, or all in one process (`python -m examples.servers --port 8421 --home DIR`)."""

import argparse
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples import crm, docs, erp
from examples.loopback import BearerGuard, read_token, serve
from examples.mcp_server import endpoint
from examples.store import Store


@dataclass(frozen=True)
class Mounted:
    """One MCP server: its store, its protocol handler and the token it demands."""

    store: Store
    manager: StreamableHTTPSessionManager
    token: str


EXAMPLES: dict[str, Callable[[Path], tuple[Store, StreamableHTTPSessionManager]]] = {
    "erp": erp.build,
    "crm": crm.build,
    "docs": docs.build,
}


def application(mounted: Mapping[str, Mounted]) -> Starlette:
    """An ASGI application with one MCP endpoint per path and `/healthz`, which needs no token and tells nothing."""

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for server in mounted.values():
                await stack.enter_async_context(server.manager.run())
            yield

    async def healthz(_request: Request) -> JSONResponse:
        for server in mounted.values():
            await anyio.to_thread.run_sync(check, server.store)
        return JSONResponse({"status": "ok"})

    routes = [Route("/healthz", healthz)]
    for path, server in mounted.items():
        routes.append(Route(path, BearerGuard(endpoint(server.manager), server.token)))
    return Starlette(routes=routes, lifespan=running)


def check(store: Store) -> None:
    """Raise when the database cannot be read."""
    with store.reading() as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def run_one(name: str) -> None:
    """`python -m examples.<name> --port N --database F --token-file T`: one server alone, at `/mcp`."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.{name}")
    parser.add_argument("--port", type=int, required=True, help="loopback port; 0 takes a free one")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file; created and seeded when missing")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the bearer token")
    options = parser.parse_args()
    token = read_token(options.token_file)
    store, manager = EXAMPLES[name](options.database)
    serve(application({"/mcp": Mounted(store, manager, token)}), port=options.port, name=name)


def run_all() -> None:
    """All three in one process: `/erp/mcp`, `/crm/mcp`, `/docs/mcp`, each with a token of its own."""
    parser = argparse.ArgumentParser(prog="python -m examples.servers")
    parser.add_argument("--port", type=int, default=8421, help="loopback port; 0 takes a free one")
    parser.add_argument("--home", type=Path, required=True, help="data directory with keys/; databases in examples/")
    options = parser.parse_args()
    mounted = {}
    for name, build in EXAMPLES.items():
        token = read_token(options.home / "keys" / f"example-token-{name}")
        store, manager = build(options.home / "examples" / f"{name}.sqlite3")
        mounted[f"/{name}/mcp"] = Mounted(store, manager, token)
    serve(application(mounted), port=options.port, name="examples")


if __name__ == "__main__":
    run_all()
