"""The sealed and published log by index, as a worker may read it: never by id or time, which say nothing of order."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from audit.errors import DamagedLog
from audit.models import AuditDetail
from audit.tree import StoredLog, Tree
from streams.models import Cursor, Sink
from streams.records import Entry, text_of
from streams.rendering import Batch, size_of

# Leaves looked at in one step. Few enough for a transaction of milliseconds, and for one request to a receiver.
WINDOW = 250
LARGEST_BATCH_BYTES = 3 * 2**20
NOWHERE = (
    "How far this stream came is not known any more: somebody changed its row in streams_cursor. Find out who, then remove "
    "the stream and make it anew."
)

# Leaves whose event is gone (its month was detached after years) stay in the log and give no record.
SEALED = """
SELECT leaf.idx, COALESCE(leaf.hash, ''), event.id, COALESCE(event.kid, ''), COALESCE(event.mac, ''), COALESCE(event.body, ''),
       detail.body
  FROM audit.leaves(%s, %s, %s) AS leaf
  JOIN audit.event AS event ON event.id = leaf.event_id
  LEFT JOIN audit.detail AS detail ON %s AND detail.event_id = leaf.event_id
 ORDER BY leaf.idx
"""


def published(tree: Tree, workspace_id: UUID | None) -> list[tuple[StoredLog, int]]:
    """Each epoch of the workspace's log (None: of the instance's) with the size of its newest signed checkpoint, oldest first."""
    logs = tree.logs(workspace_id)
    checkpoints = [tree.newest_checkpoint(log.id) for log in logs]
    return [(log, found.checkpoint.size if found else 0) for log, found in zip(logs, checkpoints, strict=True)]


def next_batch(tree: Tree, sink: Sink, cursor: Cursor) -> Batch | None:
    """What the receiver gets next; None when it has everything that is published.

    A batch that was begun is the same one again. At the end of an epoch the next one begins: the cursor's fields are
    set for it, and saved with the batch. Raises `DamagedLog` for a cursor that is nowhere.
    """
    if not cursor.epoch or cursor.next_idx is None or cursor.next_idx < 0:
        raise DamagedLog(NOWHERE)
    for log, size in published(tree, sink.workspace_id):
        if log.epoch < cursor.epoch:
            continue
        if log.epoch > cursor.epoch:
            cursor.epoch, cursor.next_idx, cursor.sent_idx, cursor.pending_end = log.epoch, 0, None, None
        if size > cursor.next_idx:
            return _batch(tree, sink, cursor, log, size)
    return None


def entry_of(origin: str, previous: int | None, row: Sequence[Any]) -> Entry:
    """A row of `SEALED`."""
    index, leaf, event_id, kid, mac, body, detail = row
    facts = AuditDetail(event_id=event_id, body=detail).facts if detail is not None else {}
    return Entry(
        origin=origin,
        index=index,
        previous=previous,
        leaf=bytes(leaf),
        event_id=event_id,
        kid=kid,
        mac=bytes(mac),
        body=body,
        actor_label=text_of(facts.get("actor_label")),
        object_label=text_of(facts.get("object_label")),
    )


def backlog(tree: Tree, workspace_id: UUID, cursor: Cursor) -> int:
    """How many published events are not confirmed, those that the stream does not want included."""
    return unconfirmed(published(tree, workspace_id), cursor)


def unconfirmed(logs: list[tuple[StoredLog, int]], cursor: Cursor) -> int:
    """The same, when the logs are known."""
    # Of a cursor that is nowhere everything is left.
    epoch, next_idx = cursor.epoch or 0, cursor.next_idx or 0
    left = (size - (next_idx if log.epoch == epoch else 0) for log, size in logs if log.epoch >= epoch)
    return sum(max(0, events) for events in left)


def _batch(tree: Tree, sink: Sink, cursor: Cursor, log: StoredLog, size: int) -> Batch:
    first = cursor.next_idx
    end = cursor.pending_end or min(first + WINDOW, size)
    with connection.cursor() as execute:
        execute.execute(SEALED, [log.id, first, end, sink.with_labels])
        rows = execute.fetchall()
    entries: list[Entry] = []
    previous, bytes_left = cursor.sent_idx, LARGEST_BATCH_BYTES
    for row in rows:
        entry = entry_of(log.origin, previous, row)
        if not entry.is_wanted(sink.risk, sink.events):
            continue
        bytes_left -= size_of(sink.kind, entry)
        if bytes_left < 0 and entries and not cursor.pending_end:
            end = entry.index
            break
        entries.append(entry)
        previous = entry.index
    sealed_in = tree.first_checkpoint_over(log.id, end - 1)
    return Batch(log.origin, first, end, entries, sealed_in.note if sealed_in else "")
