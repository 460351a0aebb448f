"""What the code wants the database to have, as its migrations say: guards, governed tables, months, rights."""

import re
from dataclasses import dataclass, field
from functools import cache

from django.db.migrations.loader import MigrationLoader

from audit import schema
from audit.guard import DefinerFunction, Grant, GuardTable, Immutable, MonthlyTable, TenantTable
from provenance.roles import RUNTIME_ROLES

_RIGHT = re.compile(r"(\w+)\s*(?:\(([^)]*)\))?")


@dataclass(slots=True)
class Wanted:
    """What the code wants the database to have."""

    triggers: dict[tuple[str, str], str] = field(default_factory=dict)
    governed: set[str] = field(default_factory=set)
    # With their schema
    monthly: set[str] = field(default_factory=lambda: set(schema.MONTHLY))
    definers: set[str] = field(default_factory=set)
    # (role, table) -> (privilege, column or "" for all of them)
    rights: dict[tuple[str, str], set[tuple[str, str]]] = field(default_factory=dict)

    def read_grant(self, grant: Grant) -> None:
        """Take in what a role may do with a table."""
        for role, spelled in grant.rights.items():
            rights = self.rights.setdefault((RUNTIME_ROLES[role], grant.table), set())
            for privilege, columns in _RIGHT.findall(spelled):
                rights |= {(privilege.upper(), column.strip()) for column in columns.split(",")}


@cache
def wanted() -> Wanted:
    """What its migrations say."""
    walls = Wanted()
    for migration in MigrationLoader(None, ignore_no_migrations=True).disk_migrations.values():
        for operation in migration.operations:
            match operation:
                case GuardTable() | Immutable() | TenantTable():
                    walls.triggers |= {(operation.table, name): text for name, text in operation.triggers()}
                    if isinstance(operation, GuardTable):
                        walls.governed.add(operation.table)
                case MonthlyTable():
                    walls.monthly.add(f"public.{operation.table}")
                case DefinerFunction():
                    walls.definers.add(operation.table.partition("(")[0].removeprefix("public."))
                case Grant():
                    walls.read_grant(operation)
    return walls
