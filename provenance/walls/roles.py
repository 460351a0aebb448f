"""Who may do what in the database: nobody who runs is more than a runtime role, owns a thing or has a right too many."""

from collections.abc import Iterator

from provenance.db import ask
from provenance.roles import MIGRATE, OWNER, RUNTIME_ROLES
from provenance.walls.wanted import wanted


def attributes_of_roles() -> Iterator[str]:
    """A runtime role is nobody special and becomes nobody else."""
    rows = ask(
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


def ownership() -> Iterator[str]:
    """Everything belongs to prov_owner: an owner can take any guard down."""
    rows = ask(
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


def creation() -> Iterator[str]:
    """Nobody who runs makes objects, not even temporary ones."""
    roles = [*RUNTIME_ROLES.values()]
    rows = ask(
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


def rights_on_the_log() -> Iterator[str]:
    """The log is appended to, and reached only through its parents."""
    rows = ask(
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


def rights_on_tables() -> Iterator[str]:
    """Nobody who runs may truncate a table, hang triggers on it, refer to it or give rights on."""
    rows = ask(
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
    rows = ask(
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
        if not wanted().rights.get((role, table), set()) & {(privilege, ""), (privilege, column)}:
            place = f"{table} ({column})" if column else table
            yield f"{role} has {privilege} on {place}, which the code does not give it."
