"""Starts the example processes as a person would, on free ports, and stops them after."""

import json
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("erp", "crm", "docs")


@dataclass(frozen=True)
class Endpoint:
    """One MCP endpoint, its token, and the database behind it."""

    url: str
    token: str
    database: Path

    @asynccontextmanager
    async def client(self, *, mode: str = "auto"):
        """The official client, carrying the token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    def tools(self, *, mode: str = "auto") -> dict[str, Any]:
        return listed(self, mode)

    def call(self, tool: str, *, mode: str = "auto", **arguments: Any) -> Any:
        """The result of one call over its own connection."""

        async def calling():
            async with self.client(mode=mode) as client:
                return await client.call_tool(tool, arguments)

        return anyio.run(calling)

    def read(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a call that must succeed."""
        result = self.call(tool, **arguments)
        assert not result.is_error, result.content
        return result.structured_content


@cache
def listed(endpoint: Endpoint, mode: str) -> dict[str, Any]:
    """The tools of an endpoint by name, asked for once: they do not change while it runs."""

    async def listing():
        async with endpoint.client(mode=mode) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return anyio.run(listing)


@dataclass(frozen=True)
class ScriptedModel:
    """A running scripted model server."""

    url: str
    key: str

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, **{"max_retries": 0, "timeout": 60, **options}
        )

    def received(self) -> list[dict[str, Any]]:
        """The bodies the server got since they were last forgotten."""
        answer = httpx2.get(f"{self.url}/requests", headers={"Authorization": f"Bearer {self.key}"})
        return [json.loads(one["body"]) for one in answer.raise_for_status().json()["requests"]]

    def forget(self) -> None:
        httpx2.delete(f"{self.url}/requests", headers={"Authorization": f"Bearer {self.key}"}).raise_for_status()


@contextmanager
def started(module: str, *arguments: str) -> Iterator[str]:
    """The address a process prints; the process ends with the block, and must end willingly."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert " listening on " in line, line
            yield line.rsplit(" ", 1)[1].strip()
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@contextmanager
def example_servers(home: Path) -> Iterator[dict[str, Endpoint]]:
    """All three servers in one process over fresh databases in `home`."""
    (home / "keys").mkdir(parents=True, exist_ok=True)
    tokens = {name: secrets.token_urlsafe(24) for name in NAMES}
    for name, token in tokens.items():
        (home / "keys" / f"example-token-{name}").write_text(token)
    with started("examples.servers", "--port", "0", "--home", str(home)) as url:
        yield {
            name: Endpoint(f"{url}/{name}/mcp", token, home / "examples" / f"{name}.sqlite3")
            for name, token in tokens.items()
        }


@contextmanager
def scripted_model(home: Path) -> Iterator[ScriptedModel]:
    """The scripted model with a fresh key."""
    home.mkdir(parents=True, exist_ok=True)
    key = secrets.token_urlsafe(24)
    (home / "model-key").write_text(key)
    with started("examples.scripted_model", "--port", "0", "--key-file", str(home / "model-key")) as url:
        yield ScriptedModel(url, key)


def count(endpoint: Endpoint, table: str) -> int:
    """How many rows a table holds, read past the server."""
    with closing(sqlite3.connect(endpoint.database)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
