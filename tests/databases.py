"""Databases for tests: one template per state of the migrations, one clone per worker, everything as the runtime roles.

`./manage.py test` starts the server and names it in TEST_ADMIN_DATABASE_URL. The connection of a test signs in as the
administrator and becomes a runtime role with SET SESSION AUTHORIZATION: to Postgres (rights, row security, session_user)
it then *is* that role, and a test can change roles inside one transaction. Where only a real sign-in proves something,
`login(role)` gives a connection of the role's own.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from psycopg import sql

from audit import schema
from bench.guards import past_the_guards
from provenance.home import Home
from provenance.postgres.refusals import UnauditedChange
from provenance.readiness import problems
from provenance.roles import LOGIN_ROLES, RUNTIME_ROLES, ensure_roles, grant_database, in_database

CHECKOUT = Path(__file__).resolve().parent.parent
KEPT_TABLES = (
    "audit.key",
    "audit.teller",
    "audit.sealer",
    "audit.timeline",
    "public.django_migrations",
    "public.django_content_type",
    "public.auth_permission",
)

_role = "prov_web"
_month = 0


def admin_url() -> str:
    """The server of this test run."""
    if url := os.environ.get("TEST_ADMIN_DATABASE_URL"):
        return url
    return pytest.exit("Run the tests with `./manage.py test`: it starts the database they need.", returncode=2)


def role_url(role: str, database: str | None = None) -> str:
    """The URL with which a process of that role (`web`, `worker`, …, or `migrate`) signs in to this worker's database."""
    name = RUNTIME_ROLES.get(role, f"prov_{role}")
    password = Home.locate().read_key(f"db-{name}")
    url = psycopg.conninfo.conninfo_to_dict(admin_url())
    host = f"?host={url['host']}" + (f"&port={url['port']}" if "port" in url else "")
    return f"postgresql://{name}:{password}@/{database or settings.DATABASES['default']['NAME']}{host}"


def login(role: str) -> psycopg.Connection:
    """A connection of its own, really signed in as that role, outside of any test transaction."""
    return psycopg.connect(role_url(role), autocommit=True)


def admin() -> psycopg.Connection:
    """A connection as the administrator to this worker's database."""
    return psycopg.connect(admin_url_of_worker(), autocommit=True)


def admin_url_of_worker() -> str:
    """The administrator's URL of this worker's database."""
    return in_database(admin_url(), settings.DATABASES["default"]["NAME"])


@contextmanager
def worker_database(worker: str) -> Iterator[str]:
    """A clone of the migrated template for this worker; removed at the end."""
    name = f"test_{os.getpid()}_{worker}"
    with psycopg.connect(admin_url(), autocommit=True) as server:
        # One worker builds the template; the others wait here and find it.
        server.execute("SELECT pg_advisory_lock(hashtext('provenance test template'))")
        template = _ensure_template(server)
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        server.execute(sql.SQL("ALTER DATABASE {} OWNER TO prov_owner").format(sql.Identifier(name)))
        server.execute("SELECT pg_advisory_unlock(hashtext('provenance test template'))")
    # Rights on the database itself are the one thing that a template does not hand on.
    grant_database(admin_url(), name)
    make_months(name)
    try:
        yield name
    finally:
        with psycopg.connect(admin_url(), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def make_months(name: str) -> None:
    """The months of this moment, as the worker's sweep makes them: a template may be of the month before."""
    with psycopg.connect(in_database(admin_url(), name), autocommit=True) as owner:
        owner.execute("SELECT audit.ensure_partitions()")


def keep_months() -> None:
    """For tests that run over the end of a month: before the first of the new one its months are made."""
    global _month
    before, _month = _month, datetime.now(UTC).month
    if before not in {0, _month}:
        make_months(settings.DATABASES["default"]["NAME"])


def point_django_at(name: str) -> None:
    """Let Django's connection use this database as the administrator; `become` makes it a runtime role."""
    url = psycopg.conninfo.conninfo_to_dict(admin_url())
    _point(name, str(url["user"]), str(url.get("password", "")), assume_role=None)


def become(role: str) -> str:
    """Make this process's connection (and those it opens later) that Postgres role; the one it was before."""
    global _role
    before, _role = _role, role
    # In a failed transaction nothing can be said any more; its rollback also takes the role back.
    if connection.connection is not None and not connection.connection.closed and not has_failed():
        authorize(connection)
    return before


def has_failed() -> bool:
    """Whether the transaction of the moment has failed and takes no further statement."""
    opened = connection.connection
    return opened is not None and opened.info.transaction_status == psycopg.pq.TransactionStatus.INERROR


@contextmanager
def refused_at_commit(says: str = "") -> Iterator[None]:
    """What the test did inside is refused by the guards at COMMIT, with these words. The test ends rolled back."""
    with pytest.raises(UnauditedChange, match=says):  # noqa: PT012  the caller's block, then COMMIT
        yield
        connection.check_constraints()
    transaction.set_rollback(True)


def authorize(opened: object) -> None:
    """Give a connection the role of the moment; one that signed in as a role of its own keeps that."""
    if str(opened.settings_dict["USER"]).startswith("prov_"):
        return
    statement = sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(_role))
    with opened.cursor() as cursor:
        cursor.execute(statement)


def drop_governed(owner: psycopg.Connection, table: str) -> None:
    """Take away a governed table of the tests' own, and what is known of it."""
    owner.execute(f"DROP TABLE public.{table}")
    owner.execute("DELETE FROM audit.teller WHERE of_table = %s", [f"public.{table}"])


def empty_all_tables() -> None:
    """Remove every row that tests committed. TRUNCATE is refused, so the owner deletes with the guards off."""
    for left in range(4, -1, -1):
        try:
            _empty_all_tables()
        except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
            # A thread or process that the test has just stopped may still be at its last words.
            if not left:
                raise
        else:
            return


def _empty_all_tables() -> None:
    # A courier whose place hung tells so once the place is gone; what it writes must be among what is removed.
    for thread in threading.enumerate():
        if thread.name.startswith("courier to "):
            thread.join(60)
    with admin() as owner, owner.transaction():
        owner.execute("SET LOCAL lock_timeout = '10s'")
        tables = [name for (name,) in owner.execute(_NOT_EMPTY).fetchall()]
        for table in tables:
            if owner.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None:
                continue
            with past_the_guards(owner, table):
                # No foreign keys while rows go in any order.
                owner.execute("SET LOCAL session_replication_role = replica")
                owner.execute(f"DELETE FROM {table}")
                owner.execute("SET LOCAL session_replication_role = origin")
        # A sealer that a failed test left behind would hold up those of the next tests until its lease runs out.
        owner.execute("UPDATE audit.sealer SET owner = '', fence = fence + 1, lease_until = '-infinity'")


_NOT_EMPTY = f"""
SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname IN ('public', 'audit') AND relkind IN ('r', 'p') AND NOT relispartition
  AND format('%s.%s', nspname, relname) NOT IN ({", ".join(f"'{name}'" for name in KEPT_TABLES)})
ORDER BY 1
"""


def _ensure_template(server: psycopg.Connection) -> str:
    name = f"template_{_fingerprint()}"
    if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        return name
    building = f"{name}_building"
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(building)))
    home = Home.locate()
    home.ensure_keys()
    ensure_roles(admin_url(), {role: home.read_key(f"db-{role}") for role in LOGIN_ROLES}, database=building)
    _point(building, "prov_migrate", home.read_key("db-prov_migrate"), assume_role="prov_owner")
    call_command("migrate", verbosity=0, interactive=False)
    connection.close()
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building), sql.Identifier(name)))
    return name


def _point(name: str, user: str, password: str, *, assume_role: str | None) -> None:
    connection.close()
    url = psycopg.conninfo.conninfo_to_dict(admin_url())
    options = {**connection.settings_dict["OPTIONS"]}
    options.pop("assume_role", None)
    for settings_dict in (connection.settings_dict, settings.DATABASES["default"]):
        settings_dict |= {
            "NAME": name,
            "USER": user,
            "PASSWORD": password,
            "HOST": url.get("host", ""),
            "PORT": str(url.get("port", "")),
            "OPTIONS": options | ({"assume_role": assume_role} if assume_role else {}),
        }


def _fingerprint() -> str:
    """What the template was made from: our migrations and walls, and the versions of the packages that bring tables."""
    parts = [f"{package} {version(package)}" for package in ("django", "django-allauth")]
    files = [*sorted(CHECKOUT.glob("*/migrations/*.py")), CHECKOUT / "audit" / "guard.py"]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    parts += [schema.install(), schema.walls()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def as_administrator(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Let the administrator do this in the transaction of the moment; the rows it gave."""
    before = become(administrator())
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        become(before)


def problems_behind(statement: str) -> list[str]:
    """What keeps processes from serving once the administrator did this; it is taken back."""
    with transaction.atomic():
        as_administrator(statement)
        found = problems()
        transaction.set_rollback(True)
    return found


def administrator() -> str:
    """The login of the administrator, for `become`."""
    return str(psycopg.conninfo.conninfo_to_dict(admin_url())["user"])
