"""`./manage.py test` gives every test run servers of its own."""

import os

import psycopg
import redis


def test_the_throw_away_postgres_takes_connections():
    with psycopg.connect(os.environ["TEST_ADMIN_DATABASE_URL"]) as connection:
        version = connection.execute("SHOW server_version").fetchone()[0]
        checksums = connection.execute("SHOW data_checksums").fetchone()[0]
        listening = connection.execute("SHOW listen_addresses").fetchone()[0]
    assert (version.split(".")[0], checksums, listening) == ("18", "on", "")


def test_the_throw_away_valkey_answers():
    with redis.Redis.from_url(os.environ["TEST_REDIS_URL"]) as client:
        assert client.ping()
