"""Names in SQL mean what Postgres and our migrations made, whatever a superuser put in front of them.

A role's settings and a trigger of sign-ins can choose the path along which names are found; temporary tables are found before
Postgres's own unless the path names them; and of two functions the one that fits the arguments better is called, wherever it
stands. A built-in function itself means something else once its row says that it is written in SQL, because Postgres puts
that text into the question; and an operator, once its row names the function of another one. A look at the log or at the walls that believed such names would see what it was meant to see.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from provenance.postgres.session import begun, demand_straight

FIND_OWN_NAMES_FIRST = "SET LOCAL search_path = pg_catalog, public, pg_temp"
"""For one transaction, before anything is asked in it. A statement of its own kind: no function stands behind it."""

# The built-in functions that Postgres itself wrote in SQL, in every version from 15 to 18. Nothing here or in the log asks
# for one of them.
_WRITTEN_IN_SQL = """
age anytextcat bit_length col_description date_part int8pl_inet integer_pl_date interval_pl_date interval_pl_time
interval_pl_timestamp interval_pl_timestamptz interval_pl_timetz log log10 lpad numeric_pl_pg_lsn obj_description overlaps
path_contain_pt pg_relation_size pg_sleep_for pg_sleep_until polygon quote_literal quote_nullable round rpad
shobj_description substring textanycat timedate_pl timestamptz timetzdate_pl trunc ts_debug xpath xpath_exists
"""
# What the cluster was not made with has numbers from 16384 on. Which rows are found rests on comparisons within one type
# alone, and none fits those better than Postgres's own.
NAMESAKES = f"""
SELECT 'function', more.oid::regprocedure::text FROM pg_catalog.pg_proc AS more WHERE more.oid >= '16384'::oid
AND EXISTS (SELECT FROM pg_catalog.pg_proc AS own WHERE own.proname = more.proname AND own.oid < '16384'::oid)
UNION ALL
SELECT 'function', oid::regprocedure::text FROM pg_catalog.pg_proc
WHERE prolang = '14'::oid AND oid < '16384'::oid AND pronamespace = '11'::oid
AND proname NOT IN ({", ".join(f"'{name}'" for name in _WRITTEN_IN_SQL.split())})
UNION ALL
SELECT 'operator', oid::regoperator::text FROM pg_catalog.pg_operator WHERE GREATEST(oid, oprcode::oid) >= '16384'::oid
UNION ALL
SELECT 'aggregate', aggfnoid::regprocedure::text FROM pg_catalog.pg_aggregate
WHERE aggfnoid::oid < '16384'::oid AND GREATEST(aggtransfn::oid, aggfinalfn::oid) >= '16384'::oid
UNION ALL
SELECT 'comparison of', amproclefttype::regtype::text FROM pg_catalog.pg_amproc
WHERE amprocfamily < '16384'::oid AND amproc::oid >= '16384'::oid
UNION ALL
SELECT 'cast from', castsource::regtype::text FROM pg_catalog.pg_cast
WHERE GREATEST(oid, castfunc) >= '16384'::oid AND castsource < '16384'::oid AND casttarget < '16384'::oid
"""  # noqa: S608  composed of constants


# All rows as they are, and judged in Python: an operator that answers for another one would let them pass.
_OWN_ROWS = """
SELECT tableoid, oid, xmin FROM pg_catalog.pg_operator UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_proc
UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_amop UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_amproc
UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_opclass UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_opfamily
UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_cast UNION ALL SELECT tableoid, oid, xmin FROM pg_catalog.pg_type
UNION ALL SELECT '1255'::oid, aggfnoid::oid, xmin FROM pg_catalog.pg_aggregate
UNION ALL SELECT '1259'::oid, ev_class, xmin FROM pg_catalog.pg_rewrite
WHERE ev_class = ANY (
  '{pg_catalog.pg_roles,pg_catalog.pg_settings,pg_catalog.pg_stat_activity,pg_catalog.pg_stat_replication}'::regclass[]::oid[])
"""
_FIRST_OF_OTHERS = 16384
"""The lowest number of anything that the cluster was not made with."""
_TRANSACTIONS_OF_INITDB = 1_000
"""At most: it makes a cluster in some 750 of them, and the databases it comes with in the last."""
_MADE_LAST = "SELECT xmin FROM pg_catalog.pg_database"
# Rights on functions are an administrator's to give and take, which writes their rows anew. Not of those that are asked
# whenever the walls or the log are looked at, and of none that may look past row security.
_ASKED = """
acldefault aclexplode bit_send clock_timestamp convert_from convert_to count current_setting encode format format_type
has_any_column_privilege has_function_privilege has_table_privilege jsonb_build_object lag left lower max md5 min now
octet_length pg_current_snapshot pg_current_xact_id pg_describe_object pg_get_constraintdef pg_get_expr
pg_get_function_identity_arguments pg_get_function_result pg_get_indexdef pg_get_ruledef pg_get_triggerdef
pg_snapshot_xip pg_snapshot_xmax regexp_replace session_user set_config sha256 string_agg substr sum to_jsonb
to_regclass to_regprocedure to_timestamp translate unnest
"""
_CHANGED = f"""
SELECT pg_describe_object(row.class, row.oid, 0) FROM unnest(%s::oid[], %s::oid[]) AS row (class, oid)
LEFT JOIN pg_catalog.pg_proc ON pg_proc.oid = row.oid AND row.class = 'pg_catalog.pg_proc'::regclass
WHERE proacl IS NULL OR proleakproof OR proname IN ({", ".join(f"'{name}'" for name in _ASKED.split())}) ORDER BY 1
"""  # noqa: S608  composed of constants

Ask = Callable[..., list[tuple[Any, ...]]]
"""`ask(statement, parameters)`: the rows."""


def in_the_place_of_its_own(ask: Ask) -> Iterator[str]:
    """A sentence for each thing that is called instead of one of Postgres's own, or that was one and is another now."""
    for kind, name in ask(NAMESAKES):
        yield f"The {kind} {name} is called in the place of one of Postgres's own"
    made_by = min(_TRANSACTIONS_OF_INITDB, *(int(xmin) for (xmin,) in ask(_MADE_LAST)))
    later = [
        (table, oid) for table, oid, xmin in ask(_OWN_ROWS) if int(oid) < _FIRST_OF_OTHERS and int(xmin) >= made_by
    ]
    if later:
        for (what,) in ask(_CHANGED, [[table for table, _oid in later], [oid for _table, oid in later]]):
            yield f"Postgres's own {what} was changed after its cluster was made"


def signed_in(url: str, *, autocommit: bool = False, **parameters: Any) -> psycopg.Connection[Any]:
    """A connection on which names mean what they should, and values are read as they are. Raises psycopg.Error.

    `BehindPooler` where that could not hold to its end: what is said of the log rests on it.
    """
    connection = psycopg.connect(url, autocommit=True, **parameters)
    demand_straight(connection)
    connection.execute(begun(connection.info.server_version))
    connection.autocommit = autocommit
    return connection
