"""Are legal holds and times of a workspace what the log says of them? Asked before anything is erased, which nobody takes back.

Whoever owns the database can take a hold away, or shorten a time, while a sweep erases, and put it back: afterwards all of
it would be in order. No key is needed here: whoever sweeps holds few of them, and an event that was forged or taken away
shows when the log is verified.
"""

from collections.abc import Iterator
from uuid import UUID

import orjson

from audit.attestation import NEWEST_CHANGES, Altered, LoadedRow, difference
from audit.judging import StoredEvent
from audit.models import AuditEvent, LegalHold, RetentionSetting
from audit.taxonomy import Event
from provenance.db import ask

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
            yield Altered(loaded, "no signed event is about it" if row else "it is not there")
        elif problem := difference(loaded, last, orjson.loads(last.body)["state"]):
            yield Altered(loaded, problem)
