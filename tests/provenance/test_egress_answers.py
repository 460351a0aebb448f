"""What an answer may not do to a client of the door, and what no caller can switch off (gateway.md 5, rows 6-8, 11)."""

import asyncio
import gzip
import time

import httpx2
import pytest

from provenance.egress import DeadlineExceeded, Egress, EgressRefused
from tests.fakes.http_server import serving
from tests.provenance.http_clients import both, fetch, ok


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@both
def test_redirects_are_refused(status, kind):
    with serving(ok) as inside, serving(lambda c, _: c.answer(status=status, Location=inside.url)) as server:
        door = Egress.to(server.url, inside.url)
        with pytest.raises(EgressRefused) as caught:
            fetch(door, server.url, kind)
        assert caught.value.rule == "redirect"
        assert inside.requests == []


def test_a_caller_cannot_switch_redirects_on():
    with (
        serving(lambda c, _: c.answer(status="302 Found", Location="/x")) as server,
        Egress.to(server.url).client() as client,
    ):
        with pytest.raises(EgressRefused):
            client.get(server.url, follow_redirects=True)
        assert len(server.requests) == 1


@pytest.mark.parametrize("option", ["transport", "proxy", "mounts", "verify", "trust_env", "follow_redirects"])
def test_a_client_cannot_be_made_around_the_door(option):
    with pytest.raises(TypeError, match=option):
        Egress().client(**{option: None})


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with serving(ok) as proxy, serving(ok) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert fetch(Egress.to(server.url), server.url, "sync").status_code == 200
        assert proxy.connections == 0


@pytest.mark.parametrize("announced", [True, False])
@both
def test_an_answer_larger_than_allowed_is_cut_off(announced, kind):
    def endless(connection, request):
        if announced:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while connection.pause(0.001):
            connection.send(bytes(16384))

    with serving(endless) as server:
        with pytest.raises(EgressRefused) as caught:
            fetch(Egress.to(server.url, max_response_bytes=100_000), server.url, kind)
        assert caught.value.rule == "too_large"


@both
def test_an_answer_of_exactly_the_allowed_size_passes(kind):
    with serving(lambda c, _: c.answer(bytes(1000))) as server:
        assert len(fetch(Egress.to(server.url, max_response_bytes=1000), server.url, kind).content) == 1000
        with pytest.raises(EgressRefused):
            fetch(Egress.to(server.url, max_response_bytes=999), server.url, kind)


@both
def test_a_compressed_bomb_is_not_even_read(kind):
    bomb = gzip.compress(bytes(50_000_000))
    with serving(lambda c, _: c.answer(bomb, Content_Encoding="gzip")) as server:
        with pytest.raises(EgressRefused) as caught:
            fetch(Egress.to(server.url), server.url, kind)
        assert caught.value.rule == "compressed"
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("part", ["head", "body"])
@both
def test_a_drip_of_single_bytes_ends_with_the_exchange(part, kind):
    """Each byte is lively; the whole is not."""

    def drip(connection, request):
        if part == "body":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while connection.pause(0.02):
            connection.send(b"a")

    with serving(drip) as server:
        began = time.monotonic()
        with pytest.raises((DeadlineExceeded, httpx2.ReadTimeout)):
            fetch(Egress.to(server.url, total_seconds=0.5), server.url, kind)
        assert time.monotonic() - began < 30, "the drip goes on for half an hour"


@both
def test_silence_ends_with_the_exchange(kind):
    with serving(lambda c, _: c.pause(600)) as server:
        began = time.monotonic()
        with pytest.raises((DeadlineExceeded, httpx2.ReadTimeout)):
            fetch(Egress.to(server.url, total_seconds=0.3), server.url, kind)
        assert time.monotonic() - began < 30, "the silence goes on for minutes"


@both
def test_cookies_of_one_call_do_not_ride_on_the_next(kind):
    def answer(connection, request):
        connection.answer(Set_Cookie="session=stolen")

    with serving(answer) as server:
        door = Egress.to(server.url)

        def twice():
            with door.client() as client:
                client.get(server.url)
                client.get(server.url)

        async def twice_async():
            async with door.async_client() as client:
                await client.get(server.url)
                await client.get(server.url)

        twice() if kind == "sync" else asyncio.run(twice_async())
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


@both
def test_connections_are_kept_between_calls(kind):
    with serving(ok) as server:
        door = Egress.to(server.url)

        async def twice_async():
            async with door.async_client() as client:
                await client.get(server.url)
                await client.get(server.url)

        if kind == "async":
            asyncio.run(twice_async())
        else:
            with door.client() as client:
                client.get(server.url)
                client.get(server.url)
        assert server.connections == 1


@both
def test_a_refused_answer_does_not_poison_the_pool(kind):
    """After a cut-off answer the connection is gone, not handed to the next call with leftovers in it."""

    def answer(connection, request):
        connection.answer(bytes(5000) if request.line.startswith("GET /big") else b"small")

    with serving(answer) as server:
        door = Egress.to(server.url, max_response_bytes=1000)

        async def both_async():
            async with door.async_client() as client:
                with pytest.raises(EgressRefused):
                    await client.get(f"{server.url}/big")
                return (await client.get(f"{server.url}/small")).content

        if kind == "async":
            assert asyncio.run(both_async()) == b"small"
        else:
            with door.client() as client:
                with pytest.raises(EgressRefused):
                    client.get(f"{server.url}/big")
                assert client.get(f"{server.url}/small").content == b"small"
