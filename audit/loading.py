"""Loading governed rows that grant power to somebody, held against the log (T06).

A page or service that hands out rights by a row loads it here. `audit.attestation` says what is compared. Who changes a row
needs none of this: `record()` holds it against the log before it signs the change.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from audit.attestation import Altered, LoadedRow, RowAltered, alteration, newest_of, select, told_problem
from audit.governed import Governed, GovernedInstance
from audit.services import told_of, verifying_keys
from provenance.errors import Conflict

Row = TypeVar("Row", bound=Governed | GovernedInstance)


def attested(
    model: type[Row], where: str, parameters: Mapping[str, Any], *, newest: str = "newest_changes"
) -> Row | None:
    """The one row of the workspace in scope that the condition finds, None without one.

    `where` is SQL that names the table `row`. One statement, so that row and event are of one moment. Raises
    `RowAltered` when the row is not what its newest event signed.
    """
    statement = select(model._meta.db_table, model.object_type(), where, newest=newest)
    for found in model._default_manager.raw(statement, dict(parameters)):
        row = cast("Row", found)
        if altered := alteration(_loaded(row), newest_of(vars(row)), verifying_keys()):
            raise RowAltered(altered)
        return row
    return None


def demand_as_signed(*rows: Governed) -> None:
    """Raise `RowAltered` when a row that a service goes by, and does not change, is not what its newest event signed.

    What it makes by such a row is genuine afterwards: a grant, a version, a run.
    """
    told = told_of(rows)
    for row in rows:
        if told_problem(_loaded(row), told[str(row.pk)], verifying_keys()):
            _demand_changed_meanwhile(row)


def _demand_changed_meanwhile(row: Governed) -> None:
    """Row and event were looked at one after the other, so somebody may have changed both in between: now at once."""
    table, look = row._meta.db_table, f"audit.told_of_row('{row.object_type()}', row.id::text, row.audit_rev)"
    statement = f"SELECT row.*, {look} AS told FROM {table} AS row WHERE row.id = %(id)s"  # noqa: S608  our names
    for now in type(row)._default_manager.raw(statement, {"id": row.pk}):
        if problem := told_problem(_loaded(now), vars(now)["told"], verifying_keys()):
            raise RowAltered(Altered(_loaded(now), problem))
        if now.state() == row.state():
            return
    raise Conflict("Somebody changed this meanwhile. Look at it again, and try again.")


def _loaded(row: Governed | GovernedInstance) -> LoadedRow:
    return LoadedRow(row.object_type(), str(row.pk), getattr(row, "workspace_id", None), row.audit_rev, row.state())
