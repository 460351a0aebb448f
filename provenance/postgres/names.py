"""Names in SQL mean what Postgres and our migrations made, whatever a superuser put in front of them.

A role's settings and a trigger of sign-ins can choose the path along which names are found; temporary tables are found before
Postgres's own unless the path names them; and of two functions the one that fits the arguments better is called, wherever it
stands. A look at the log or at the walls that believed such names would see what it was meant to see.
"""

from collections.abc import Iterable
from typing import Any

import psycopg

_PATH = "search_path = pg_catalog, public, pg_temp"
FIND_OWN_NAMES_FIRST = f"SET LOCAL {_PATH}"
"""For one transaction, before anything is asked in it. A statement of its own kind: no function stands behind it."""

# What the cluster was not made with has numbers from 16384 on. Which rows are found rests on comparisons within one type
# alone, and none fits those better than Postgres's own.
NAMESAKES = """
SELECT 'function', more.oid::regprocedure::text FROM pg_catalog.pg_proc AS more WHERE more.oid >= '16384'::oid
AND EXISTS (SELECT FROM pg_catalog.pg_proc AS own WHERE own.proname = more.proname AND own.oid < '16384'::oid)
UNION ALL
SELECT 'operator', oid::regoperator::text FROM pg_catalog.pg_operator WHERE oid >= '16384'::oid
UNION ALL
SELECT 'cast from', castsource::regtype::text FROM pg_catalog.pg_cast
WHERE oid >= '16384'::oid AND castsource < '16384'::oid AND casttarget < '16384'::oid
"""


def in_the_place_of_its_own(rows: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each row of `NAMESAKES`."""
    return [f"The {kind} {name} is called in the place of one of Postgres's own" for kind, name in rows]


def signed_in(url: str, *, autocommit: bool = False, **parameters: Any) -> psycopg.Connection[Any]:
    """A connection on which names mean what they should. Raises psycopg.Error."""
    connection = psycopg.connect(url, autocommit=True, **parameters)
    connection.execute(f"SET {_PATH}")
    connection.autocommit = autocommit
    return connection
