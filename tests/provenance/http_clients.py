"""The two kinds of client that the door hands out, driven alike."""

import asyncio

import pytest


def ok(connection, request):
    connection.answer(b'{"ok": true}')


def fetch(door, url, kind):
    """GET through the sync or the asyncio client: both must behave alike."""
    if kind == "sync":
        with door.client() as client:
            return client.get(url)

    async def get():
        async with door.async_client() as client:
            return await client.get(url)

    return asyncio.run(get())


both = pytest.mark.parametrize("kind", ["sync", "async"])
