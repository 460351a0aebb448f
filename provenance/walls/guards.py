"""What the database refuses by itself: guards, the functions behind them, row security, the months of the log."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from audit import schema
from provenance.db import ask
from provenance.exempt import EXEMPT
from provenance.walls.wanted import wanted

_TENANT_POLICY = "(workspace_id = audit.ws())"
_MONTH = re.compile(r"\bevent_\d{4}_\d{2}\b")


def guards() -> Iterator[str]:
    """Each trigger is there, says what the code says, and fires whatever a session sets."""
    rows = ask(
        """
        SELECT relname, tgname, pg_get_triggerdef(pg_trigger.oid), tgenabled::text FROM pg_trigger
        JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal
        """
    )
    found = {(table, name): (definition, enabled) for table, name, definition, enabled in rows}
    for (table, name), text in wanted().triggers.items():
        definition, enabled = found.get((table, name), ("", ""))
        if not definition:
            yield f"The guard {name} of {table} is missing."
        elif definition != text:
            yield f"The guard {name} of {table} differs from the code."
        elif enabled != "A":
            yield f"The guard {name} of {table} can be switched off; it must be ENABLE ALWAYS."
    on_log = {(table, name) for table, name, enabled in ask(_LOG_TRIGGERS) if enabled == "A"}
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


def functions() -> Iterator[str]:
    """The functions behind the guards have the text of the code; there is no definer function besides the known."""
    rows = ask(
        """
        SELECT pronamespace::regnamespace::text, proname, prosrc, prosecdef, COALESCE(proconfig, '{}'),
               has_function_privilege('public', pg_proc.oid, 'EXECUTE')
        FROM pg_proc WHERE pronamespace = ANY(ARRAY['public', 'audit']::regnamespace[])
        """
    )
    ours = {function.name: function for function in (*schema.FUNCTIONS, *schema.of_the_month("event_month"))}
    audit = {row[1]: row for row in rows if row[0] == "audit"}
    for name, function in ours.items():
        if name not in audit:
            yield f"The function audit.{name} is missing."
            continue
        _schema, _name, source, definer, _config, _public = audit[name]
        if _MONTH.sub("event_month", source) != function.source or definer != function.definer:
            yield f"The function audit.{name} differs from the code."
    known = {("audit", name) for name in ours} | {("public", name) for name in wanted().definers}
    for namespace, name, _source, definer, config, public in rows:
        if definer and (namespace, name) not in known:
            yield f"The definer function {namespace}.{name} is not in the code."
        if definer and "search_path=pg_catalog, pg_temp" not in config:
            yield f"The definer function {namespace}.{name} does not fix its search_path."
        if public and (definer or namespace == "audit"):
            yield f"Everybody may execute {namespace}.{name}."


def tables() -> Iterator[str]:
    """Each table is governed or exempt for a reason; each tenant table has row security, and nothing leads round it."""
    rows = ask(
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
    walls = wanted()
    for table, kind, secured, forced, invoker, has_workspace, policies, is_partition in rows:
        if kind == "m" or (kind == "v" and not invoker):
            yield f"The view {table} shows rows past row security."
        elif kind in {"r", "p"} and not is_partition:
            if table not in walls.governed and table not in EXEMPT:
                yield f"The table {table} is neither governed (GuardTable) nor on the exempt list with a reason."
            if has_workspace and (not secured or forced or policies != [_TENANT_POLICY]):
                yield f"The table {table} belongs to workspaces and lacks its row security (TenantTable)."


def partitions() -> Iterator[str]:
    """A missing next month is an outage at its first second; in a month nothing may be switched off by itself."""
    now = datetime.now(UTC)
    months = [now.year * 12 + now.month - 1 + ahead for ahead in (0, 1)]
    there = {
        name
        for (name,) in ask("SELECT relnamespace::regnamespace || '.' || relname FROM pg_class WHERE relispartition")
    }
    for month in months:
        for parent in sorted(wanted().monthly):
            name = f"{parent}_{month // 12}_{month % 12 + 1:02}"
            if name not in there:
                yield f"The partition {name} is missing. Run `SELECT audit.ensure_partitions()` as prov_retention."
    yield from (f"The guard {name} of {month} is missing or can be switched off." for month, name in ask(_OPEN_MONTHS))


# TRUNCATE triggers are no copies of the parent's: each month has its own.
_OPEN_MONTHS = """
SELECT tgrelid::regclass::text, tgname FROM pg_trigger AS copy
WHERE tgenabled <> 'A' AND EXISTS (SELECT FROM pg_trigger WHERE oid = copy.tgparentid AND tgenabled = 'A')
UNION ALL
SELECT oid::regclass::text, 'audit_no_truncate' FROM pg_class
WHERE relispartition AND relkind = 'r' AND relnamespace = ANY(ARRAY['public', 'audit']::regnamespace[])
  AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = 'audit_no_truncate' AND tgenabled = 'A')
"""
