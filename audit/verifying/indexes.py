"""Whether each index tells of the rows of its table, of all of them, and in the order that it promises.

Whoever owns the database can switch an index off while a row is changed and on again. What is found through it is then not
what stands in the table: a page misses an event, or a row is held against an event that is not its newest. So each index is
read from one end to the other and held against its table, both in one snapshot: what is written meanwhile alarms nobody.
"""

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from psycopg import IsolationLevel

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(slots=True)
class Found:
    """What was found: how many indexes were looked at, and a sentence for each that is wrong or cannot be read alone."""

    indexes: int = 0
    problems: list[str] = field(default_factory=list)


class _Key(NamedTuple):
    """One column of an index, or an expression; the operator by which it sorts, and whether NULL comes before the rest."""

    expression: str
    operator: str
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    # What to read, and which rows of it: a month is reached through its parent only.
    table: str
    bounds: str
    predicate: str
    method: str
    is_on: bool
    keys: tuple[_Key, ...]

    @classmethod
    def of(cls, row: Sequence[Any]) -> "_Index":
        """A row of `_INDEXES`."""
        name, table, bounds, predicate, method, is_on, keys = row
        between = "{0} >= '{1}' AND {0} < '{2}'".format(*bounds) if bounds else ""
        return cls(name, table, between, predicate or "", method, is_on, tuple(_Key(*key) for key in keys or ()))

    @property
    def own_name(self) -> str:
        """Without its schema."""
        return self.name.rpartition(".")[2].strip('"')

    @property
    def rows(self) -> str:
        """Which rows of the table it must tell of."""
        return " AND ".join(f"({part})" for part in (self.bounds, self.predicate) if part) or "true"


class _NotRead(Exception):
    """Why Postgres reads nothing through this index alone, so that nobody can say what it tells of."""


def untrue(connect: Connect, *, schemas: tuple[str, ...], but: tuple[str, ...] = (), jobs: int = 1) -> Found:
    """Hold every index of these schemas against its table, as far as `connect` may read that; `but`: names of tables.

    `jobs`: how many are read side by side. Raises psycopg.Error.
    """
    with connect() as connection:
        indexes = [_Index.of(row) for row in connection.execute(_INDEXES, [list(schemas), list(but)]).fetchall()]
    found = Found(len(indexes))
    # Postgres does the work, so that threads are enough.
    with ThreadPoolExecutor(jobs) as pool:
        problems = chain(*pool.map(lambda at: _read(connect, indexes[at::jobs]), range(jobs)))
        found.problems = [problem for problem in problems if problem]
    return found


def _read(connect: Connect, indexes: Sequence[_Index]) -> list[str]:
    with connect() as connection:
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        return [_problem(connection, index) for index in indexes]


def _problem(connection: psycopg.Connection[Any], index: _Index) -> str:
    """What is wrong with it and what to do; empty when nothing is."""
    if not index.is_on:
        return f"The index {index.name} is switched off: {_WHAT_TO_DO}"
    # Not to be known before: which row is where could be arranged so that sums without it come out alike.
    seed = secrets.randbits(62)
    try:
        # One for each, because months that leave wait for whoever reads them.
        with connection.transaction():
            table = _of_table(connection, index, seed)
            if not table[0]:
                # Of no rows it hides none, and Postgres cannot tell by their cost which of two to read.
                return ""
            *found, is_in_order = _of_index(connection, index, seed)
    except psycopg.errors.UndefinedTable:
        # Its month left meanwhile.
        return ""
    except _NotRead as why:
        return f"The index {index.name} could not be held against its table: {why}"
    if found != table:
        return f"The index {index.name} tells of {found[0]:,} rows, and they are not the {table[0]:,} of its table: {_WHAT_TO_DO}"
    return "" if is_in_order else f"The index {index.name} has rows in places that are not theirs: {_WHAT_TO_DO}"


def _of_table(connection: psycopg.Connection[Any], index: _Index, seed: int) -> list[Any]:
    _allow(connection, "seqscan")
    counted = _COUNTED.format(seed=seed)
    return [*_asked(connection, f"SELECT {counted} FROM {index.table} WHERE {index.rows}")[0]]  # noqa: S608  names and expressions of Postgres's own


def _of_index(connection: psycopg.Connection[Any], index: _Index, seed: int) -> tuple[Any, ...]:
    if index.method != "btree":
        raise _NotRead(f"it is one of the kind {index.method}, which has no order. Find out who made it, and drop it")
    _allow(connection, "indexscan")
    statement = _through(index, seed)
    by = _read_by(_asked(connection, f"EXPLAIN (FORMAT JSON) {statement}")[0][0])
    if by != index.own_name:
        instead = f"reads {by}, which has the same order" if by else "takes another way"
        raise _NotRead(
            f"Postgres {instead}. One of them may hide rows: find out who made the one that no migration makes, and drop it"
        )
    return _asked(connection, statement)[0]


_WHAT_TO_DO = (
    "rows may have been hidden from who looked them up. Find out who was at work, then run REINDEX INDEX on it"
)
_WAYS = ("seqscan", "tidscan", "bitmapscan", "indexscan", "indexonlyscan", "sort", "incremental_sort")
"""Of reading a table in some order. All but the wanted one are off, so that Postgres has no choice."""


def _allow(connection: psycopg.Connection[Any], wanted: str) -> None:
    ways = ", ".join(f"set_config('enable_{way}', '{'on' if way == wanted else 'off'}', true)" for way in _WAYS)
    # Several processes would bring what they read into an order that it did not have.
    _asked(
        connection,
        f"SELECT set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true), {ways}",
    )


def _through(index: _Index, seed: int) -> str:
    """Reads in the order of the index, and says whether what it finds in the rows is in that order."""
    keys = list(enumerate(index.keys))
    columns = ", ".join(f"({key.expression}) AS k{n}" for n, key in keys)
    order = ", ".join(
        f"k{n} USING OPERATOR(pg_catalog.{key.operator}) NULLS {'FIRST' if key.nulls_first else 'LAST'}"
        for n, key in keys
    )
    pairs = ", ".join(f"k{n}, lag(k{n}) OVER () AS p{n}" for n, _key in keys)
    in_order = "true"
    for n, key in reversed(keys):
        low, high = (f"p{n}", f"k{n}") if key.nulls_first else (f"k{n}", f"p{n}")
        in_order = (
            f"COALESCE(p{n} OPERATOR(pg_catalog.{key.operator}) k{n}, {low} IS NULL AND {high} IS NOT NULL)"
            f" OR p{n} IS NOT DISTINCT FROM k{n} AND ({in_order})"
        )
    return (
        f"SELECT {_COUNTED.format(seed=seed)}, COALESCE(bool_and(number = 1 OR {in_order}), true) FROM ("  # noqa: S608  as above
        f"SELECT ctid, row_number() OVER () AS number, {pairs} FROM ("
        f"SELECT ctid, {columns} FROM {index.table} WHERE {index.rows} ORDER BY {order}) AS sorted) AS pair"
    )


_COUNTED = "count(*), COALESCE(sum(hashtidextended(ctid, {seed})), 0)"


def _read_by(plan: list[dict[str, Any]]) -> str:
    """The one index by which this plan reads; empty for any other plan."""
    node = plan[0]["Plan"]
    while "Plans" in node and len(node["Plans"]) == 1:
        node = node["Plans"][0]
    return str(node["Index Name"]) if node["Node Type"] == "Index Scan" else ""


def _asked(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement).fetchall()


_INDEXES = r"""
SELECT quote_ident(place.nspname) || '.' || quote_ident(class.relname),
  COALESCE(inhparent, indrelid)::regclass::text,
  CASE WHEN inhparent IS NOT NULL THEN
    ARRAY[substring(pg_get_partkeydef(inhparent) FROM '\((.*)\)')]
    || regexp_match(pg_get_expr(owner.relpartbound, owner.oid), 'FROM \(''(.*?)''\) TO \(''(.*?)''\)')
  END,
  pg_get_expr(indpred, indrelid), amname, indisvalid AND indisready AND indislive,
  (SELECT json_agg(json_build_array(pg_get_indexdef(indexrelid, number::int, false), oprname, (option & 2) > 0) ORDER BY number)
   FROM unnest(indoption::int2[], indclass::oid[]) WITH ORDINALITY AS key (option, class, number)
   JOIN pg_opclass ON pg_opclass.oid = key.class
   JOIN pg_amop ON amopfamily = opcfamily AND amoplefttype = opcintype AND amoprighttype = opcintype
     AND amopstrategy = CASE option & 1 WHEN 1 THEN 5 ELSE 1 END
   JOIN pg_operator ON pg_operator.oid = amopopr)
FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid JOIN pg_am ON pg_am.oid = class.relam
JOIN pg_class AS owner ON owner.oid = indrelid JOIN pg_namespace AS place ON place.oid = class.relnamespace
LEFT JOIN pg_inherits ON inhrelid = indrelid
WHERE place.nspname = ANY (%s) AND COALESCE(inhparent, indrelid)::regclass::text <> ALL (%s)
  AND class.relkind = 'i' AND owner.relkind = 'r' AND has_table_privilege(COALESCE(inhparent, indrelid), 'SELECT')
ORDER BY pg_relation_size(indrelid) DESC, class.relname
"""
