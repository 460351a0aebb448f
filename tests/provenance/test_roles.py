"""Roles are made where we may, and asked for where we may not."""

import os

import psycopg
import pytest
from psycopg import sql

from provenance.roles import (
    LOGIN_ROLES,
    OWNER,
    RUNTIME_ROLES,
    RolesMissing,
    administrator_sql,
    ensure_roles,
    in_database,
)
from tests import databases

DATABASE = f"roles_{os.getpid()}"


@pytest.fixture
def server(django_db_setup):
    with psycopg.connect(databases.admin_url(), autocommit=True) as connection:
        yield connection
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))


@pytest.fixture
def newcomer(server):
    """A login that may do nothing yet; its URL."""
    name = f"newcomer_{os.getpid()}"
    server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'newcomer'").format(sql.Identifier(name)))
    host = psycopg.conninfo.conninfo_to_dict(databases.admin_url())["host"]
    yield f"postgresql://{name}:newcomer@/postgres?host={host}"
    server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_database_belongs_to_nobody_who_signs_in(server):
    ensure_roles(databases.admin_url(), {}, database=DATABASE)
    owner, login = server.execute(
        "SELECT rolname, rolcanlogin FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname = %s",
        [DATABASE],
    ).fetchone()
    assert (owner, login) == (OWNER, False)


def test_doing_it_again_changes_nothing(server):
    for _ in range(2):
        ensure_roles(databases.admin_url(), {}, database=DATABASE)


def test_strangers_cannot_even_connect(server, newcomer):
    ensure_roles(databases.admin_url(), {}, database=DATABASE)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(in_database(newcomer, DATABASE))


def test_the_migrator_is_the_owner_only_when_it_says_so(server):
    with databases.login("migrate") as migrator:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrator.execute("CREATE TABLE public.mine (a int)")
        migrator.execute("SET ROLE prov_owner")
        migrator.execute("CREATE TABLE public.mine (a int); DROP TABLE public.mine")


def test_a_login_that_may_not_create_roles_is_told_the_sql(newcomer):
    with pytest.raises(RolesMissing) as refusal:
        ensure_roles(newcomer, {}, database=DATABASE)
    text = str(refusal.value)
    for role in (OWNER, *LOGIN_ROLES):
        assert f'"{role}"' in text
    assert "PASSWORD" not in text


def test_the_sql_for_the_administrator_does_the_same(server):
    """Run it on the server as it stands: roles exist here, so only what follows them is left to run."""
    statements = administrator_sql(DATABASE, server_version=server.info.server_version).splitlines()
    before, after = statements.index(f"\\connect {DATABASE}"), len(statements)
    for statement in statements[:before]:
        if not statement.startswith("CREATE ROLE"):
            server.execute(statement)
    with psycopg.connect(in_database(databases.admin_url(), DATABASE), autocommit=True) as inside:
        for statement in statements[before + 1 : after]:
            if not statement.startswith("\\"):
                inside.execute(statement)
    with (
        psycopg.connect(databases.role_url("web", DATABASE)) as web,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        web.execute("CREATE TABLE public.mine (a int)")
    assert [role for role in RUNTIME_ROLES if _may_look_through_indexes(role)] == ["sealer"]


def _may_look_through_indexes(role):
    with psycopg.connect(databases.role_url(role, DATABASE)) as connection:
        asked = "SELECT has_function_privilege('bt_index_check(regclass, boolean)', 'EXECUTE')"
        return connection.execute(asked).fetchall() == [(True,)]
