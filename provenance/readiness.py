"""May this process serve? Not when the walls are down: a role with more than it needs, a guard missing or changed.

`/readyz` and `run ROLE` ask. Everything is compared with what the code says, never with what the database says about
itself: whole sets with `walls.txt` (`provenance.catalog`), and before that, in words of their own, the walls that fall most
easily. Every check reads the catalog only and needs no scope.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader

from audit import schema
from audit.guard import DefinerFunction, Grant, GuardTable, Immutable, MonthlyTable, TenantTable
from audit.signing import KeyRing
from provenance import catalog
from provenance.crypto import KeyMissing
from provenance.exempt import EXEMPT
from provenance.postgres.names import FIND_OWN_NAMES_FIRST, in_the_place_of_its_own
from provenance.roles import MIGRATE, OWNER, RUNTIME_ROLES

TENANT_POLICY = "(workspace_id = audit.ws())"
_MONTH = re.compile(r"\bevent_\d{4}_\d{2}\b")
_RIGHT = re.compile(r"(\w+)\s*(?:\(([^)]*)\))?")


_further: dict[str, Callable[[], Iterable[str]]] = {}


def register(name: str, check: Callable[[], Iterable[str]]) -> None:
    """Let an upper floor say what keeps a process from serving. Called in `plugs.py`."""
    _further[name] = check


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the walls found: one sentence for each problem, and how many walls were compared with the code."""

    problems: list[str]
    walls: int = 0


def problems() -> list[str]:
    """What keeps this process from serving, one sentence each; empty when it may."""
    return look().problems


def look() -> Look:
    """Compare every wall with the code. One that could not be finished is a problem and compared none."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(FIND_OWN_NAMES_FIRST)
            # With another login or without its migrations everything else would be wrong too and hide the one thing to do.
            if found := _login() or _pending_migrations():
                return Look(found)
            walls = catalog.found()
            checks = (*(check() for check in _CHECKS), _everything_else(walls), _signing_key())
            further = (check() for check in _further.values())
            return Look([problem for check in (*checks, *further) for problem in check], len(walls))
    except DatabaseError as error:
        return Look([f"The database does not answer: {str(error).strip().splitlines()[0]}"])


@dataclass(slots=True)
class _Walls:
    """What the code wants the database to have."""

    triggers: dict[tuple[str, str], str] = field(default_factory=dict)
    governed: set[str] = field(default_factory=set)
    # With their schema
    monthly: set[str] = field(default_factory=lambda: set(schema.MONTHLY))
    definers: set[str] = field(default_factory=set)
    # (role, table) -> (privilege, column or "" for all of them)
    rights: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)

    def read_grant(self, grant: Grant) -> None:
        """Take in what a role may do with a table."""
        for role, spelled in grant.rights.items():
            rights = self.rights.setdefault((RUNTIME_ROLES[role], grant.table), set())
            for privilege, columns in _RIGHT.findall(spelled):
                rights |= {(privilege.upper(), column.strip()) for column in columns.split(",")}


@cache
def _wanted() -> _Walls:
    walls = _Walls()
    for migration in MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values():
        for operation in migration.operations:
            match operation:
                case GuardTable() | Immutable() | TenantTable():
                    walls.triggers |= {(operation.table, name): text for name, text in operation.triggers()}
                    if isinstance(operation, GuardTable):
                        walls.governed.add(operation.table)
                case MonthlyTable():
                    walls.monthly.add(f"public.{operation.table}")
                case DefinerFunction():
                    walls.definers.add(operation.table.partition("(")[0].removeprefix("public."))
                case Grant():
                    walls.read_grant(operation)
    return walls


def _login() -> list[str]:
    user = _rows("SELECT session_user::text")[0][0]
    if user in RUNTIME_ROLES.values():
        return []
    return [f"This process is signed in to Postgres as {user}; it needs one of {', '.join(RUNTIME_ROLES.values())}."]


def _pending_migrations() -> list[str]:
    wanted = set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
    done = set(_rows("SELECT app, name FROM public.django_migrations"))
    pending = sorted(f"{app}.{name}" for app, name in wanted - done)
    if not pending:
        return []
    return [
        f"Migrations are pending ({', '.join(pending[:5])}{', …' if len(pending) > 5 else ''}). Run `./manage.py up`."
    ]


def _namesakes() -> Iterator[str]:
    """What fits better than Postgres's own is called instead of it: nothing that is asked here would say so."""
    yield from in_the_place_of_its_own(_rows)


def _attributes_of_roles() -> Iterator[str]:
    """A runtime role is nobody special and becomes nobody else."""
    rows = _rows(
        """
        SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
               EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
        FROM pg_roles WHERE rolname = ANY(%s)
        """,
        [list(RUNTIME_ROLES.values())],
    )
    names = ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "CREATEDB", "REPLICATION", "membership in another role")
    for role, *flags in rows:
        for name, has in zip(names, flags, strict=True):
            if has:
                yield f"The role {role} has {name}."
    if missing := sorted(set(RUNTIME_ROLES.values()) - {row[0] for row in rows}):
        yield f"The roles {', '.join(missing)} do not exist. Run `./manage.py up`."


def _ownership() -> Iterator[str]:
    """Everything belongs to prov_owner: an owner can take any guard down."""
    rows = _rows(
        """
        SELECT 'The table ' || relnamespace::regnamespace || '.' || relname, relowner::regrole::text FROM pg_class
        WHERE relnamespace = ANY(ARRAY['public', 'audit']::regnamespace[]) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        UNION ALL
        SELECT 'The function ' || pronamespace::regnamespace || '.' || proname, proowner::regrole::text FROM pg_proc
        WHERE pronamespace = ANY(ARRAY['public', 'audit']::regnamespace[])
        UNION ALL
        SELECT 'The schema ' || nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('public', 'audit')
        UNION ALL
        SELECT 'The database ' || datname, datdba::regrole::text FROM pg_database WHERE datname = current_database()
        """
    )
    yield from (f"{what} belongs to {owner} instead of {OWNER}." for what, owner in rows if owner != OWNER)


def _creation() -> Iterator[str]:
    """Nobody who runs makes objects, not even temporary ones."""
    roles = [*RUNTIME_ROLES.values()]
    rows = _rows(
        """
        SELECT rolname, has_database_privilege(rolname, current_database(), 'CREATE'),
               has_database_privilege(rolname, current_database(), 'TEMPORARY'),
               has_schema_privilege(rolname, 'public', 'CREATE'), has_schema_privilege(rolname, 'audit', 'CREATE')
        FROM pg_roles WHERE rolname = ANY(%s)
        """,
        [roles],
    )
    names = ("CREATE on the database", "TEMPORARY on the database", "CREATE on public", "CREATE on audit")
    for role, *rights in rows:
        yield from (f"The role {role} has {name}." for name, has in zip(names, rights, strict=True) if has)


def _rights_on_the_log() -> Iterator[str]:
    """The log is appended to, and reached only through its parents."""
    rows = _rows(
        """
        SELECT grantee, relname, privilege, relispartition FROM (
          SELECT grantee::regrole::text AS grantee, relname, privilege_type AS privilege, relispartition
          FROM pg_class, aclexplode(relacl)
          WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p') AND grantee <> 0
          UNION ALL
          SELECT 'PUBLIC', relname, privilege_type, relispartition FROM pg_class, aclexplode(relacl)
          WHERE relnamespace = 'audit'::regnamespace AND grantee = 0
        ) AS rights WHERE grantee <> %s
        """,
        [OWNER],
    )
    for grantee, table, privilege, is_partition in rows:
        if is_partition:
            yield f"{grantee} has {privilege} on the partition audit.{table}; partitions are reached only through audit."
        elif privilege not in _ALLOWED_ON_LOG.get(table, frozenset({"SELECT"})):
            yield f"{grantee} has {privilege} on audit.{table}."


_ALLOWED_ON_LOG = {
    "event": frozenset({"SELECT", "INSERT"}),
    "detail": frozenset({"SELECT", "INSERT"}),
    "refusal": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    **dict.fromkeys(("log", "leaf", "tile", "checkpoint"), frozenset({"SELECT", "INSERT"})),
    "sealer": frozenset({"SELECT", "UPDATE"}),
    "status": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
}


def _rights_on_tables() -> Iterator[str]:
    """Nobody who runs may truncate a table, hang triggers on it, refer to it or give rights on."""
    rows = _rows(
        """
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, relname, privilege_type, is_grantable
        FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
        """
    )
    for grantee, table, privilege, grantable in rows:
        if grantee in {OWNER, MIGRATE}:
            continue
        if privilege not in {"SELECT", "INSERT", "UPDATE", "DELETE"} or grantable or grantee == "PUBLIC":
            yield f"{grantee} has {privilege} on {table}."
    yield from _rights_beyond_the_code()


def _rights_beyond_the_code() -> Iterator[str]:
    """A role has no right on a table or column that no `Grant` gives it."""
    rows = _rows(
        """
        SELECT grantee::regrole::text, relname, privilege_type, '' FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') AND grantee <> 0
        UNION ALL
        SELECT grantee::regrole::text, relname, privilege_type, attname
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl)
        WHERE relnamespace = 'public'::regnamespace AND grantee <> 0
        """
    )
    for role, table, privilege, column in rows:
        # Whether migrations are pending is what every process asks first.
        if role not in RUNTIME_ROLES.values() or (table, privilege) == ("django_migrations", "SELECT"):
            continue
        if not _wanted().rights.get((role, table), set()) & {(privilege, ""), (privilege, column)}:
            place = f"{table} ({column})" if column else table
            yield f"{role} has {privilege} on {place}, which the code does not give it."


def _guards() -> Iterator[str]:
    """Each trigger is there, says what the code says, and fires whatever a session sets."""
    rows = _rows(
        """
        SELECT relname, tgname, pg_get_triggerdef(pg_trigger.oid), tgenabled::text FROM pg_trigger
        JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal
        """
    )
    found = {(table, name): (definition, enabled) for table, name, definition, enabled in rows}
    for (table, name), wanted in _wanted().triggers.items():
        definition, enabled = found.get((table, name), ("", ""))
        if not definition:
            yield f"The guard {name} of {table} is missing."
        elif definition != wanted:
            yield f"The guard {name} of {table} differs from the code."
        elif enabled != "A":
            yield f"The guard {name} of {table} can be switched off; it must be ENABLE ALWAYS."
    on_log = {(table, name) for table, name, enabled in _rows(_LOG_TRIGGERS) if enabled == "A"}
    for table, name in sorted(_WANTED_ON_LOG - on_log):
        yield f"The guard {name} of audit.{table} is missing or can be switched off."


_LOG_TRIGGERS = """
SELECT relname, tgname, tgenabled::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = 'audit'::regnamespace AND NOT tgisinternal
"""
_WANTED_ON_LOG = {
    ("key", "audit_only_end"),
    ("key", "audit_no_truncate"),
    ("key", "audit_told"),
    ("timeline", "audit_immutable"),
    ("timeline", "audit_no_truncate"),
    ("timeline", "audit_told"),
    ("event", "audit_immutable"),
    ("event", "audit_no_truncate"),
    ("detail", "audit_only_erase"),
    ("detail", "audit_no_truncate"),
    *((table, "audit_immutable") for table in ("log", "leaf", "tile")),
    *((table, "audit_immutable") for table in ("expired", "carried")),
    *((table, "audit_no_truncate") for table in ("log", "leaf", "tile", "checkpoint", "expired", "carried")),
    ("checkpoint", "audit_only_sign"),
}


def _functions() -> Iterator[str]:
    """The functions behind the guards have the text of the code; there is no definer function besides the known."""
    rows = _rows(
        """
        SELECT pronamespace::regnamespace::text, proname, prosrc, prosecdef, COALESCE(proconfig, '{}'),
               has_function_privilege('public', pg_proc.oid, 'EXECUTE')
        FROM pg_proc WHERE pronamespace = ANY(ARRAY['public', 'audit']::regnamespace[])
        """
    )
    wanted = {function.name: function for function in (*schema.FUNCTIONS, *schema.of_the_month("event_month"))}
    audit = {row[1]: row for row in rows if row[0] == "audit"}
    for name, function in wanted.items():
        if name not in audit:
            yield f"The function audit.{name} is missing."
            continue
        _schema, _name, source, definer, _config, _public = audit[name]
        if _MONTH.sub("event_month", source) != function.source or definer != function.definer:
            yield f"The function audit.{name} differs from the code."
    known = {("audit", name) for name in wanted} | {("public", name) for name in _wanted().definers}
    for namespace, name, _source, definer, config, public in rows:
        if definer and (namespace, name) not in known:
            yield f"The definer function {namespace}.{name} is not in the code."
        if definer and "search_path=pg_catalog, pg_temp" not in config:
            yield f"The definer function {namespace}.{name} does not fix its search_path."
        if public and (definer or namespace == "audit"):
            yield f"Everybody may execute {namespace}.{name}."


def _tables() -> Iterator[str]:
    """Each table is governed or exempt for a reason; each tenant table has row security, and nothing leads round it."""
    rows = _rows(
        """
        SELECT relname, relkind::text, relrowsecurity, relforcerowsecurity,
               COALESCE('security_invoker=true' = ANY(reloptions), false),
               EXISTS (SELECT FROM pg_attribute
                       WHERE attrelid = pg_class.oid AND attname = 'workspace_id' AND NOT attisdropped),
               ARRAY(SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = pg_class.oid),
               relispartition
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
        """
    )
    walls = _wanted()
    for table, kind, secured, forced, invoker, has_workspace, policies, is_partition in rows:
        if kind == "m" or (kind == "v" and not invoker):
            yield f"The view {table} shows rows past row security."
        elif kind in {"r", "p"} and not is_partition:
            if table not in walls.governed and table not in EXEMPT:
                yield f"The table {table} is neither governed (GuardTable) nor on the exempt list with a reason."
            if has_workspace and (not secured or forced or policies != [TENANT_POLICY]):
                yield f"The table {table} belongs to workspaces and lacks its row security (TenantTable)."


def _partitions() -> Iterator[str]:
    """A missing next month is an outage at its first second; in a month nothing may be switched off by itself."""
    now = datetime.now(UTC)
    months = [now.year * 12 + now.month - 1 + ahead for ahead in (0, 1)]
    there = {
        name
        for (name,) in _rows("SELECT relnamespace::regnamespace || '.' || relname FROM pg_class WHERE relispartition")
    }
    for month in months:
        for parent in sorted(_wanted().monthly):
            name = f"{parent}_{month // 12}_{month % 12 + 1:02}"
            if name not in there:
                yield f"The partition {name} is missing. Run `SELECT audit.ensure_partitions()` as prov_retention."
    yield from (
        f"The guard {name} of {month} is missing or can be switched off." for month, name in _rows(_OPEN_MONTHS)
    )


# TRUNCATE triggers are no copies of the parent's: each month has its own.
_OPEN_MONTHS = """
SELECT tgrelid::regclass::text, tgname FROM pg_trigger AS copy
WHERE tgenabled <> 'A' AND EXISTS (SELECT FROM pg_trigger WHERE oid = copy.tgparentid AND tgenabled = 'A')
UNION ALL
SELECT oid::regclass::text, 'audit_no_truncate' FROM pg_class
WHERE relispartition AND relkind = 'r' AND relnamespace = ANY(ARRAY['public', 'audit']::regnamespace[])
  AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = 'audit_no_truncate' AND tgenabled = 'A')
"""


def _everything_else(found: set[str]) -> Iterator[str]:
    """The database says of its walls what a freshly migrated one says, line by line: nothing is missing, nothing is more."""
    lines = differing_walls(found)
    yield from lines[:_MOST_LINES]
    if lines:
        more = f"{len(lines) - _MOST_LINES} more differ. " if len(lines) > _MOST_LINES else ""
        yield f"{more}{_HOW_TO_MEND}"


def differing_walls(found: set[str]) -> list[str]:
    """What the lines of a database lack of the walls of this version, and what they have more."""
    wanted = catalog.expected(found)
    if not _is_our_cluster():
        found = {line for line in found if not line.startswith(catalog.OF_THE_CLUSTER)}
    return [
        *(f"The database lacks: {line}" for line in sorted(wanted - found)),
        *(f"The code does not have: {line}" for line in sorted(found - wanted)),
    ]


_MOST_LINES = 20
_HOW_TO_MEND = (
    "The walls of the database are not those of this version. Find out who changed them, take the change back, and look "
    "at what was written meanwhile; after a change of the code itself renew provenance/walls.txt (tests/house/test_catalog.py)."
)


def _is_our_cluster() -> bool:
    """Does `up` run the server as its superuser? Elsewhere some rights are the administrator's alone to take."""
    return bool(connection.settings_dict["HOST"] == str(settings.HOME.run))


def _signing_key() -> Iterator[str]:
    """This process can sign, under a key id that the database accepts from it."""
    try:
        keys = KeyRing.from_settings()
    except KeyMissing as missing:
        yield missing.message
        return
    own = "SELECT not_after, not_after <= clock_timestamp() FROM audit.key WHERE kid = %s AND db_role = session_user"
    registered = _rows(own, [keys.current])
    if not registered:
        yield (
            f"The key id {keys.current} ({settings.AUDIT_SIGNS_AS}) is not registered for this process's Postgres role. "
            "After a restore to before it was made, put its file aside, start, and replace the key anew: "
            "./manage.py rotate_keys."
        )
    elif registered[0][1]:
        yield (
            f"The key {keys.current} ended at {registered[0][0]:%Y-%m-%d %H:%M} UTC and signs nothing any more. Give this "
            f"process the key that replaced it (./manage.py doctor on the host names it), and start it again."
        )


_CHECKS: tuple[Callable[[], Iterable[str]], ...] = (
    _namesakes,
    _attributes_of_roles,
    _ownership,
    _creation,
    _rights_on_the_log,
    _rights_on_tables,
    _guards,
    _functions,
    _tables,
    _partitions,
)


def _rows(statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
