"""Somebody who may write to the broker, such as a hijacked worker, and wants to reach another process through it (T17)."""

import pickle
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.core.cache import cache, caches
from django.urls import reverse


class Payload:
    """Whoever unpickles this makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


def plant(key: str, stored: bytes) -> None:
    """Write under the cache's own key, as anybody with its connection can."""
    made = cache.make_key(key)
    caches["default"]._cache.get_client(made, write=True).set(made, stored, ex=60)


def test_what_a_hijacked_worker_leaves_in_the_cache_is_never_run(own_rate_limits, tmp_path):
    """T17: the broker carries no authority, and least of all code."""
    plant("counter", pickle.dumps(Payload(tmp_path / "ran")))
    assert cache.get("counter", []) == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "stored", [b'{"pop": 1}', b'["x"]', b'"text"', b"[[1]]", b"\xff\xfe", b"[" * 200_000, b"null", b"7", b"1" * 5_000]
)
def test_what_is_no_counter_counts_as_absent(own_rate_limits, stored):
    """T17: a stranger's value neither stops a sign-in nor steers it."""
    plant("counter", stored)
    assert cache.get("counter", []) == []


@pytest.mark.django_db
def test_a_poisoned_counter_does_not_stop_a_sign_in(own_rate_limits, client, tmp_path, monkeypatch):
    """T17: the page that the attack went through, with every counter it asks for poisoned."""
    poison = pickle.dumps(Payload(tmp_path / "ran"))
    get = cache._cache.get

    def poisoned(key, default):
        cache._cache.get_client(key, write=True).set(key, poison, ex=60)
        return get(key, default)

    monkeypatch.setattr(cache._cache, "get", poisoned)
    response = client.post(reverse("account_login"), {"login": "x@example.com", "password": "wrong"})
    assert response.status_code == 200
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "SET", "dir", "/"),
        ("SAVE",),
        ("SHUTDOWN",),
        ("REPLICAOF", "127.0.0.1", "6379"),
        ("ACL", "SETUSER", "default", "+@all"),
        ("MONITOR",),
        ("KEYS", "*"),
        ("CLIENT", "LIST"),
    ],
    ids=" ".join,
)
def test_who_may_ring_does_not_steer_the_broker(command):
    """T17: neither its files and its configuration nor what other processes say to it."""
    with redis.Redis.from_url(settings.REDIS_URL) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)
