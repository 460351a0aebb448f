"""What genuine events tell of objects: for whoever would otherwise have to believe rows that nobody signed."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from audit.envelope import Detail
from audit.judging import StoredEvent, flaw
from audit.models import AuditDetail, AuditEvent
from audit.services import verifying_keys
from audit.taxonomy import Event


def signed_facts(
    workspace_id: UUID, action: Event, object_ids: Iterable[str], **more: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Object and detail of each genuine event of this type about these objects; the detail is empty once it was erased.

    `more`: what else the events must be about. Call it inside the workspace.
    """
    events = AuditEvent.objects.for_workspace(workspace_id).filter(
        action=action.value, object_id__in=list(object_ids), **more
    )
    details = AuditDetail.objects.for_workspace(workspace_id).in_bulk([event.id for event in events])
    keys = verifying_keys()
    for event in events:
        detail = details.get(event.id)
        if detail is None or flaw(StoredEvent(*(getattr(event, name) for name in StoredEvent._fields)), keys):
            continue
        if detail.body is None or detail.salt is None:
            yield event.object_id, {}
        elif Detail(bytes(detail.body), bytes(detail.salt)).commitment() == event.signed.get("detail"):
            yield event.object_id, detail.facts
