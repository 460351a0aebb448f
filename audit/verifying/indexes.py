"""Whether each index leads to every row of its table, to each by what stands in it, and to nothing else.

Whoever owns the database can switch an index off while a row is changed and on again. What is found through it is then not
what stands in the table: a page misses an event, or a row is held against an event that is not its newest. That every row
has its entry, in its place, is asked of amcheck, which comes with Postgres. That there is no entry too many, which it does
not see, shows when the rows are counted through the index and in the table, in one snapshot: what is written meanwhile
alarms nobody.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import psycopg
from psycopg import IsolationLevel

Connect = Callable[[], psycopg.Connection[Any]]


@dataclass(slots=True)
class Found:
    """What was found: how many indexes were looked at, and a sentence for each that is wrong or cannot be read alone."""

    indexes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    # What to read, and which rows of it: a month is reached through its parent only.
    table: str
    bounds: str
    predicate: str
    order: str
    method: str
    is_on: bool

    @property
    def own_name(self) -> str:
        """Without its schema."""
        return self.name.rpartition(".")[2].strip('"')

    @property
    def rows(self) -> str:
        """Which rows of the table it must lead to."""
        return " AND ".join(f"({part})" for part in (self.bounds, self.predicate) if part) or "true"


def untrue(connect: Connect, *, schemas: tuple[str, ...], but: tuple[str, ...] = (), jobs: int = 1) -> Found:
    """Hold every index of these schemas against its table, as far as `connect` may read that; `but`: names of tables.

    `jobs`: how many are read side by side. Raises psycopg.Error.
    """
    with connect() as connection:
        if not _asked(connection, _HAS_AMCHECK)[0][0]:
            return Found(problems=[_WITHOUT_AMCHECK])
        indexes = [_Index(*row) for row in connection.execute(_INDEXES, [list(schemas), list(but)]).fetchall()]
    # Postgres does the work, so that threads are enough.
    with ThreadPoolExecutor(jobs) as pool:
        told = chain(*pool.map(lambda at: _held(connect, indexes, at, jobs), range(jobs)))
        problems: dict[str, str] = {}
        for index, problem in told:
            # One for each: a row that is missing is missing in the count as well.
            problems[index.name] = problems.get(index.name) or problem
    return Found(len(indexes), [problem for problem in problems.values() if problem])


def _held(connect: Connect, indexes: Sequence[_Index], at: int, jobs: int) -> list[tuple[_Index, str]]:
    """One of `jobs` shares of the work: what is wrong with an index and what to do; empty when nothing is."""
    parts = defaultdict(list)
    for index in indexes:
        if index.method == "btree" and index.is_on:
            parts[index.table, index.bounds].append(index)
    with connect() as connection:
        connection.autocommit = True
        # With less amcheck remembers too little of a large index, and takes a row that is not there for one that is.
        connection.execute("SET maintenance_work_mem = '256MB'")
        told = [(index, _of_rows(connection, index)) for index in indexes[at::jobs]]
        connection.autocommit = False
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        for part in list(parts.values())[at::jobs]:
            # One for each, because months that leave wait for whoever reads them.
            with connection.transaction():
                told += _of_counts(connection, part)
    return told


def _of_rows(connection: psycopg.Connection[Any], index: _Index) -> str:
    """Whether it has an entry for every row of the table, and all of them in their places."""
    if not index.is_on:
        return f"The index {index.name} is switched off: {_WHAT_TO_DO}"
    if index.method != "btree":
        kind = f"it is one of the kind {index.method}, which has no order. Find out who made it, and drop it"
        return f"The index {index.name} could not be held against its table: {kind}"
    try:
        # Under the lock of a reader, which it lets go at once.
        connection.execute("SELECT pg_catalog.bt_index_check(to_regclass(%s), true)", [index.name])
    except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as lie:
        words = lie.diag.message_primary
        return f"The index {index.name} does not lead to the rows of its table ({words}): {_WHAT_TO_DO}"
    except psycopg.errors.InternalError_:
        # Its month left between the look for it and the look at it.
        if _is_there(connection, index):
            raise
    return ""


def _of_counts(connection: psycopg.Connection[Any], part: Sequence[_Index]) -> Iterator[tuple[_Index, str]]:
    """Whether it has no entry too many: as each row has its own, there are as many as rows."""
    _allow(connection, "seqscan")
    counted = ", ".join(
        "count(*)" + (f" FILTER (WHERE {index.predicate})" if index.predicate else "") for index in part
    )
    (in_table,) = _asked(connection, f"SELECT {counted} FROM {part[0].table} WHERE {part[0].bounds or 'true'}")  # noqa: S608  names and expressions of Postgres's own
    _allow(connection, "indexscan", "indexonlyscan")
    for index, rows in zip(part, in_table, strict=True):
        # In its order, so that nothing but it will do.
        statement = (
            f"SELECT count(*) FROM (SELECT FROM {index.table} WHERE {index.rows} ORDER BY {index.order}) AS read"  # noqa: S608  as above
        )
        by = _read_by(_asked(connection, f"EXPLAIN (FORMAT JSON) {statement}")[0][0])
        if by != index.own_name:
            yield index, _not_counted(index, by) if rows and _is_there(connection, index) else ""
        elif (found := _asked(connection, statement)[0][0]) != rows:
            yield index, f"The index {index.name} tells of {found:,} rows, and its table has {rows:,}: {_WHAT_TO_DO}"


def _not_counted(index: _Index, by: str) -> str:
    """Of no rows there is no entry too many, and Postgres cannot tell by their cost which of two to read."""
    instead = f"reads {by}, which has the same order" if by else "takes another way"
    what_to_do = "find out who made the one that no migration makes, and drop it"
    return f"The entries of the index {index.name} could not be counted: Postgres {instead}. One of them may lead to rows twice: {what_to_do}"


_WHAT_TO_DO = (
    "rows may have been hidden from who looked them up. Find out who was at work, then run REINDEX INDEX on it"
)
_WITHOUT_AMCHECK = (
    "No index could be held against its table: this database has no amcheck, or not the one of Postgres. What a "
    "superuser runs once in it is in docs/operations.md, under Your own Postgres"
)
_WAYS = ("seqscan", "tidscan", "bitmapscan", "indexscan", "indexonlyscan", "sort", "incremental_sort")
"""Of reading a table in some order. All but the wanted ones are off, so that Postgres has no choice."""


def _allow(connection: psycopg.Connection[Any], *wanted: str) -> None:
    ways = ", ".join(f"set_config('enable_{way}', '{'on' if way in wanted else 'off'}', true)" for way in _WAYS)
    _asked(
        connection,
        f"SELECT set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true), {ways}",
    )


def _read_by(plan: list[dict[str, Any]]) -> str:
    """The one index by which this plan reads; empty for any other plan."""
    node = plan[0]["Plan"]
    while "Plans" in node and len(node["Plans"]) == 1:
        node = node["Plans"][0]
    return str(node["Index Name"]) if node["Node Type"] in {"Index Scan", "Index Only Scan"} else ""


def _is_there(connection: psycopg.Connection[Any], index: _Index) -> bool:
    return bool(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [index.name]).fetchall()[0][0])


def _asked(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement).fetchall()


# Whoever may replace it could let it find nothing: it must be the one written in C (language 13) that the server came with.
_HAS_AMCHECK = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_proc WHERE oid = to_regprocedure('pg_catalog.bt_index_check(regclass, boolean)')
  AND (prolang, probin, prosrc) = ('13'::oid, '$libdir/amcheck', 'bt_index_check')
  AND NOT prosecdef AND proconfig IS NULL AND has_function_privilege(oid, 'EXECUTE')
)
"""
_INDEXES = r"""
SELECT quote_ident(place.nspname) || '.' || quote_ident(class.relname),
  COALESCE(inhparent, indrelid)::regclass::text,
  CASE WHEN inhparent IS NULL THEN '' ELSE (
    SELECT format('%%1$s >= %%2$L AND %%1$s < %%3$L', substring(pg_get_partkeydef(inhparent) FROM '\((.*)\)'), edge[1], edge[2])
    FROM regexp_match(pg_get_expr(owner.relpartbound, owner.oid), 'FROM \(''(.*?)''\) TO \(''(.*?)''\)') AS edge
  ) END,
  COALESCE(pg_get_expr(indpred, indrelid), ''),
  (SELECT string_agg(format('(%%s) USING OPERATOR(pg_catalog.%%s) NULLS %%s', pg_get_indexdef(indexrelid, number::int, false),
     oprname, CASE WHEN (option & 2) > 0 THEN 'FIRST' ELSE 'LAST' END), ', ' ORDER BY number)
   FROM unnest(indoption::int2[], indclass::oid[]) WITH ORDINALITY AS key (option, class, number)
   JOIN pg_opclass ON pg_opclass.oid = key.class
   JOIN pg_amop ON amopfamily = opcfamily AND amoplefttype = opcintype AND amoprighttype = opcintype
     AND amopstrategy = CASE option & 1 WHEN 1 THEN 5 ELSE 1 END
   JOIN pg_operator ON pg_operator.oid = amopopr),
  amname, indisvalid AND indisready AND indislive
FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid JOIN pg_am ON pg_am.oid = class.relam
JOIN pg_class AS owner ON owner.oid = indrelid JOIN pg_namespace AS place ON place.oid = class.relnamespace
LEFT JOIN pg_inherits ON inhrelid = indrelid
WHERE place.nspname = ANY (%s) AND COALESCE(inhparent, indrelid)::regclass::text <> ALL (%s)
  AND class.relkind = 'i' AND owner.relkind = 'r' AND has_table_privilege(COALESCE(inhparent, indrelid), 'SELECT')
ORDER BY pg_relation_size(indrelid) DESC, class.relname
"""
