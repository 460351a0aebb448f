"""The walls around streams and digests: people say where, workers move the cursor, the gateway reads where it sends."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation

from audit.guard import CompositeForeignKey, DefinerFunction, Grant, GuardTable, TenantTable
from audit.taxonomy import Event

# Receivers that nobody sends to now and for which something is published. No worker asks for a lease or a pause of ten
# minutes: a time beyond that was set while the clock of the database was ahead, and is no reason to wait for it. It returns ids and looks at positions only.
DUE = """
CREATE FUNCTION public.streams_due(integer) RETURNS TABLE (workspace_id uuid, sink_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT c.workspace_id, c.sink_id FROM public.streams_cursor c
    JOIN public.streams_sink s ON s.workspace_id = c.workspace_id AND s.id = c.sink_id
   WHERE s.status = 'enabled'
     AND NOT c.next_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
     AND NOT c.lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
     AND NOT c.rung_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'
     AND EXISTS (SELECT FROM audit.log l JOIN audit.checkpoint p ON p.log_id = l.id
                  WHERE l.workspace_id = c.workspace_id AND p.signatures IS NOT NULL
                    AND (l.epoch > c.epoch OR (l.epoch = c.epoch AND p.size > c.next_idx)))
   ORDER BY c.next_at LIMIT $1
$$
"""
# Digests whose last whole period (UTC) is not sent. `$1` is the time it is. No worker asks for a lease or a pause of two hours.
DUE_DIGESTS = """
CREATE FUNCTION public.streams_due_digests(timestamptz, integer) RETURNS TABLE (workspace_id uuid, digest_id uuid)
LANGUAGE sql STABLE AS $$
  SELECT d.workspace_id, d.id FROM public.streams_digest d,
         LATERAL (SELECT CASE d.period WHEN 'daily' THEN 'day' WHEN 'weekly' THEN 'week' ELSE 'month' END AS unit) u,
         LATERAL (SELECT date_trunc(u.unit, $1, 'UTC') AS ends_at) p
   WHERE d.created_at < p.ends_at
     AND NOT EXISTS (SELECT FROM public.streams_digestsend s
                      WHERE s.workspace_id = d.workspace_id AND s.digest_id = d.id
                        AND s.period_start >= date_trunc(u.unit, p.ends_at - interval '1 second', 'UTC')
                        AND (s.sent_at IS NOT NULL
                             OR s.lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '2 hours'))
   ORDER BY d.id LIMIT $2
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [
        ("streams", "0001_initial"),
        ("audit", "0002_walls"),
        ("workspaces", "0002_guards"),
    ]
    operations: ClassVar[list[Operation]] = [
        TenantTable("streams_sink"),
        TenantTable("streams_cursor"),
        TenantTable("streams_digest"),
        TenantTable("streams_digestsend"),
        CompositeForeignKey("streams_cursor", "sink_id", "streams_sink"),
        CompositeForeignKey("streams_digestsend", "digest_id", "streams_digest"),
        GuardTable(
            "streams_sink",
            object_type="sink",
            events=[
                Event.AUDIT_SINK_CREATED,
                Event.AUDIT_SINK_CHANGED,
                Event.AUDIT_SINK_ENABLED,
                Event.AUDIT_SINK_DISABLED,
                Event.AUDIT_SINK_REMOVED,
            ],
        ),
        GuardTable(
            "streams_digest",
            object_type="digest",
            events=[Event.AUDIT_DIGEST_CREATED, Event.AUDIT_DIGEST_CHANGED, Event.AUDIT_DIGEST_REMOVED],
        ),
        Grant("streams_sink", web="select, insert, update, delete", worker="select", gateway="select"),
        # Web lets a receiver be tried again; how far it has confirmed is for the worker that sends to it.
        Grant(
            "streams_cursor",
            web="select, insert, update (next_at), delete",
            worker="select, update (epoch, next_idx, sent_idx, pending_end, owner, fence, lease_until, rung_until, "
            "next_at, failures, failing_since, last_error, confirmed_at)",
            gateway="select",
        ),
        Grant("streams_digest", web="select, insert, update, delete", worker="select", gateway="select"),
        Grant(
            "streams_digestsend",
            web="select, delete",
            worker="select, insert, update (fence, lease_until, failures, last_error, sent_at)",
            gateway="select",
        ),
        DefinerFunction("public.streams_due(integer)", DUE, execute_by=["worker"]),
        DefinerFunction("public.streams_due_digests(timestamptz, integer)", DUE_DIGESTS, execute_by=["worker"]),
    ]
