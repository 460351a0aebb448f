"""Are legal holds and times what the log says of them? Asked before anything is erased or expires, which nobody takes back.

Whoever owns the database can take a hold away, or shorten a time, while something is erased, and put it back: afterwards all of
it would be in order. No key is needed here: whoever sweeps holds few of them, and an event that was forged or taken away
shows when the log is verified.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from audit.attestation import NEWEST_CHANGES, Altered, LoadedRow, difference, differs
from audit.judging import StoredEvent
from audit.models import AuditEvent, LegalHold, RetentionSetting
from audit.taxonomy import Event
from provenance.db import ask

_NOT_TOLD, _NOT_THERE = "no signed event is about it", "it is not there"
_TOLD = ((LegalHold, Event.LEGAL_HOLD_ENGAGED), (RetentionSetting, Event.RETENTION_CHANGED))


def altered_limits(workspace_id: UUID) -> list[Altered]:
    """Those that are not there any more, not as they were signed, or never told. Inside the workspace."""
    return [altered for model, event in _TOLD for altered in _altered(workspace_id, model, event)]


def _altered(workspace_id: UUID, model: type[LegalHold | RetentionSetting], event: Event) -> Iterator[Altered]:
    told = AuditEvent.objects.for_workspace(workspace_id).filter(action=event.value)
    rows = {str(row.pk): row for row in model.objects.for_workspace(workspace_id)}
    ids = sorted({*rows, *told.values_list("object_id", flat=True)})
    changes = ask(NEWEST_CHANGES, {"types": [model.object_type()] * len(ids), "ids": ids})
    newest = {found.object_id: found for found in map(StoredEvent._make, changes)}
    for about in ids:
        row, last = rows.get(about), newest.get(about)
        state = row.state() if row else None
        loaded = LoadedRow(model.object_type(), about, workspace_id, row.audit_rev if row else 0, state)
        if row is None or last is None:
            yield Altered(loaded, _NOT_TOLD if row else _NOT_THERE)
        elif problem := difference(loaded, last, orjson.loads(last.body)["state"]):
            yield Altered(loaded, problem)


def altered_holds(month: str) -> list[Altered]:
    """The holds of everybody with events in this month of the log that are not what was told of them. As `prov_retention`."""
    judged = (_judged(*row) for row in _told_holds(month))
    return [altered for altered in judged if altered]


def _told_holds(month: str) -> Iterator[tuple[UUID, str, int | None, str, str | None, dict[str, Any]]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT of_workspace, of_hold, rev, op, state, (hold).* FROM audit.told_holds(%s) AS told"
            " (of_workspace uuid, of_hold text, rev bigint, op text, state text, hold public.audit_legalhold)",
            [month],
        )
        names = [column.name for column in cursor.description[5:]]
        for told in cursor.fetchall():
            yield (*told[:5], dict(zip(names, told[5:], strict=True)))


def _judged(  # noqa: PLR0917  a row
    workspace_id: UUID, about: str, rev: int | None, op: str, state: str | None, columns: dict[str, Any]
) -> Altered | None:
    type_ = LegalHold.object_type()
    if columns["id"] is None:
        return Altered(LoadedRow(type_, about, workspace_id, 0, None), _NOT_THERE)
    row = LoadedRow.of(type_, columns)
    problem = differs(row, rev, op, state) if about else _NOT_TOLD
    return Altered(row, problem) if problem else None
