"""Somebody else's Postgres and Redis: roles made by a login that is no superuser, and an installation over them (E7)."""

import re
import urllib.request

import psycopg
import pytest

from provenance.binaries import SERVERS_VARIABLE, EmbeddedError, postgres_for
from provenance.embedded import EmbeddedPostgres, EmbeddedValkey
from provenance.home import DATABASE_ROLES, Home
from provenance.processes import StartError
from provenance.roles import administrator_sql, ensure_roles, in_database
from provenance.servers import refuse_silent_broker
from tests.machine.conftest import manage

PASSWORDS = dict.fromkeys(DATABASE_ROLES, "of-this-test-only")


@pytest.fixture(params=["wheel", "system"])
def server(request, home, monkeypatch):
    """A cluster on which nothing of ours exists yet: of the wheel's version and of the system's."""
    if request.param == "system":
        monkeypatch.setenv(SERVERS_VARIABLE, "system")
        try:
            postgres_for(home.postgres)
        except EmbeddedError as missing:
            pytest.skip(str(missing))
    running = EmbeddedPostgres(home, durable=False)
    running.start()
    yield running
    running.stop()


def role_maker(server: EmbeddedPostgres) -> str:
    """A login as hosted Postgres gives it: it may make roles and databases and is no superuser. Its URL."""
    with psycopg.connect(server.admin_url(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE maker LOGIN CREATEROLE CREATEDB PASSWORD 'maker'")
    return server.home.database_url("maker", database="postgres", password="maker")


def migrator_is_owner_only_when_it_says_so(server: EmbeddedPostgres) -> None:
    url = server.home.database_url("prov_migrate", password=PASSWORDS["prov_migrate"])
    with psycopg.connect(url, autocommit=True) as migrator:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrator.execute("CREATE TABLE public.mine (a int)")
        migrator.execute("SET ROLE prov_owner")
        migrator.execute("CREATE TABLE public.mine (a int); DROP TABLE public.mine")


def test_a_login_that_is_no_superuser_makes_roles_and_database(server):
    maker = role_maker(server)
    for _ in range(2):
        ensure_roles(maker, PASSWORDS)
    migrator_is_owner_only_when_it_says_so(server)
    with psycopg.connect(server.admin_url(), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(server.home.database_url("stranger", password="stranger"))


def test_what_an_administrator_ran_by_hand_is_enough_for_a_login_that_may_nothing(server):
    with psycopg.connect(server.admin_url(), autocommit=True) as superuser:
        statements = administrator_sql(server_version=superuser.info.server_version).splitlines()
        superuser.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        inside = statements.index("\\connect provenance")
        for statement in statements[:inside]:
            superuser.execute(statement)
    with psycopg.connect(in_database(server.admin_url(), "provenance"), autocommit=True) as superuser:
        for statement in statements[inside + 1 :]:
            asks = statement.startswith("\\password ")
            role = statement.removeprefix("\\password ")
            superuser.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORDS[role]}'" if asks else statement)
    ensure_roles(server.home.database_url("plain", database="postgres", password="plain"), PASSWORDS)
    migrator_is_owner_only_when_it_says_so(server)


def test_a_broker_that_is_down_is_one_sentence_without_the_password():
    with pytest.raises(StartError, match=r"the broker at 127\.0\.0\.1:9 does not answer .*correct REDIS_URL") as raised:
        refuse_silent_broker("redis://:canary-4711@127.0.0.1:9/0")
    assert "canary-4711" not in str(raised.value)


def test_production_over_external_servers_says_how_the_first_administrator_gets_in(home, tmp_path, three_free_ports):
    """T24: the address is on the terminal of the one who starts it, and not in the log."""
    elsewhere = Home(tmp_path / "elsewhere").ensure()
    servers = (EmbeddedPostgres(elsewhere, durable=False), EmbeddedValkey(elsewhere, durable=False))
    try:
        for server in servers:
            server.start()
        variables = {
            "PROVENANCE_ENV": "production",
            "PROVENANCE_ADMIN_DATABASE_URL": role_maker(servers[0]),
            "REDIS_URL": elsewhere.redis_url,
        }
        up = manage("up", "--detach", "--port", str(three_free_ports), home=home, **variables)
        said = up.communicate(timeout=300)[0]
        assert up.returncode == 0, said
        link = re.search(rf"http://127\.0\.0\.1:{three_free_ports}/setup/\S+", said)
        assert link, said
        with urllib.request.urlopen(link[0], timeout=60) as page:  # noqa: S310  the expression above says http
            assert page.status == 200
        assert link[0] not in "".join(log.read_text() for log in home.logs.glob("*.log"))
        assert not home.postgres.exists()
    finally:
        manage("down", home=home).communicate(timeout=60)
        for server in servers:
            server.stop()
        elsewhere.discard_run()
