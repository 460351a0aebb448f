"""The walls as Postgres has them, one line each, and the same lines as the code has them.

`walls.txt` is what a freshly migrated database says of itself. A test compares the two and writes the file anew on
demand, so that what readiness expects changes only with the code, in a diff that somebody reads. Whole sets are compared:
what stands in the database and not in the file is a finding as well as what is missing.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from provenance.db import ask

EXPECTED_FILE = Path(__file__).with_name("walls.txt")
OF_THE_CLUSTER = ("right of PUBLIC on a large object", "right of PUBLIC on system object")
"""How the lines begin that only a superuser can do something about."""

_WORD = re.compile(r"'(?:[^']|'')*'::character varying")
_LIST = re.compile(rf"\(ARRAY\[({_WORD.pattern}(?:, {_WORD.pattern})*)\]\)::text\[\]")
_MONTH = re.compile(r"_\d{4}_\d{2}(?!\d)")
_TEMPLATE_MONTH = "_YYYY_MM"


def found() -> set[str]:
    """The lines of the database of this connection. Reads the catalog and `audit.key`, and needs no scope."""
    return {as_restored(" ".join(line.split())) for (line,) in ask(_FACTS)}


def as_restored(line: str) -> str:
    """The line as a database says it that was dumped and restored.

    Postgres writes a list of words that a column is compared with in one way when it made the constraint itself, and in
    another when it read it back from a dump; the two mean the same.
    """
    return _LIST.sub(lambda found: f"ARRAY[{_WORD.sub(_cast, found[1])}]", line)


def _cast(word: re.Match[str]) -> str:
    return f"({word[0]})::text"


def expected(lines: Iterable[str]) -> set[str]:
    """What the database that has these lines should say: the file, with each month that is there in place of `YYYY_MM`."""
    months: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("table ") and (month := _MONTH.search(line)):
            months.setdefault(line[: month.start()], set()).add(month[0])
    wanted: set[str] = set()
    for line in _file():
        if (table := _table_of_month(line)) is None:
            wanted.add(line)
        else:
            wanted |= {line.replace(_TEMPLATE_MONTH, month) for month in months.get(table, ())}
    return wanted


def generalized(lines: Iterable[str]) -> list[str]:
    """The lines for the file: sorted, and one month for all."""
    return sorted({_MONTH.sub(_TEMPLATE_MONTH, line) for line in lines})


@cache
def _file() -> tuple[str, ...]:
    return tuple(EXPECTED_FILE.read_text("utf-8").splitlines())


def _table_of_month(line: str) -> str | None:
    """How the line of the table begins whose month this line is about; None when it is about no month."""
    if _TEMPLATE_MONTH not in line:
        return None
    named = next(word for word in line.split() if _TEMPLATE_MONTH in word)
    return f"table {named.partition(_TEMPLATE_MONTH)[0]}"


# Every part is one kind of fact. Owners' own rights are left out: they are the owner's by being the owner.
_FACTS = r"""
WITH ours AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), class AS (
  SELECT pg_class.*, format('%I.%I', nspname, relname) AS name FROM pg_class JOIN ours ON ours.oid = relnamespace
), part AS (
  -- By what a month alone says of its rows, or by other bounds than its own, Postgres passes over rows that are there.
  SELECT class.oid, name, inhparent::regclass AS of_table, pg_get_expr(relpartbound, class.oid) AS bound, (
      SELECT format('FOR VALUES FROM (%L) TO (%L)', min(edge), max(edge)) FROM generate_series(0, 1) AS ahead
      CROSS JOIN LATERAL (SELECT substring(relname FROM '_(\d{4})_\d\d$')::int * 12
                                 + substring(relname FROM '_(\d\d)$')::int - 1 + ahead) AS month (number)
      CROSS JOIN LATERAL (SELECT rpad(lpad(to_hex(extract(epoch FROM
        make_timestamptz(number / 12, number % 12 + 1, 1, 0, 0, 0, 'UTC'))::bigint * 1000), 12, '0'), 32, '0')::uuid::text)
        AS begins (edge)
    ) AS own_month
  FROM class JOIN pg_inherits ON inhrelid = class.oid WHERE relkind IN ('r', 'p', 'f')
), col AS (
  SELECT attrelid AS relid, attname, format('%s%s%s%s%s', format_type(atttypid, atttypmod),
      CASE WHEN attcollation <> 0 AND attcollation::regcollation::text <> '"default"'
        THEN format(' collated %s', attcollation::regcollation) ELSE '' END,
      CASE WHEN attnotnull THEN ' not null' ELSE '' END,
      CASE WHEN attidentity <> '' THEN ' identity' WHEN attgenerated <> '' THEN ' generated' ELSE '' END,
      COALESCE(' default ' || pg_get_expr(adbin, adrelid), '')) AS what
  FROM class JOIN pg_attribute ON attrelid = class.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE relkind IN ('r', 'p')
), con AS (
  SELECT conrelid AS relid, conname, pg_get_constraintdef(pg_constraint.oid)
      || CASE WHEN convalidated THEN '' ELSE ' never validated' END
      -- A key is kept by four triggers: of who refers and of what is referred to.
      || CASE WHEN contype = 'f' AND (SELECT count(*) FROM pg_trigger WHERE tgconstraint = pg_constraint.oid) <> 4
           THEN ' not kept' ELSE '' END AS what
  -- Copies of a key for each month are enforced and dropped with it; NOT NULL has rows only since Postgres 18.
  FROM pg_constraint WHERE contype <> 'n' AND conparentid = 0
), proc AS (
  SELECT pg_proc.*, format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid)) AS name
  FROM pg_proc JOIN ours ON ours.oid = pronamespace
), role AS (
  SELECT oid, rolname, rolsuper, rolcreaterole FROM pg_roles
), prov AS (
  SELECT oid, rolname FROM role WHERE rolname LIKE 'prov\_%'
), acl AS (
  SELECT 'table ' || name AS what, relowner AS owner, relacl AS acl FROM class WHERE relacl IS NOT NULL
  UNION ALL
  SELECT format('table %s column %I', name, attname), relowner, attacl
  FROM class JOIN pg_attribute ON attrelid = class.oid WHERE attacl IS NOT NULL
  UNION ALL
  SELECT 'function ' || name, proowner, COALESCE(proacl, acldefault('f', proowner)) FROM proc
  UNION ALL
  SELECT 'schema ' || nspname, nspowner, COALESCE(nspacl, acldefault('n', nspowner)) FROM ours
  UNION ALL
  SELECT 'the database', datdba, COALESCE(datacl, acldefault('d', datdba)) FROM pg_database
  WHERE datname = current_database()
  UNION ALL
  SELECT 'parameter ' || parname, 10, paracl FROM pg_parameter_acl
  UNION ALL
  SELECT format('what %s will make in %s', defaclrole::regrole, COALESCE(nspname, 'any schema')), defaclrole, defaclacl
  FROM pg_default_acl LEFT JOIN ours ON ours.oid = defaclnamespace
)
SELECT format('right of %s on %s: %s%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, what,
              privilege_type, CASE WHEN is_grantable THEN ' with grant option' ELSE '' END)
FROM acl, aclexplode(acl) WHERE grantee <> owner
UNION ALL
-- What initdb gave stays out; what somebody gave later is to a role that was made later.
SELECT format('right of %s on system object %s: %s', grantee::regrole, what, privilege_type) FROM (
  SELECT relname::text AS what, relacl AS acl FROM pg_class
  WHERE relnamespace NOT IN (SELECT oid FROM ours) AND relacl IS NOT NULL
  UNION ALL
  SELECT oid::regprocedure::text, proacl FROM pg_proc
  WHERE pronamespace NOT IN (SELECT oid FROM ours) AND proacl IS NOT NULL
) AS system, aclexplode(acl) WHERE grantee IN (SELECT oid FROM prov)
  -- Not every server has it. Who calls it asks what stands there (audit.verifying.indexes).
  AND NOT (what = 'bt_index_check(regclass,boolean)' AND grantee::regrole::text IN ('prov_owner', 'prov_sealer'))
UNION ALL
-- Of the functions and tables that initdb keeps from PUBLIC: they read files, and the passwords of roles.
SELECT format('right of PUBLIC on system object %s: %s', what, privilege_type) FROM (
  SELECT classoid, objoid, pg_describe_object(classoid, objoid, 0) AS what, initprivs,
         COALESCE(proacl, relacl, acldefault('f', proowner)) AS acl
  FROM pg_init_privs LEFT JOIN pg_proc ON pg_proc.oid = objoid AND classoid = 'pg_proc'::regclass
  LEFT JOIN pg_class ON pg_class.oid = objoid AND classoid = 'pg_class'::regclass WHERE objsubid = 0
) AS kept, aclexplode(acl) AS acl WHERE grantee = 0
  AND NOT EXISTS (SELECT FROM aclexplode(initprivs) AS first WHERE (first.grantee, first.privilege_type) = (0, acl.privilege_type))
UNION ALL
SELECT format('right of PUBLIC on a large object: %s', pg_proc.oid::regprocedure)
FROM pg_proc, aclexplode(COALESCE(proacl, acldefault('f', proowner)))
WHERE pronamespace = 'pg_catalog'::regnamespace AND grantee = 0
  AND (proname ~ '^lo_' OR proname IN ('loread', 'lowrite'))
UNION ALL
-- A schema of Postgres's own is no place for anybody else's.
SELECT format('definer function among the system''s: %s', oid::regprocedure) FROM pg_proc
WHERE prosecdef AND pronamespace NOT IN (SELECT oid FROM ours)
UNION ALL
SELECT format('table among the system''s: %s', oid::regclass) FROM pg_class
WHERE oid >= '16384'::oid AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace NOT IN (SELECT oid FROM ours)
  AND relnamespace::regnamespace::text !~ '^pg_temp_'
UNION ALL
-- Whoever edits files of the server or ALTER SYSTEM sets them for all. What our connections set themselves counts as well.
SELECT format('setting of the server: %s=%s', name, CASE WHEN reset_val <> wanted THEN reset_val ELSE setting END) FROM (VALUES
  ('session_replication_role', 'origin'), ('row_security', 'on'), ('standard_conforming_strings', 'on'),
  ('transform_null_equals', 'off'), ('lo_compat_privileges', 'off'), ('zero_damaged_pages', 'off'), ('ignore_system_indexes', 'off')
) AS set (name, wanted) JOIN pg_settings USING (name) WHERE reset_val <> wanted OR setting <> wanted
UNION ALL
SELECT format('schema %s of %s', nspname, nspowner::regrole) FROM ours
UNION ALL
SELECT format('the database of %s', datdba::regrole) FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT format('table %s %s of %s%s%s%s', name, relkind, relowner::regrole,
              CASE WHEN relrowsecurity THEN ' with row security' ELSE '' END,
              CASE WHEN relforcerowsecurity THEN ' forced' ELSE '' END,
              CASE WHEN relpersistence <> 'p' THEN ' that is lost' ELSE '' END || COALESCE(' ' || reloptions::text, '')
              || asleep)
FROM class CROSS JOIN LATERAL (
  -- What stands in other catalogs is not looked up where the row of the table says that there is none.
  SELECT CASE WHEN NOT relhastriggers AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = class.oid) THEN ' whose triggers sleep' ELSE '' END
    || CASE WHEN NOT relhasindex AND EXISTS (SELECT FROM pg_index WHERE indrelid = class.oid) THEN ' whose indexes sleep' ELSE '' END
    || CASE WHEN relchecks <> (SELECT count(*) FROM pg_constraint WHERE conrelid = class.oid AND contype = 'c') THEN ' whose checks sleep' ELSE '' END
    || CASE WHEN relam NOT IN (0, 2) THEN ' stored in another way' ELSE '' END AS asleep
) AS flags WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
-- What two values have to be for a lookup to take them for the same one, and what is stored where nobody says it.
SELECT format('column %I of %s: %s', attname, class.name, what) FROM col JOIN class ON class.oid = relid
WHERE NOT EXISTS (SELECT FROM part JOIN col AS own ON own.relid = of_table AND (own.attname, own.what) = (col.attname, col.what)
                  WHERE part.oid = class.oid)
UNION ALL
SELECT format('part %s of %s: %s', name, of_table, bound) FROM part WHERE bound IS DISTINCT FROM own_month
UNION ALL
SELECT format('policy %I on %s: %s %s to %s using %s check %s', polname, name, polcmd,
              CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
              ARRAY(SELECT CASE one WHEN 0 THEN 'public' ELSE one::regrole::text END FROM unnest(polroles) AS one ORDER BY 1),
              COALESCE(pg_get_expr(polqual, polrelid), '-'), COALESCE(pg_get_expr(polwithcheck, polrelid), '-'))
FROM pg_policy JOIN class ON class.oid = polrelid
UNION ALL
SELECT format('trigger on %s, %s: %s', name, CASE tgenabled WHEN 'A' THEN 'always' ELSE tgenabled::text END,
              pg_get_triggerdef(pg_trigger.oid))
FROM pg_trigger JOIN class ON class.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT format('keys of %s are not enforced: %s', name, tgenabled)
FROM pg_trigger JOIN class ON class.oid = tgrelid WHERE tgisinternal AND tgenabled <> 'O'
UNION ALL
SELECT format('event trigger %I: %s %s', evtname, evtevent, evtfoid::regproc) FROM pg_event_trigger
UNION ALL
SELECT format('constraint %s on %s: %s', conname, class.name, what) FROM con JOIN class ON class.oid = relid
WHERE NOT EXISTS (SELECT FROM part JOIN con AS own ON own.relid = of_table AND (own.conname, own.what) = (con.conname, con.what)
                  WHERE part.oid = class.oid)
UNION ALL
SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN class ON class.oid = indrelid
WHERE indisunique AND NOT relispartition AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL
-- What is found through it is not what stands in the table.
SELECT format('index %s is switched off or compares by %s', name, (SELECT string_agg(opcname, ' ') FROM pg_opclass WHERE oid = ANY (indclass)))
FROM pg_index JOIN class ON class.oid = indexrelid
WHERE NOT (indisvalid AND indisready AND indislive) OR '16384'::oid <= ANY (indclass::oid[])
UNION ALL
SELECT format('rule %I on %s: %s', rulename, name, pg_get_ruledef(pg_rewrite.oid))
FROM pg_rewrite JOIN class ON class.oid = ev_class
UNION ALL
SELECT format('function %s of %s returns %s: %s %s%s%s%s%s text %s', name, proowner::regrole,
              pg_get_function_result(proc.oid), lanname, provolatile, proparallel,
              CASE WHEN proisstrict THEN ' strict' ELSE '' END, CASE WHEN prosecdef THEN ' definer' ELSE '' END,
              COALESCE(' ' || proconfig::text, '') || CASE WHEN prosqlbody IS NOT NULL THEN ' parsed' ELSE '' END
              || CASE WHEN proleakproof THEN ' leakproof' ELSE '' END || CASE WHEN prosupport <> 0 THEN ' planned for' ELSE '' END
              || COALESCE(' given ' || pg_get_expr(proargdefaults, 0), ''),
              -- Names the partition of the month; the template is what the code has.
              md5(regexp_replace(prosrc, '\mevent_\d{4}_\d{2}\M', 'event_YYYY_MM', 'g')))
FROM proc JOIN pg_language ON pg_language.oid = prolang
UNION ALL
SELECT format('role %s%s%s%s%s%s%s%s', rolname, CASE WHEN rolcanlogin THEN ' login' ELSE '' END,
              CASE WHEN rolinherit THEN ' inherit' ELSE '' END, CASE WHEN rolsuper THEN ' superuser' ELSE '' END,
              CASE WHEN rolcreaterole THEN ' createrole' ELSE '' END, CASE WHEN rolcreatedb THEN ' createdb' ELSE '' END,
              CASE WHEN rolreplication THEN ' replication' ELSE '' END, CASE WHEN rolbypassrls THEN ' bypassrls' ELSE '' END)
FROM pg_roles WHERE rolname LIKE 'prov\_%'
UNION ALL
-- Whoever may make roles could give themselves any membership: naming the one they have would say nothing.
SELECT format('role %s is a member of %s', member::regrole, roleid::regrole) FROM pg_auth_members
WHERE (member IN (SELECT oid FROM prov) OR roleid IN (SELECT oid FROM prov))
  AND member NOT IN (SELECT oid FROM role WHERE rolsuper OR rolcreaterole AND rolname NOT LIKE 'prov\_%')
UNION ALL
SELECT format('setting of %s%s: %s', CASE setrole WHEN 0 THEN 'everybody' ELSE setrole::regrole::text END,
              CASE setdatabase WHEN 0 THEN '' ELSE ' in this database' END, setting)
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND (setrole = 0 OR setrole IN (SELECT oid FROM prov))
UNION ALL
SELECT format('foreign server %I of %s', srvname, srvowner::regrole) FROM pg_foreign_server
UNION ALL
SELECT format('teller of %s of %s: %s', op, object_type, db_role) FROM audit.teller
UNION ALL
-- A process has as many keys as there were rotations, all for its own role.
SELECT format('key of %s for %s: %s %s', regexp_replace(kid, '-\d+$', ''), db_role, purpose, alg) FROM audit.key
WHERE purpose = 'event'
"""
