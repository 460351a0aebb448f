"""Every governed row against the log: which ones did somebody change past the platform? (audit.md 4.4, goal 15)

The log's newest event about each row commits to all its columns. One pass over the log, sorted by object, meets one pass
over each table in the same order, so memory stays constant however many rows there are. Both are read in one snapshot:
what commits meanwhile raises no false alarm. It runs on the host as the migrator, who may read every table, and writes
nothing but the event that says what was found.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
from django.db.migrations.loader import MigrationLoader
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.datetime import (
    DateBinaryLoader,
    IntervalBinaryLoader,
    TimestampBinaryLoader,
    TimestamptzBinaryLoader,
)
from psycopg.types.json import JsonbBinaryLoader

from audit.attestation import NO_STATE, Altered, LoadedRow, difference
from audit.guard import GuardTable
from audit.judging import COLUMNS, StoredEvent, flaw
from audit.schema.months import RUNS
from audit.signing import KeyRing
from audit.verifying.expired_months import expired_until
from provenance.collection import no_collection
from provenance.ids import uuid7_time

BATCH = 2000
SORT_MEMORY = "64MB"
"""For the server, once: what it must sort beyond that goes to its disk."""
MOST_KEPT = 10_000
"""Findings that are kept with their names; all are counted."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class GovernedTable:
    """A table under a guard, and what the log calls its rows."""

    name: str
    object_type: str
    of_run: bool


@dataclass(slots=True)
class TableReport:
    """What was found in one table.

    `by_revision`: rows whose event signs no state, so only the revision was compared. `expired`: rows of what ran so long
    ago that their events left the log with their month; they cannot be compared any more. `given_up`: rows from which power
    was taken after they had been altered, as an alarm told then; nobody believes them, whatever stands in them.
    """

    table: str
    rows: int = 0
    by_revision: int = 0
    expired: int = 0
    given_up: int = 0
    altered: int = 0


@dataclass(slots=True)
class Report:
    """What a reconciliation found. `problems`: a sentence for each table that is gone or cannot be read."""

    tables: list[TableReport] = field(default_factory=list)
    findings: list[tuple[str, Altered]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows were compared."""
        return sum(table.rows for table in self.tables)

    @property
    def altered(self) -> int:
        """How many differ from the log, the missing ones included."""
        return sum(table.altered for table in self.tables)

    @property
    def expired(self) -> int:
        """How many could not be compared, because their events left the log."""
        return sum(table.expired for table in self.tables)

    @property
    def given_up(self) -> int:
        """How many were not compared, because nobody believes them any more."""
        return sum(table.given_up for table in self.tables)

    @property
    def by_revision(self) -> int:
        """How many were compared by revision alone."""
        return sum(table.by_revision for table in self.tables)


def governed_tables() -> list[GovernedTable]:
    """Every table under a guard, as the migrations say, in the order of the log's pass."""
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values()
    guards = [op for migration in migrations for op in migration.operations if isinstance(op, GuardTable)]
    return sorted((GovernedTable(g.table, g.object_type, g.of_run) for g in guards), key=lambda t: t.object_type)


def reconcile(
    connection: psycopg.Connection[Any],
    keys: KeyRing,
    *,
    tables: Sequence[GovernedTable] | None = None,
    progress: Progress = lambda _table, _rows: None,
) -> Report:
    """Compare every row of these tables (None: of all) with the log. The connection must be able to read them all.

    Raises psycopg.Error. Nothing is written and nothing is locked.
    """
    try:
        return _reconciled(connection, keys, tables, progress)
    except (psycopg.DataError, ValueError, RecursionError):
        # A row holds what Python has no value for, and must not hide all the others.
        _load_anything(connection)
        return _reconciled(connection, keys, tables, progress)


def _reconciled(
    connection: psycopg.Connection[Any], keys: KeyRing, tables: Sequence[GovernedTable] | None, progress: Progress
) -> Report:
    wanted = sorted(governed_tables() if tables is None else tables, key=lambda t: t.object_type)
    comparison = _Comparison(connection, keys, progress)
    with connection.transaction(), no_collection():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(f"SET LOCAL work_mem = '{SORT_MEMORY}'")
        # Not by `audit.expired`, which nobody signed: past a false end every row that ran would count as expired.
        comparison.expired_until = expired_until(connection, lambda event: flaw(event, keys))
        events = _Events(connection, wanted)
        for table in wanted:
            comparison.run(table, events)
    return comparison.report


def _load_anything(connection: psycopg.Connection[Any]) -> None:
    """Load what cannot be loaded (a time without end, JSON too deep) as its bytes, which no state commits to.

    Only when needed: these loaders are slower than the driver's own.
    """
    for name, loader in (
        ("timestamptz", TimestamptzBinaryLoader),
        ("timestamp", TimestampBinaryLoader),
        ("date", DateBinaryLoader),
        ("interval", IntervalBinaryLoader),
        ("jsonb", JsonbBinaryLoader),
    ):
        connection.adapters.register_loader(name, type(f"Any{loader.__name__}", (_OrBytes, loader), {}))


class _OrBytes(Loader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)  # type: ignore[safe-super]  # the loader that stands beside it
        except (psycopg.DataError, ValueError, OverflowError, RecursionError):
            return bytes(data)


@dataclass(slots=True)
class _Comparison:
    """One pass over the tables, beside one over the log."""

    connection: psycopg.Connection[Any]
    keys: KeyRing
    progress: Progress
    report: Report = field(default_factory=Report)
    expired_until: datetime | None = None

    def run(self, table: GovernedTable, events: "_Events") -> None:
        """Compare one table. One that is gone lacks every row that the log knows of it, and stops no other."""
        counts = TableReport(table.name)
        self.report.tables.append(counts)
        stands = _stands(self.connection, table)
        if stands.problem:
            self.report.problems.append(f"The table {table.name} {stands.problem}. {_WHAT_TO_DO}")
            missing = events.rest_of(table.object_type)
            if stands.is_gone:
                self._note_missing(table, counts, missing)
            # Of what cannot be read nothing is known to be missing.
            deque(missing, maxlen=0)
            return
        for key, columns in _rows(self.connection, table):
            self._note_missing(table, counts, events.before((table.object_type, *key)))
            newest = events.at((table.object_type, *key))
            row = LoadedRow.of(table.object_type, columns)
            counts.rows += 1
            if newest is None and self._has_expired(table, columns):
                counts.expired += 1
                continue
            problem, state = _compared(row, newest, self.keys)
            counts.by_revision += state is None
            if state == NO_STATE and newest is not None and newest.rev == row.rev:
                counts.given_up += 1
            elif problem:
                self._note(counts, Altered(row, problem))
            if counts.rows % BATCH == 0:
                self.progress(table.name, counts.rows)
        self._note_missing(table, counts, events.rest_of(table.object_type))
        self.progress(table.name, counts.rows)

    def _has_expired(self, table: GovernedTable, columns: Mapping[str, Any]) -> bool:
        """Of what ran, the newest event leaves with its month; of everything else it is carried on."""
        if self.expired_until is None or table.object_type not in RUNS:
            return False
        return uuid7_time(columns["run_id" if table.of_run else "id"]) < self.expired_until

    def _note_missing(self, table: GovernedTable, counts: TableReport, events: Iterator[StoredEvent]) -> None:
        for event in events:
            if altered := _missing(table, event, self.keys):
                self._note(counts, altered)

    def _note(self, counts: TableReport, altered: Altered) -> None:
        counts.altered += 1
        if len(self.report.findings) < MOST_KEPT:
            self.report.findings.append((counts.table, altered))


def _compared(row: LoadedRow, newest: StoredEvent | None, keys: KeyRing) -> tuple[str, str | None]:
    """What is wrong with the row, and the state that was signed: "" without a genuine event, None in one that signs none."""
    if newest is None:
        return "no signed event is about it: it was added", ""
    if problem := flaw(newest, keys):
        return f"its newest event is not genuine: {problem}", ""
    state: str | None = orjson.loads(newest.body).get("state")
    return difference(row, newest, state), state


def _missing(table: GovernedTable, event: StoredEvent, keys: KeyRing) -> Altered | None:
    """A row that the log knows and the table does not; None when the log says that it was deleted."""
    row = LoadedRow(table.object_type, event.object_id, event.workspace_id, event.rev or 0, None)
    if problem := flaw(event, keys):
        return Altered(row, f"it is not there, and its newest event is not genuine: {problem}")
    return None if event.op == "delete" else Altered(row, f"it is not there: it was deleted after revision {event.rev}")


class _Stands(NamedTuple):
    """What keeps a table from being read; an empty problem is none."""

    problem: str = ""
    is_gone: bool = False


_WHAT_TO_DO = "Find out who was at work, and bring it back from a backup of before"


def _stands(connection: psycopg.Connection[Any], table: GovernedTable) -> _Stands:
    # Asked before, because a refused statement would end the one snapshot of all the tables.
    found = connection.execute(_TABLE, [table.name]).fetchone()
    if found is None:
        return _Stands("is gone", is_gone=True)
    is_table, may_read, columns = found
    if not is_table:
        return _Stands("is none any more: something else has its name")
    if not may_read:
        return _Stands("cannot be read by who owns it")
    lacking = {"id", *(["run_id"] if table.of_run else [])}.difference(columns)
    return _Stands(f"has no column {', '.join(sorted(lacking))} any more" if lacking else "")


_TABLE = """
SELECT relkind IN ('r', 'p'), has_table_privilege(oid, 'SELECT'), ARRAY(
  SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = %s
"""
Key = tuple[str, str]


def _rows(connection: psycopg.Connection[Any], table: GovernedTable) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The rows of a table in the order of their ids as text."""
    order = [sql.SQL("id") if _has_uuid(connection, table) else sql.SQL('id::text COLLATE "C"')]
    order += [sql.SQL("run_id")] if table.of_run else []
    statement = sql.SQL("SELECT * FROM {} ORDER BY {}").format(
        sql.Identifier("public", table.name), sql.SQL(", ").join(order)
    )
    with psycopg.ServerCursor(connection, f"rows_{table.name}") as cursor:
        cursor.itersize = BATCH
        cursor.execute(statement, binary=True)
        names = [column.name for column in cursor.description or ()]
        for values in cursor:
            row = dict(zip(names, values, strict=True))
            yield (str(row["id"]), str(row["run_id"]) if table.of_run else ""), row


def _has_uuid(connection: psycopg.Connection[Any], table: GovernedTable) -> bool:
    # As text a UUID sorts like itself, and its index has that order.
    statement = "SELECT atttypid = 'uuid'::regtype FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'id'"
    row = connection.execute(statement, [f"public.{table.name}"]).fetchone()
    return row is not None and bool(row[0])


class _Events:
    """The newest event about each row, by type, id and, where that belongs to the id, run: one forward pass."""

    def __init__(self, connection: psycopg.Connection[Any], tables: Sequence[GovernedTable]) -> None:
        self._rows = self._read(connection, tables)
        self._next = next(self._rows, None)

    def before(self, key: tuple[str, str, str]) -> Iterator[StoredEvent]:
        """Events of rows that should have come before this one."""
        while self._next is not None and self._next[0] < key:
            yield self._next[1]
            self._next = next(self._rows, None)

    def at(self, key: tuple[str, str, str]) -> StoredEvent | None:
        """The event of exactly this row."""
        if self._next is None or self._next[0] != key:
            return None
        event = self._next[1]
        self._next = next(self._rows, None)
        return event

    def rest_of(self, object_type: str) -> Iterator[StoredEvent]:
        """What is left of a type once its table has ended."""
        while self._next is not None and self._next[0][0] == object_type:
            yield self._next[1]
            self._next = next(self._rows, None)

    def _read(
        self, connection: psycopg.Connection[Any], tables: Sequence[GovernedTable]
    ) -> Iterator[tuple[tuple[str, str, str], StoredEvent]]:
        of_run = {table.object_type for table in tables if table.of_run}
        parameters = {"types": [table.object_type for table in tables], "of_run": sorted(of_run)}
        with psycopg.ServerCursor(connection, "newest_events") as cursor:
            cursor.itersize = BATCH
            for columns in cursor.execute(_NEWEST_EVENTS, parameters, binary=True):
                event = StoredEvent(*columns)
                run: UUID | None = event.run_id if event.object_type in of_run else None
                yield (event.object_type, event.object_id, str(run or "")), event


# Sorted narrow, fetched wide: a body is twenty times what there is to compare.
_NEWEST_EVENTS = f"""
SELECT {", ".join(f"event.{name}" for name in COLUMNS.split(", "))} FROM (
  SELECT DISTINCT ON (object_type COLLATE "C", object_id COLLATE "C", run)
         id, object_type COLLATE "C" AS type, object_id COLLATE "C" AS object, run
  FROM (
    SELECT id, object_type, object_id, rev, CASE WHEN object_type = ANY (%(of_run)s) THEN run_id END AS run
    FROM (
      SELECT id, object_type, object_id, rev, run_id FROM audit.event WHERE op <> 'read' AND object_type = ANY (%(types)s)
      UNION ALL SELECT id, object_type, object_id, rev, run_id FROM audit.carried WHERE object_type = ANY (%(types)s)
    ) AS told WHERE object_id IS NOT NULL
  ) AS change
  ORDER BY object_type COLLATE "C", object_id COLLATE "C", run, rev DESC, id DESC
) AS newest CROSS JOIN LATERAL (
  SELECT * FROM audit.event WHERE event.id = newest.id
  UNION ALL SELECT * FROM audit.carried WHERE carried.id = newest.id
) AS event
ORDER BY newest.type, newest.object, newest.run
"""  # noqa: S608  composed of constants
