"""Names in SQL mean what Postgres and our migrations made, whatever a superuser put in front of them.

A role's settings and a trigger of sign-ins can choose the path along which names are found; temporary tables are found before
Postgres's own unless the path names them; and of two functions the one that fits the arguments better is called, wherever it
stands. A built-in function itself means something else once its row says that it is written in SQL, because Postgres puts
that text into the question. A look at the log or at the walls that believed such names would see what it was meant to see.
"""

from collections.abc import Iterable
from typing import Any

import psycopg

_PATH = "search_path = pg_catalog, public, pg_temp"
FIND_OWN_NAMES_FIRST = f"SET LOCAL {_PATH}"
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


def in_the_place_of_its_own(rows: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each row of `NAMESAKES`."""
    return [f"The {kind} {name} is called in the place of one of Postgres's own" for kind, name in rows]


def signed_in(url: str, *, autocommit: bool = False, **parameters: Any) -> psycopg.Connection[Any]:
    """A connection on which names mean what they should. Raises psycopg.Error."""
    connection = psycopg.connect(url, autocommit=True, **parameters)
    connection.execute(f"SET {_PATH}")
    connection.autocommit = autocommit
    return connection
