"""A hostile HTTP client at the one-process front: connections that never finish, paths that are none."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx2
import pytest

from provenance import asgi
from tests.gateway.world import served


@pytest.fixture
def front(db):
    with served(asgi.front) as url:
        yield url


def unfinished_post(url, cookie):
    """A connection that announces a form of 1000 bytes and sends one."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=60)
    connection.sendall(
        f"POST /sign-in/ HTTP/1.1\r\nHost: {place.netloc}\r\nOrigin: {url}\r\nCookie: {cookie}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nx".encode()
    )
    return connection


def cookie_of(url):
    """What a browser sends back after the sign-in page: with it the form's body is read."""
    cookies = httpx2.get(f"{url}/sign-in/").cookies
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def test_bodies_that_never_come_do_not_hold_the_threads_that_serve_pages(front):
    cookie = cookie_of(front)
    with ExitStack() as open_connections:
        for _ in range(asgi.DJANGO_THREADS + 2):
            open_connections.enter_context(unfinished_post(front, cookie))
        assert httpx2.get(f"{front}/sign-in/", timeout=60).status_code == 200


def test_a_body_that_never_comes_is_given_up(front, monkeypatch):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.2)
    with unfinished_post(front, cookie_of(front)) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_path_without_a_slash_is_not_found(front):
    place = urlsplit(front)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(f"OPTIONS * HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        status = int(connection.recv(1000).split()[1])
    assert 400 <= status < 500


def test_an_endless_body_of_no_declared_length_is_refused(front):
    def endless():
        for _ in range(9):
            yield b"x" * 1_000_000

    try:
        status = httpx2.post(f"{front}/sign-in/", content=endless()).status_code
    except (httpx2.NetworkError, httpx2.RemoteProtocolError):
        return  # The connection was closed while the rest was on its way.
    assert status == 413
