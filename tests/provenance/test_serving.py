"""What every answer carries: ids, addresses, static files, health, and the cache behind rate limits."""

import pytest
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.db import OperationalError, connection
from django.templatetags.static import static
from django.test import Client, RequestFactory
from redis.exceptions import ConnectionError as RedisConnectionError

from apikeys import keytext
from provenance.middleware import client_ip


@pytest.fixture
def proxies(settings):
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "not an address", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_listed_proxy(proxies, peer, forwarded, found):
    """T30."""
    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})
    assert client_ip(request) == found


def test_https_is_believed_only_from_a_listed_proxy(proxies, settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for peer, is_secure in (("203.0.113.1", False), ("10.0.0.1", True)):
        request = RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-Proto": "https"})
        client_ip(request)
        assert request.is_secure() == is_secure


def test_every_answer_has_an_id_of_ours_whatever_was_sent():
    response = Client(headers={"X-Request-Id": "forged\r\nline"}).get("/healthz")
    assert response["X-Request-Id"].startswith("req_")
    assert response.json() == {"status": "alive"}


@pytest.mark.django_db(transaction=True)
def test_readiness_names_what_is_wrong():
    response = Client().get("/readyz")
    assert response.status_code == (503 if response.json()["problems"] else 200)


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_down_the_process_is_alive_and_says_what_is_wrong(monkeypatch):
    def down(*_args, **_kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", down)
    monkeypatch.setattr(connection, "cursor", down)
    assert Client().get("/healthz").status_code == 200
    response = Client().get("/readyz")
    assert (response.status_code, response["Content-Type"]) == (503, "application/json")
    assert "database" in response.json()["problems"][0]
    refused = Client(headers={"X-API-Key": keytext.new_key()}).get("/api/v1/key")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert Client().get("/sign-in/").status_code == 503


@pytest.mark.django_db
def test_an_unknown_address_is_a_page_for_people_and_a_problem_for_programs():
    assert "text/html" in Client().get("/nothing")["Content-Type"]
    assert Client().get("/api/v1/nothing")["Content-Type"] == "application/problem+json"


def test_a_static_address_changes_with_its_content():
    address = static("css/base.css")
    assert address.startswith("/static/css/base.css?v=")
    assert static("no/such/file.css") == "/static/no/such/file.css"


def test_static_files_are_sent_with_the_policy_and_kept_for_a_year():
    response = Client().get("/static/css/base.css")
    assert response.status_code == 200
    assert "max-age=31536000" in response["Cache-Control"]
    assert response["Content-Security-Policy"]
    assert b"".join(response.streaming_content)
    assert finders.find("css/base.css")


@pytest.mark.parametrize(
    "path", ["/static/../provenance/settings.py", "/static/%2e%2e/manage.py", "/static//etc/passwd"]
)
@pytest.mark.django_db
def test_nothing_but_static_files_is_sent_as_such(path):
    assert Client().get(path).status_code == 404


def test_rate_limits_go_on_counting_while_redis_is_away(monkeypatch, own_rate_limits):
    """T17: losing it loses nothing but shared counts."""
    cache.set("here", 1)
    assert cache.get("here") == 1

    def away(*_args, **_kwargs):
        raise RedisConnectionError("gone")

    monkeypatch.setattr("django.core.cache.backends.redis.RedisCacheClient.get_client", away)
    assert cache.add("counter", [1.0])
    assert not cache.add("counter", [2.0])
    cache.set("counter", [1.0, 2.0])
    assert cache.get("counter") == [1.0, 2.0]
    assert cache.delete("counter")
    assert cache.get("counter") is None
