"""Loading governed rows that grant power to somebody, held against the log (T06).

A page or service that hands out rights by a row loads it here. `audit.attestation` says what is compared. Who changes a row
needs none of this: `record()` holds it against the log before it signs the change.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from django.db import connection

from audit.attestation import NEWEST_CHANGES, LoadedRow, RowAltered, alteration, newest_of, select
from audit.governed import Governed, GovernedInstance
from audit.judging import StoredEvent
from audit.services import verifying_keys
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
    wanted = [_loaded(row) for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_CHANGES, {"types": [row.type for row in wanted], "ids": [row.id for row in wanted]})
        newest = {(event.object_type, event.object_id): event for event in map(StoredEvent._make, cursor.fetchall())}
    for row, loaded in zip(rows, wanted, strict=True):
        if alteration(loaded, newest.get((loaded.type, loaded.id)), verifying_keys()):
            _demand_changed_meanwhile(row)


def _demand_changed_meanwhile(row: Governed) -> None:
    """Row and event were looked at one after the other, so somebody may have changed both in between."""
    now = attested(type(row), "row.id = %(id)s", {"id": row.pk})
    if now is None or now.state() != row.state():
        raise Conflict("Somebody changed this meanwhile. Look at it again, and try again.")


def _loaded(row: Governed | GovernedInstance) -> LoadedRow:
    return LoadedRow(row.object_type(), str(row.pk), getattr(row, "workspace_id", None), row.audit_rev, row.state())
