"""How the attacks on the walls get at every table: by the catalog, with every constraint away that is not a wall.

All of it happens in one transaction of the administrator that is rolled back. A table is stripped of its checks, keys and
triggers of its own, so that a bare row fits and only the guards can refuse; then the session becomes a runtime role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from audit.envelope import EventContext, ObjectFacts, build, storing
from audit.guard import GuardTable
from audit.signing import KeyRing
from bench.events import make_workspace
from provenance.actor import Actor
from provenance.ids import uuid7
from provenance.roles import RUNTIME_ROLES
from tests import databases

SALT = b"s" * 32


@dataclass(frozen=True)
class Wall:
    """A governed table and what its guard was told."""

    table: str
    object_type: str
    events: tuple[Any, ...]
    instance: bool
    of_run: bool = False


def governed_tables() -> list[Wall]:
    """Every table under a guard, as the migrations say."""
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values()
    guards = [op for migration in migrations for op in migration.operations if isinstance(op, GuardTable)]
    walls = (Wall(g.table, g.object_type, g.events, g.instance, g.of_run) for g in guards)
    return sorted(walls, key=lambda wall: wall.table)


@contextmanager
def siege() -> Iterator["Siege"]:
    """An administrator's transaction that is rolled back whatever happens."""
    with psycopg.connect(databases.admin_url_of_worker()) as connection:
        try:
            yield Siege(connection)
        finally:
            connection.rollback()


class Siege:
    """The attacker's view: any table stripped to its walls, any role, any event that the role can sign."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters).fetchall()

    def columns(self, table: str) -> list[str]:
        found = self.rows(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", table
        )
        return [name for (name,) in found]

    def keys(self, table: str) -> list[str]:
        """The columns of the primary key: `id`, and in a table with months the one that finds the month."""
        found = self.rows(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) "
            "WHERE indrelid = %s::regclass AND indisprimary",
            table,
        )
        return [name for (name,) in found]

    def strip(self, table: str) -> None:
        """Take away what is no wall: NOT NULL, checks, keys, foreign keys, and the table's own triggers."""
        name = sql.SQL(table)
        constraints = self.rows(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype IN ('c', 'f') AND conparentid = 0",
            table,
        )
        for (constraint,) in constraints:
            self.connection.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, sql.Identifier(constraint))
            )
        for column in self.columns(table):
            if column not in self.keys(table):
                self.connection.execute(
                    sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(name, sql.Identifier(column))
                )
        triggers = self.rows(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgname NOT LIKE 'audit%%'",
            table,
        )
        for (trigger,) in triggers:
            self.connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, sql.Identifier(trigger)))

    def home(self) -> UUID:
        """A workspace that exists as long as the siege lasts."""
        return make_workspace(self.connection)

    def seed(self, table: str, row_id: Any, workspace_id: UUID | None, run_id: UUID | None = None) -> None:
        """A bare row at revision 1, put there with the guards off and on again."""
        values = {"id": row_id, "workspace_id": workspace_id, "audit_rev": 1, "audit_salt": SALT}
        if "run_id" in self.keys(table):
            values["run_id"] = run_id or uuid7()
        known = {name: value for name, value in values.items() if name in self.columns(table)}
        guards = self.rows(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled = 'A'", table
        )
        for (guard,) in guards:
            self.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {guard}")
        self.insert(table, known)
        for (guard,) in guards:
            self.connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}")

    def insert(self, table: str, values: dict[str, Any]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.SQL(table), names, places)
        self.connection.execute(statement, list(values.values()))

    def enter(self, workspace_id: UUID | None) -> None:
        self.connection.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace_id or "")])

    @contextmanager
    def as_role(self, role: str) -> Iterator[None]:
        """Everything inside happens as the runtime role and is taken back."""
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(f"SET LOCAL SESSION AUTHORIZATION {RUNTIME_ROLES[role]}")
            yield

    def sign(
        self, role: str, wall: Wall, workspace_id: UUID | None, *, run_id: UUID | None = None, **facts: Any
    ) -> Any:
        """An event that this role can sign about a row of that table, in that run where one is named."""
        return build(
            keys=KeyRing.from_settings(role),
            actor=Actor.system("siege", workspace_id),
            event=wall.events[0],
            target=ObjectFacts(**{"type": wall.object_type, **facts}),
            workspace_id=workspace_id,
            context=EventContext(run_id=run_id),
        )

    def store(self, event: Any) -> None:
        self.connection.execute(*storing([event]))

    def writable_by(self, role: str, table: str) -> dict[str, list[str]]:
        """Verb -> the columns for which the role has it (for DELETE: one empty entry)."""
        name, columns = RUNTIME_ROLES[role], self.columns(table)
        found = {}
        for verb in ("INSERT", "UPDATE"):
            granted = self.rows(
                "SELECT c FROM unnest(%s::text[]) AS c WHERE has_column_privilege(%s, %s, c, %s)",
                columns,
                name,
                table,
                verb,
            )
            if granted:
                found[verb] = [column for (column,) in granted]
        if self.rows("SELECT has_table_privilege(%s, %s, 'DELETE')", name, table) == [(True,)]:
            found["DELETE"] = [""]
        return found
