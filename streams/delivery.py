"""One receiver's stream: claim it, send batch after batch in the order of the log, move the cursor once each is confirmed.

A claim is a lease with a fence in Postgres, so that two workers never send to one receiver at the same time: the gateway
sends for the highest fence alone. What happens between a receiver's confirmation and our commit is sent again: at least
once, in order, without a gap.
"""

import logging
import time
from datetime import timedelta
from uuid import UUID

from django.db import connection

from audit.attestation import RowAltered
from audit.errors import DamagedLog
from audit.loading import attested
from audit.services import Target, record, record_altered
from audit.taxonomy import Event
from audit.tree import django_tree
from gateway.deliveries.contract import Kind
from provenance.actor import Actor
from provenance.db import database_now, enter
from streams import courier, directory, reading
from streams.models import LONGEST_ERROR, Cursor, Sink
from streams.rendering import Batch, render
from workflows.leases import OWNER

# Longer than one delivery takes at most, so that a worker that lives keeps its lease through each.
LEASE_SECONDS = 60
# So that one receiver that has much to catch up with, or is slow, lets others have its thread; the sweep rings again.
MOST_SECONDS = 20.0
# A receiver that is restarted is no outage. This is about seven seconds after the first failure.
FAILURES_OF_AN_OUTAGE = 3
LONGEST_PAUSE_SECONDS = 300

ALTERED = "Its settings in the database are not what the log says; nothing is sent until an administrator looked."

logger = logging.getLogger(__name__)

_CLAIM = """
UPDATE streams_cursor AS cursor
   SET owner = %(owner)s, fence = fence + 1, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
 WHERE sink_id = %(sink_id)s
   AND NOT lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
   AND NOT next_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
   AND EXISTS (SELECT FROM streams_sink WHERE id = cursor.sink_id AND status = 'enabled')
RETURNING fence
"""


class _TakenOver(Exception):
    """The lease is somebody else's by now, or the receiver is not enabled any more."""


def stream(workspace_id: UUID, sink_id: UUID) -> int:
    """Send what is published and not confirmed, as long as nobody else does; how many events were confirmed."""
    fence = _claim(workspace_id, sink_id)
    if fence is None:
        return 0
    confirmed, ends_at = 0, time.monotonic() + MOST_SECONDS
    try:
        while time.monotonic() < ends_at:
            held = _begin(workspace_id, sink_id, fence)
            if held is None:
                break
            sink, batch = held
            problem = _send(sink, batch, fence)
            if problem:
                _fail(workspace_id, sink_id, fence, problem)
                return confirmed
            _confirm(workspace_id, sink_id, fence, batch)
            confirmed += len(batch.entries)
        _release(workspace_id, sink_id, fence)
    except RowAltered as error:
        record_altered(error.altered, by="streams.delivery")
        _fail(workspace_id, sink_id, fence, ALTERED)
    except DamagedLog as error:
        _fail(workspace_id, sink_id, fence, error.message)
    except (_TakenOver, courier.Fenced):
        logger.info("stream %s was taken over", sink_id)
    return confirmed


def _claim(workspace_id: UUID, sink_id: UUID) -> int | None:
    with enter(workspace_id), connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"owner": OWNER, "seconds": LEASE_SECONDS, "sink_id": sink_id})
        row = cursor.fetchone()
    return row[0] if row else None


def _begin(workspace_id: UUID, sink_id: UUID, fence: int) -> tuple[Sink, Batch] | None:
    """Fix what is sent next and renew the lease, in one commit; None when there is nothing."""
    with enter(workspace_id):
        cursor = _held(workspace_id, sink_id, fence)
        # Held against the log (T06): a filter that lets nothing through would never be seen by the gateway.
        sink = attested(Sink, "row.id = %(id)s AND row.status = 'enabled'", {"id": sink_id})
        batch = reading.next_batch(django_tree(), sink, cursor) if sink else None
        if sink is None or batch is None:
            return None
        cursor.pending_end = batch.end
        cursor.lease_until = database_now() + timedelta(seconds=LEASE_SECONDS)
        cursor.save(update_fields=["epoch", "next_idx", "sent_idx", "pending_end", "lease_until"])
    return sink, batch


def _send(sink: Sink, batch: Batch, fence: int) -> str:
    """Why the batch was not confirmed; "" when it was. Outside of any transaction."""
    if not batch.entries:
        return ""
    text = render(sink.kind, batch)
    try:
        if sink.kind == Kind.DIRECTORY:
            directory.write(directory.place(sink.workspace_id, sink.address), batch, text)
        else:
            ticket = courier.ticket("sink", sink.workspace_id, sink.pk, fence)
            courier.bring(ticket, {"body": text, "name": batch.name, "message_id": batch.message_id})
    except (courier.NotDelivered, directory.NoDirectory) as error:
        return str(error)
    except OSError as error:
        return f"The file could not be written ({error.strerror or type(error).__name__})."
    return ""


def _confirm(workspace_id: UUID, sink_id: UUID, fence: int, batch: Batch) -> None:
    with enter(workspace_id):
        cursor = _held(workspace_id, sink_id, fence)
        if cursor.failures >= FAILURES_OF_AN_OUTAGE:
            detail = {"failed_since": str(cursor.failing_since), "attempts": cursor.failures}
            record(actor=_actor(workspace_id), event=Event.AUDIT_SINK_RECOVERED, target=_target(cursor), detail=detail)
        cursor.next_idx, cursor.pending_end = batch.end, None
        if batch.entries:
            cursor.sent_idx = batch.entries[-1].index
        cursor.failures, cursor.failing_since, cursor.last_error = 0, None, ""
        # Whoever was served last comes last in the next round.
        cursor.confirmed_at = cursor.next_at = database_now()
        cursor.save(update_fields=["next_idx", "pending_end", "sent_idx", *_OUTCOME, "confirmed_at", "next_at"])


def _fail(workspace_id: UUID, sink_id: UUID, fence: int, problem: str) -> None:
    """Note the failure, give the lease back, and wait longer each time. An outage is told once, when it is one."""
    with enter(workspace_id):
        cursor = _held(workspace_id, sink_id, fence)
        now = database_now()
        cursor.failures += 1
        cursor.failing_since = cursor.failing_since or now
        cursor.last_error = problem[:LONGEST_ERROR]
        cursor.next_at = now + timedelta(seconds=min(2 ** min(cursor.failures, 16), LONGEST_PAUSE_SECONDS))
        cursor.lease_until = now
        if cursor.failures == FAILURES_OF_AN_OUTAGE:
            detail = {
                "problem": cursor.last_error,
                "backlog": _waiting(cursor),
                "failing_since": str(cursor.failing_since),
            }
            record(
                actor=_actor(workspace_id),
                event=Event.AUDIT_SINK_FAILED,
                target=_target(cursor),
                detail=detail,
                outcome="failure",
            )
        cursor.save(update_fields=[*_OUTCOME, "next_at", "lease_until"])


def _waiting(cursor: Cursor) -> int | None:
    """How many events wait; None where the log does not say."""
    try:
        return reading.backlog(django_tree(), cursor.workspace_id, cursor)
    except DamagedLog:
        return None


_OUTCOME = ("failures", "failing_since", "last_error")


def _release(workspace_id: UUID, sink_id: UUID, fence: int) -> None:
    with enter(workspace_id):
        cursor = _held(workspace_id, sink_id, fence)
        # What is published from now on is rung for at once.
        cursor.lease_until = cursor.rung_until = database_now()
        cursor.save(update_fields=["lease_until", "rung_until"])


def _held(workspace_id: UUID, sink_id: UUID, fence: int) -> Cursor:
    """The cursor, locked, as long as the fence is ours."""
    rows = Cursor.objects.for_workspace(workspace_id).select_for_update()
    cursor: Cursor | None = rows.filter(sink_id=sink_id, fence=fence).first()
    if cursor is None:
        raise _TakenOver
    return cursor


def _actor(workspace_id: UUID) -> Actor:
    return Actor.system("streams.delivery", workspace_id)


def _target(cursor: Cursor) -> Target:
    name = (
        Sink.objects.for_workspace(cursor.workspace_id).filter(pk=cursor.sink_id).values_list("name", flat=True).first()
    )
    return Target("sink", str(cursor.sink_id), name or "")
