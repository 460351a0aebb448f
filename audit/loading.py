"""Loading one governed row that grants power to somebody, held against the log (T06).

A page or service that hands out rights by a row loads it here. `audit.attestation` says what is compared.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from audit.attestation import LoadedRow, RowAltered, alteration, newest_of, select
from audit.governed import Governed, GovernedInstance
from audit.services import verifying_keys

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
        loaded = LoadedRow(
            model.object_type(), str(row.pk), getattr(row, "workspace_id", None), row.audit_rev, row.state()
        )
        if altered := alteration(loaded, newest_of(vars(row)), verifying_keys()):
            raise RowAltered(altered)
        return row
    return None


def demand_as_signed(row: Governed) -> None:
    """Raise `RowAltered` when a row that a service holds is not what its newest event signed.

    Before a change that gives power: the event of the change signs the rest of the row as it stands, so that what somebody
    altered past the platform would be genuine afterwards.
    """
    attested(type(row), "row.id = %(id)s", {"id": row.pk})
