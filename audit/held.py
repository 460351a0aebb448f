"""Are the legal holds of a workspace what the log says of them? Asked before anything is erased, which nobody takes back.

Whoever owns the database can take a hold away while a sweep erases what it covered, and put it back: afterwards all of it
would be in order. No key is needed here: whoever sweeps holds few of them, and an event that was forged or taken away shows
when the log is verified.
"""

from uuid import UUID

import orjson
from django.db import connection

from audit.attestation import NEWEST_CHANGES, Altered, LoadedRow, difference
from audit.judging import StoredEvent
from audit.models import AuditEvent, LegalHold
from audit.taxonomy import Event


def altered_holds(workspace_id: UUID) -> list[Altered]:
    """Those that are not there any more, or not as they were signed. Inside the workspace."""
    type_ = LegalHold.object_type()
    engaged = AuditEvent.objects.for_workspace(workspace_id).filter(action=Event.LEGAL_HOLD_ENGAGED.value)
    ids = sorted({*engaged.values_list("object_id", flat=True)})
    rows = {str(row.pk): row for row in LegalHold.objects.for_workspace(workspace_id)}
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_CHANGES, {"types": [type_] * len(ids), "ids": ids})
        newest = {event.object_id: event for event in map(StoredEvent._make, cursor.fetchall())}
    found = []
    for about, event in newest.items():
        row = rows.get(about)
        held = LoadedRow(type_, about, workspace_id, row.audit_rev if row else 0, row.state() if row else None)
        problem = difference(held, event, orjson.loads(event.body)["state"]) if row else "it is not there"
        found += [Altered(held, problem)] if problem else []
    return found
