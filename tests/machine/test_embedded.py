"""Embedded Postgres and Valkey: they start from nothing, survive what happens to them, and tell nobody a secret."""

import os
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from provenance import pidfiles
from provenance.binaries import EmbeddedError
from provenance.embedded import EmbeddedPostgres, EmbeddedValkey, last_line
from provenance.home import KEYS, Home
from tests.machine.brokers import a_broker_that_keeps_what_it_was_given


@pytest.fixture
def postgres(home):
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    yield server
    server.stop()


def query(server, sql):
    with psycopg.connect(server.admin_url(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def setting(server, name):
    return query(server, f"SHOW {name}")[0][0]


def test_the_cluster_is_what_the_walls_ask_for(postgres):
    assert setting(postgres, "server_version").startswith("18.")
    assert setting(postgres, "data_checksums") == "on"
    assert setting(postgres, "listen_addresses") == ""
    assert setting(postgres, "unix_socket_permissions") == "0700"
    assert query(postgres, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'postgres'") == [
        ("b", "C.UTF-8")
    ]
    assert query(postgres, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("scram-sha-256",)]


def test_a_wrong_password_is_refused(postgres, home):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(home.database_url("postgres", database="postgres", password="guess"))


def test_no_secret_is_in_arguments_or_environment(postgres, home):
    """The files name the secrets; `ps` shows none of them."""
    secrets = [home.read_key(name).encode() for name in KEYS]
    seen = b"".join(Path(f"/proc/{postgres.process.pid}/{part}").read_bytes() for part in ("cmdline", "environ"))
    assert seen
    assert not [secret for secret in secrets if secret in seen]


def test_what_a_statement_held_is_not_in_the_log(postgres, home):
    query(postgres, "CREATE TABLE t (name text PRIMARY KEY CHECK (name <> 'canary-4711'))")
    with pytest.raises(psycopg.errors.CheckViolation):
        query(postgres, "INSERT INTO t VALUES ('canary-4711')")
    log = (home.logs / "postgres.log").read_text()
    assert "violates check constraint" in log
    assert "canary-4711" not in log


def test_after_a_kill_the_next_start_recovers_and_the_data_is_there(home):
    server = EmbeddedPostgres(home)
    server.start()
    try:
        query(server, "CREATE TABLE kept AS SELECT 1 AS x")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.start()
        assert query(server, "SELECT x FROM kept") == [(1,)]
    finally:
        server.stop()


def test_any_later_process_can_stop_it(postgres, home):
    EmbeddedPostgres(home).stop()
    assert not EmbeddedPostgres(home).is_running()
    assert not (home.postgres / "postmaster.pid").exists()


def test_a_lock_file_whose_number_belongs_to_a_stranger_does_not_stop_a_start(home):
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    server.stop()
    (home.postgres / "postmaster.pid").write_text(f"{os.getppid()}\n{home.postgres}\n1\n5432\n{home.run}\n\n1 1\n")
    server.start()
    server.stop()


def test_a_server_that_was_never_recorded_is_found_by_its_directory(home):
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    server.pid_file.unlink()
    EmbeddedPostgres(home).stop()
    assert server.process.wait() == 0


def test_an_interrupted_first_start_is_done_again(home):
    (home.root / "postgres.new" / "base").mkdir(parents=True)
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    server.stop()
    assert not (home.root / "postgres.new").exists()


def test_a_cluster_of_another_major_version_is_refused_with_the_way_to_carry_it_over(home):
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("14\n")
    with pytest.raises(
        EmbeddedError, match=r"made by Postgres 14, and this is Postgres 18 \(embedded\): install .* or write it out"
    ):
        EmbeddedPostgres(home).start()


def test_a_directory_that_is_no_cluster_is_refused_and_left_alone(home):
    home.postgres.mkdir()
    (home.postgres / "diary.txt").write_text("mine")
    with pytest.raises(EmbeddedError, match="is not a database cluster; move it away"):
        EmbeddedPostgres(home).start()
    assert (home.postgres / "diary.txt").read_text() == "mine"


def test_a_server_that_cannot_start_says_why_in_one_line(home):
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    server.stop()
    (home.postgres / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match=r"postgres ended while starting: .*FATAL.*contains errors"):
        server.start()
    assert not server.pid_file.exists()


@pytest.mark.parametrize("name", ["with space, and comma", "quote's", "x" * 100])
def test_it_runs_in_directories_with_difficult_names(tmp_path, name):
    home = Home(tmp_path / name).ensure()
    servers = (EmbeddedPostgres(home, durable=False), EmbeddedValkey(home, durable=False))
    try:
        for server in servers:
            server.start()
        assert query(servers[0], "SELECT 1") == [(1,)]
        with redis.Redis.from_url(home.redis_url) as client:
            assert client.ping()
    finally:
        for server in servers:
            server.stop()
        home.discard_run()


def test_valkey_listens_on_its_socket_only_and_keeps_what_it_was_given(home):
    with a_broker_that_keeps_what_it_was_given(home, across=signal.SIGKILL) as server:
        assert pidfiles.read(server.pid_file).pid == server.process.pid


def test_the_last_line_of_a_process_is_the_reason_and_not_the_farewell(home):
    (home.logs / "front.log").write_text(
        "ERROR:    The guard audit_coverage of agents_agent is missing.\nERROR:    Application startup failed. Exiting.\n"
    )
    assert last_line(home, "front") == "ERROR:    The guard audit_coverage of agents_agent is missing."
