"""Migration operations that put up the walls: row security, revisions, coverage, composite keys, rights.

Each app's `0002_guards.py` consists of them. What they describe is also what readiness expects to find in the database,
so a guard that was taken down or changed by hand keeps the processes from serving.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

from audit.taxonomy import Event
from provenance.roles import RUNTIME_ROLES


class _Wall(Operation):
    """An operation that is only SQL and leaves Django's own picture of the models alone."""

    reduces_to_sql = True
    reversible = True
    category = OperationCategory.SQL
    sentence: ClassVar[str] = ""

    def __init__(self, table: str) -> None:
        self.table = table

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing: Django's models do not know the walls."""

    def database_forwards(
        self,
        _app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        _from_state: Any,
        _to_state: Any,
    ) -> None:
        """Put it up."""
        schema_editor.execute(self.up(), params=None)

    def database_backwards(
        self,
        _app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        _from_state: Any,
        _to_state: Any,
    ) -> None:
        """Take it down."""
        if statement := self.down():
            schema_editor.execute(statement, params=None)

    def describe(self) -> str:
        """What `migrate` prints."""
        return f"{self.sentence} {self.table}"

    def up(self) -> str:
        """The SQL that puts it up."""
        raise NotImplementedError

    def down(self) -> str:
        """The SQL that takes it down."""
        raise NotImplementedError


class MonthlyTable(_Wall):
    """Rows lie in months, by the time in a UUIDv7: `by` names the column (docs/decisions/0010).

    Django made an ordinary table; an empty one becomes partitioned here, before any other wall. Its primary key becomes
    `(id, by)`, because Postgres keeps unique only what contains the column of the months. The months themselves are made
    by `MakeMonths`, which comes last, and later by the sweep.
    """

    sentence = "Months of"

    def __init__(self, table: str, *, by: str) -> None:
        super().__init__(table)
        self.by = by

    def up(self) -> str:
        """The SQL that puts it up."""
        table, plain = f"public.{self.table}", f"{self.table}_plain"
        return f"""
DO $months$
DECLARE
  keys text[];
  statement text;
BEGIN
  IF EXISTS (SELECT FROM {table}) THEN
    RAISE EXCEPTION '{self.table} has rows; only an empty table can be divided into months';
  END IF;
  ALTER TABLE {table} DROP CONSTRAINT "{self.table}_pkey", ADD PRIMARY KEY (id, "{self.by}");
  keys := ARRAY(
    SELECT format('ALTER TABLE {table} ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE conrelid = '{table}'::regclass AND contype IN ('p', 'u') ORDER BY contype, conname
  ) || ARRAY(
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '{table}'::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid) ORDER BY indexrelid
  );
  ALTER TABLE {table} RENAME TO "{plain}";
  CREATE TABLE {table} (LIKE public."{plain}" INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE ("{self.by}");
  DROP TABLE public."{plain}";
  FOREACH statement IN ARRAY keys LOOP
    EXECUTE statement;
  END LOOP;
END $months$;
"""  # noqa: S608  the table is named by a migration

    def down(self) -> str:
        """Nothing: `0001` backwards drops the table with its months."""
        return ""


class MakeMonths(_Wall):
    """The months of every table that lacks them. After all other walls, because a month takes over what there is then."""

    sentence = "Months from now for"

    def __init__(self) -> None:
        super().__init__("every table that has them")

    def up(self) -> str:
        """The SQL that makes them."""
        return "SELECT audit.ensure_partitions();"

    def down(self) -> str:
        """Nothing: a month is dropped with its table."""
        return ""


class TenantTable(_Wall):
    """Row security by workspace, which a row never changes, and the unique (workspace_id, id) for composite keys.

    `within`: the column by which the table has months; the key contains it then.
    """

    sentence = "Row security on"

    def __init__(self, table: str, *, within: str = "") -> None:
        super().__init__(table)
        self.within = within

    def up(self) -> str:
        """The SQL that puts it up."""
        return f"""
ALTER TABLE "{self.table}" ADD CONSTRAINT "{self.table}_ws_id" UNIQUE ({_composite(self.within, "id")});
ALTER TABLE "{self.table}" ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "{self.table}" USING (workspace_id = audit.ws()) WITH CHECK (workspace_id = audit.ws());
{self.triggers()[0][1]};
ALTER TABLE "{self.table}" ENABLE ALWAYS TRIGGER audit_tenant;
"""

    def triggers(self) -> list[tuple[str, str]]:
        """Name and definition of the trigger, as `pg_get_triggerdef` gives it back."""
        definition = (
            f"CREATE TRIGGER audit_tenant BEFORE UPDATE ON public.{self.table} FOR EACH ROW "
            "WHEN ((old.workspace_id IS DISTINCT FROM new.workspace_id)) EXECUTE FUNCTION audit.keep_workspace()"
        )
        return [("audit_tenant", definition)]

    def down(self) -> str:
        """The SQL that takes it down."""
        return f"""
DROP TRIGGER audit_tenant ON "{self.table}";
DROP POLICY tenant ON "{self.table}";
ALTER TABLE "{self.table}" DISABLE ROW LEVEL SECURITY;
ALTER TABLE "{self.table}" DROP CONSTRAINT "{self.table}_ws_id";
"""


class GuardTable(_Wall):
    """No change of this table commits without a signed event about exactly that change (T08).

    `object_type`: what its events call its rows; one table per type. `events`: the types of event that may cover a change.
    `instance`: rows of no workspace, whose events go to the instance log. `add_columns`: the table is a third party's
    and gets `audit_rev` and `audit_salt` here; its model never learns of them. `of_run`: an id is unique only together
    with the row's `run_id` (a table in months), so that an event covers the row of its own run alone.
    """

    sentence = "Guard"

    def __init__(
        self,
        table: str,
        *,
        object_type: str,
        events: Sequence[Event],
        instance: bool = False,
        add_columns: bool = False,
        of_run: bool = False,
    ) -> None:
        super().__init__(table)
        self.object_type = object_type
        self.events = tuple(events)
        self.instance = instance
        self.add_columns = add_columns
        self.of_run = of_run

    def up(self) -> str:
        """The SQL that puts it up."""
        columns = (
            f"""
ALTER TABLE "{self.table}" ADD COLUMN audit_rev bigint NOT NULL DEFAULT 1, ADD COLUMN audit_salt bytea;
UPDATE "{self.table}" SET audit_salt = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
ALTER TABLE "{self.table}" ALTER COLUMN audit_salt SET NOT NULL;
"""  # noqa: S608  the table is named by a migration
            if self.add_columns
            else ""
        )
        names = [name for name, _definition in self.triggers()]
        made = "\n".join(f"{definition};" for _name, definition in self.triggers())
        always = "\n".join(f'ALTER TABLE "{self.table}" ENABLE ALWAYS TRIGGER {name};' for name in names)
        return f"{columns}{made}\n{always}\n{_learn_tellers(self.table)}"

    def triggers(self) -> list[tuple[str, str]]:
        """Name and definition of each trigger, the definition as `pg_get_triggerdef` gives it back."""
        table = f"public.{self.table}"
        kind = "instance" if self.instance else "workspace"
        of_run = ", 'run'" if self.of_run else ""
        arguments = f"'{self.object_type}', '{','.join(self.events)}', '{kind}'{of_run}"
        revision = (
            f"CREATE TRIGGER audit_revision BEFORE INSERT OR UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION audit.count_revision()"
        )
        coverage = (
            f"CREATE CONSTRAINT TRIGGER audit_coverage AFTER INSERT OR DELETE OR UPDATE ON {table} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.require_event({arguments})"
        )
        no_truncate = (
            f"CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse()"
        )
        return [("audit_revision", revision), ("audit_coverage", coverage), ("audit_no_truncate", no_truncate)]

    def down(self) -> str:
        """The SQL that takes it down."""
        dropped = "\n".join(f'DROP TRIGGER {name} ON "{self.table}";' for name, _definition in self.triggers())
        return f"{dropped}\n{_learn_tellers(self.table)}"


class Immutable(_Wall):
    """Rows are written once: no UPDATE, no DELETE, by nobody."""

    sentence = "Rows written once in"

    def up(self) -> str:
        """The SQL that puts it up."""
        ((name, definition),) = self.triggers()
        return f'{definition};\nALTER TABLE "{self.table}" ENABLE ALWAYS TRIGGER {name};'

    def triggers(self) -> list[tuple[str, str]]:
        """Name and definition of the trigger, as `pg_get_triggerdef` gives it back."""
        definition = (
            f"CREATE TRIGGER audit_immutable BEFORE DELETE OR UPDATE ON public.{self.table} "
            "FOR EACH ROW EXECUTE FUNCTION audit.refuse()"
        )
        return [("audit_immutable", definition)]

    def down(self) -> str:
        """The SQL that takes it down."""
        return f'DROP TRIGGER audit_immutable ON "{self.table}";'


class CompositeForeignKey(_Wall):
    """The real constraint behind a `TenantForeignKey`: a row can refer only to rows of its own workspace (T10).

    `within`: a column that both tables have and that is the same in both; the one by which `to` has months.
    """

    sentence = "Composite key from"

    def __init__(self, table: str, column: str, to: str, *, within: str = "") -> None:
        super().__init__(table)
        self.column = column
        self.to = to
        self.within = within

    @property
    def name(self) -> str:
        """The constraint's name, within the 63 bytes of Postgres."""
        return f"{self.table[:30]}_{self.column[:26]}_ws_fk"

    def up(self) -> str:
        """The SQL that puts it up."""
        return (
            f'ALTER TABLE "{self.table}" ADD CONSTRAINT "{self.name}" '
            f"FOREIGN KEY ({_composite(self.within, self.column)}) "
            f'REFERENCES "{self.to}" ({_composite(self.within, "id")}) DEFERRABLE INITIALLY DEFERRED;'
        )

    def down(self) -> str:
        """The SQL that takes it down."""
        return f'ALTER TABLE "{self.table}" DROP CONSTRAINT "{self.name}";'


def _composite(within: str, column: str) -> str:
    """The columns of a key between tenants, the workspace first."""
    return ", ".join(f'"{name}"' for name in ("workspace_id", within, column) if name)


class Grant(_Wall):
    """What each kind of process may do with a table, for example `Grant("runs", web="select", worker="select, insert")`.

    Columns may be named: `gateway="select, update (consumed_at)"`. Nothing is granted that is not named.
    """

    sentence = "Rights on"

    def __init__(self, table: str, **rights: str) -> None:
        super().__init__(table)
        if unknown := rights.keys() - RUNTIME_ROLES.keys():
            raise ValueError(f"Grant on {table}: unknown roles {sorted(unknown)}; there are {sorted(RUNTIME_ROLES)}")
        self.rights = rights

    def up(self) -> str:
        """The SQL that gives the rights."""
        given = "\n".join(
            f'GRANT {rights} ON "{self.table}" TO {RUNTIME_ROLES[role]};' for role, rights in self.rights.items()
        )
        return f"{given}\n{_learn_tellers(self.table)}"

    def down(self) -> str:
        """The SQL that takes them."""
        taken = "\n".join(f'REVOKE ALL ON "{self.table}" FROM {RUNTIME_ROLES[role]};' for role in self.rights)
        return f"{taken}\n{_learn_tellers(self.table)}"


def _learn_tellers(table: str) -> str:
    """After every change of a table's guard or rights: who tells of its changes follows from both."""
    return f"SELECT audit.learn_tellers('public.\"{table}\"');"


class DefinerFunction(_Wall):
    """A function that runs with the owner's rights: the few things that happen before a workspace is known (T09).

    `sql`: the whole `CREATE FUNCTION …` statement, in which every name carries its schema. It must return ids and a
    workspace only. Its search_path is fixed and EXECUTE is taken from PUBLIC here. `name` includes the argument types,
    for example `apikeys_find(text)`.
    """

    sentence = "Definer function"

    def __init__(self, name: str, sql: str, *, execute_by: Iterable[str]) -> None:
        super().__init__(name)
        self.sql = sql
        self.execute_by = tuple(execute_by)

    def up(self) -> str:
        """The SQL that makes it."""
        grants = "\n".join(
            f"GRANT EXECUTE ON FUNCTION {self.table} TO {RUNTIME_ROLES[role]};" for role in self.execute_by
        )
        return f"""
{self.sql.rstrip().rstrip(";")};
ALTER FUNCTION {self.table} SECURITY DEFINER;
ALTER FUNCTION {self.table} SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION {self.table} FROM PUBLIC;
{grants}
"""

    def down(self) -> str:
        """The SQL that takes it down."""
        return f"DROP FUNCTION {self.table};"
