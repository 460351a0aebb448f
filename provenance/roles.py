"""The Postgres roles: who owns, who migrates, and one role for each kind of process with nothing it does not need.

Without Django, because `up` calls this before there is a database. Rights on tables are given by the migrations
(`audit.guard.Grant`); here are only the roles themselves, the database and who may connect to it.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from provenance.postgres.session import demand_straight

OWNER = "prov_owner"
MIGRATE = "prov_migrate"
RUNTIME_ROLES: Mapping[str, str] = {
    "web": "prov_web",
    "gateway": "prov_gateway",
    "worker": "prov_worker",
    "sealer": "prov_sealer",
    "audit_read": "prov_audit_read",
    "retention": "prov_retention",
}
"""Short name -> Postgres role of everything that runs. None of them owns anything."""

LOGIN_ROLES = (MIGRATE, *RUNTIME_ROLES.values())

_RUNTIME_SETTINGS = {
    # Nobody's objects are to be found before ours, whatever a session's search_path says.
    "search_path": "public",
    "TimeZone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
    # Whatever the server's default is: what the log says before a call must not be lost after it (T27).
    "synchronous_commit": "on",
}
_UNPRIVILEGED = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
# Postgres 16: before it a role inherits from all that it is a member of, or from none.
_MEMBERSHIPS_HAVE_OPTIONS = 160000
# Nothing of ours is a large object; whoever makes one has a store that no workspace, guard or quota knows. Only a
# superuser can close it: elsewhere the statement does nothing, and an administrator runs it once.
# One line, because `administrator_sql` gives a line to each statement.
_NO_LARGE_OBJECTS = sql.SQL(
    "DO $$ DECLARE function regprocedure; BEGIN "
    "IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN "
    "FOR function IN SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace "
    "AND (proname ~ '^lo_' OR proname IN ('loread', 'lowrite')) "
    "LOOP EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function); END LOOP; "
    "END IF; END $$"
)
# By it `verify` and `reconcile` hold indexes against their tables. A superuser makes it, as above, and where it belongs to
# nobody who runs; a server without Postgres's contrib modules has none, and those two say so.
_CHECKS_OF_INDEXES = sql.SQL(
    "DO $$ BEGIN IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) "
    "AND EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck') THEN "
    "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog; ALTER EXTENSION amcheck SET SCHEMA pg_catalog; "
    "GRANT EXECUTE ON FUNCTION pg_catalog.bt_index_check(regclass, boolean) TO {}; END IF; END $$"
).format(sql.SQL(", ").join(map(sql.Identifier, (OWNER, RUNTIME_ROLES["sealer"]))))
_INSUFFICIENT_PRIVILEGE = psycopg.errors.InsufficientPrivilege


class RolesMissing(Exception):
    """The server's roles or the database are not there and this login may not make them.

    The text ends with the SQL that an administrator runs once; passwords are left for the administrator to choose.
    """


def ensure_roles(admin_url: str, passwords: Mapping[str, str], *, database: str = "provenance") -> None:
    """Make the roles and the database, or bring them back to what they should be. Running it again changes nothing.

    `passwords`: login role -> password; a role that is not named keeps the one it has. Raises `RolesMissing` when the
    login of `admin_url` may not create roles and something is missing, `BehindPooler` where a pooler stands before the server.
    """
    with psycopg.connect(admin_url, autocommit=True) as admin:
        # Whoever makes and migrates a database says `SET ROLE` once, for all that follows.
        demand_straight(admin)
        try:
            _create_roles(admin, passwords)
            _create_database(admin, database)
        except _INSUFFICIENT_PRIVILEGE as refused:
            if _is_complete(admin, database):
                return
            raise RolesMissing(
                f"{admin.info.user} may not create roles or databases ({refused.diag.message_primary}). "
                f"Let an administrator of the server run this once:\n\n{administrator_sql(database, server_version=admin.info.server_version)}"
            ) from refused
    grant_database(admin_url, database)


def grant_database(admin_url: str, database: str) -> None:
    """Who may connect to the database, and what they find in it. Needed again for a copy made with TEMPLATE."""
    with psycopg.connect(in_database(admin_url, database), autocommit=True) as admin:
        for statement in _database_grants(database):
            admin.execute(statement)


def in_database(url: str, database: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(database, safe='')}"))


def administrator_sql(database: str = "provenance", *, server_version: int) -> str:
    """What an administrator runs in psql on a server where we may not create roles; it asks for each password.

    `server_version` as Postgres numbers it: 150018 is 15.18.
    """
    statements = [
        *(_create_role(role) for role in (OWNER, *LOGIN_ROLES)),
        *_role_settings(),
        _membership(server_version),
        _create_database_statement(database),
        *_database_grants(database),
    ]
    lines = [f"{statement.as_string(None)};" for statement in statements]
    lines.insert(-len(_database_grants(database)), f"\\connect {database}")
    return "\n".join([*lines, *(f"\\password {role}" for role in LOGIN_ROLES)])


def _create_roles(admin: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    known = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles").fetchall()}
    for role in (OWNER, *LOGIN_ROLES):
        if role not in known:
            admin.execute(_create_role(role))
    for role, password in passwords.items():
        if role in LOGIN_ROLES:
            admin.execute(_set_password(admin, role, password))
    with admin.transaction():
        for statement in _role_settings():
            admin.execute(statement)
    admin.execute(_membership(admin.info.server_version))


def _create_database(admin: psycopg.Connection, database: str) -> None:
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        return
    right = "SET" if admin.info.server_version >= _MEMBERSHIPS_HAVE_OPTIONS else "MEMBER"
    if admin.execute("SELECT pg_has_role(current_user, %s, %s)", [OWNER, right]).fetchone() != (True,):
        # Who may create roles is not yet a member of them, and only members may give a database to its owner.
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))
    admin.execute(_create_database_statement(database))


def _is_complete(admin: psycopg.Connection, database: str) -> bool:
    roles = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", [[OWNER, *LOGIN_ROLES]]).fetchone()
    there = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
    return roles == (len(LOGIN_ROLES) + 1,) and there is not None


def _create_role(role: str) -> sql.Composed:
    login = sql.SQL("NOLOGIN" if role == OWNER else "LOGIN")
    inherit = sql.SQL("NOINHERIT" if role == MIGRATE else "INHERIT")
    return sql.SQL("CREATE ROLE {} {} {} {}").format(sql.Identifier(role), login, inherit, _UNPRIVILEGED)


def _set_password(admin: psycopg.Connection, role: str, password: str) -> sql.Composed:
    # The verifier is computed here, so that the password itself is in no statement and in no log of the server.
    verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode("ascii")
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))


def _role_settings() -> list[sql.Composed]:
    statements = []
    for role in map(sql.Identifier, RUNTIME_ROLES.values()):
        # Everybody may set something for their own role, and a hijacked process would stop the next ones by it.
        statements.append(sql.SQL("ALTER ROLE {} RESET ALL").format(role))
        statements += [
            sql.SQL("ALTER ROLE {} SET {} TO {}").format(role, sql.Identifier(name), sql.Literal(value))
            for name, value in _RUNTIME_SETTINGS.items()
        ]
    return statements


def _membership(server_version: int) -> sql.Composed:
    """The migrator becomes the owner by an explicit SET ROLE and has none of its rights without."""
    membership = sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(MIGRATE))
    if server_version < _MEMBERSHIPS_HAVE_OPTIONS:
        # There the login's own NOINHERIT says it, for all its memberships; this is its only one.
        return membership
    return membership + sql.SQL(" WITH INHERIT FALSE, SET TRUE")


def _create_database_statement(database: str) -> sql.Composed:
    # From template0, because somebody may have added to template1, and in UTF-8 whatever the server's default is.
    statement = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0")
    return statement.format(sql.Identifier(database), sql.Identifier(OWNER))


def _database_grants(database: str) -> list[sql.Composed | sql.SQL]:
    name, owner = sql.Identifier(database), sql.Identifier(OWNER)
    logins = sql.SQL(", ").join(sql.Identifier(role) for role in LOGIN_ROLES)
    roles = [sql.Identifier(role) for role in RUNTIME_ROLES.values()]
    runtime = sql.SQL(", ").join(roles)
    return [
        # Without TEMPORARY nobody can put a table of their own in front of ours.
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, logins),
        sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"),
        sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(runtime),
        *(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(role, name) for role in roles),
        _NO_LARGE_OBJECTS,
        _CHECKS_OF_INDEXES,
    ]
