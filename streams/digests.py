"""Sending digests: each period of each digest once, by whoever claims it."""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q, QuerySet

from audit.attestation import RowAltered
from audit.loading import attested
from audit.models import AuditDetail, AuditEvent
from audit.selectors import EventRow
from audit.services import Target, record, record_altered
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import database_now, enter
from provenance.ids import uuid7, uuid7_floor, uuid7_time
from provenance.risk import Risk
from streams import courier
from streams.letters import NOTABLE, NOTABLE_CALLS_FROM, Letter, Line, Reviewed
from streams.models import LONGEST_ERROR, Digest, DigestSend
from streams.periods import Period, periods
from streams.records import UNREADABLE
from workflows.models import Run
from workspaces.models import Workspace

LEASE_SECONDS = 120
LONGEST_PAUSE_MINUTES = 60
MOST_NOTABLE = 40
MOST_WORKFLOWS = 50
# How many periods that nobody was there for are made up for, in mails of their own.
MOST_MISSED = 7
_FIRST_YEAR, _LAST_YEAR = 2000, 9000

logger = logging.getLogger(__name__)

_CLAIM = """
INSERT INTO streams_digestsend AS send (id, workspace_id, digest_id, period_start, fence, lease_until, failures, last_error)
VALUES (%(id)s, %(workspace_id)s, %(digest_id)s, %(start)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s), 0, '')
    ON CONFLICT (workspace_id, digest_id, period_start) DO UPDATE
   SET fence = send.fence + 1, lease_until = excluded.lease_until
 WHERE send.sent_at IS NULL AND NOT send.lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '2 hours'
RETURNING fence
"""


def send_due(workspace_id: UUID, digest_id: UUID) -> int:
    """Send each whole period that is not sent; how many were. None of a digest that no service can have stored."""
    try:
        return _send_due(workspace_id, digest_id)
    except RowAltered as error:
        record_altered(error.altered, by="streams.digests")
        return 0


def _send_due(workspace_id: UUID, digest_id: UUID) -> int:
    sent = 0
    for period in _due(workspace_id, digest_id):
        fence = _claim(workspace_id, digest_id, period)
        if fence is None:
            continue
        try:
            letter = _letter(workspace_id, digest_id, period)
            if letter is None:
                return sent
            ticket = courier.ticket("digest", workspace_id, digest_id, fence)
            body = {"subject": letter.subject, "text": letter.text, "message_id": _message_id(digest_id, period)}
            courier.bring(ticket, body)
        except courier.NotDelivered as error:
            _fail(workspace_id, digest_id, period, fence, str(error))
            return sent
        except courier.Fenced:
            return sent
        sent += _settle(workspace_id, digest_id, period, fence, sum(letter.counts.values()))
    return sent


def _due(workspace_id: UUID, digest_id: UUID) -> list[Period]:
    """The periods since the digest was set up, or since the last one that was sent; not more than can be made up for."""
    with enter(workspace_id):
        digest = Digest.objects.for_workspace(workspace_id).filter(pk=digest_id).first()
        if digest is None:
            return []
        _demand_possible(digest)
        sends = DigestSend.objects.for_workspace(workspace_id).filter(digest=digest)
        now = database_now()
        # What was noted as sent and is still to come was noted by somebody else.
        sent = sends.filter(sent_at__isnull=False, period_start__lte=now)
        done = set(sent.values_list("period_start", flat=True))
        since = max([digest.created_at, *done])
        return [period for period in periods(digest.period, since, now) if period.start not in done][-MOST_MISSED:]


def _demand_possible(digest: Digest) -> None:
    """Raise `RowAltered` for what no service stores; of all else the gateway says whether it was signed like that."""
    is_known = digest.period in Digest.Period and digest.risk in {"", *Risk}
    if not is_known or not _FIRST_YEAR <= digest.created_at.year <= _LAST_YEAR:
        attested(Digest, "row.id = %(id)s", {"id": digest.pk})


def _claim(workspace_id: UUID, digest_id: UUID, period: Period) -> int | None:
    values: dict[str, Any] = {
        "id": uuid7(),
        "workspace_id": workspace_id,
        "digest_id": digest_id,
        "start": period.start,
        "seconds": LEASE_SECONDS,
    }
    with enter(workspace_id), connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        row = cursor.fetchone()
    return row[0] if row else None


def _letter(workspace_id: UUID, digest_id: UUID, period: Period) -> Letter | None:
    with enter(workspace_id):
        digest = Digest.objects.for_workspace(workspace_id).filter(pk=digest_id).first()
        workspace = Workspace.objects.for_workspace(workspace_id).first()
        if digest is None or workspace is None:
            return None
        events = _events(workspace_id, period, digest.risk)
        console = f"{settings.PUBLIC_URL}/w/{workspace.slug}/audit/"
        notable = events.filter(_is_notable())
        return Letter(
            workspace=workspace.name,
            title=digest.title,
            period=period,
            risk=digest.risk,
            counts={
                action or UNREADABLE: count
                for action, count in events.values_list("action").annotate(count=Count("pk")).order_by()
            },
            notable=_lines(workspace_id, notable, console),
            notable_count=notable.count(),
            review=_review(workspace_id, period) if digest.review else None,
            console=console,
        )


def _events(workspace_id: UUID, period: Period, risk: str) -> QuerySet[AuditEvent]:
    """The events of the period by the time in their ids, which the database holds against its own clock."""
    events = AuditEvent.objects.for_workspace(workspace_id).filter(
        pk__gte=uuid7_floor(period.start), pk__lt=uuid7_floor(period.end)
    )
    return events.filter(risk__in=[each.value for each in Risk if each >= Risk(risk)]) if risk else events


def _is_notable() -> Q:
    worse = [each.value for each in Risk if each >= NOTABLE_CALLS_FROM]
    return Q(action__in=sorted(NOTABLE)) | Q(action=Event.MCP_TOOL_CALLED.value, risk__in=worse)


def _lines(workspace_id: UUID, notable: QuerySet[AuditEvent], console: str) -> list[Line]:
    events = list(notable.order_by("-pk")[:MOST_NOTABLE])
    details = AuditDetail.objects.for_workspace(workspace_id).in_bulk([event.pk for event in events])
    rows = [EventRow(event, details[event.pk].facts if event.pk in details else {}) for event in events]
    return [
        Line(
            at=uuid7_time(row.event.pk),
            action=row.event.action,
            risk=row.event.risk,
            actor=row.actor_name,
            about=row.object_name,
            address=f"{console}{row.event.public_id}/",
        )
        for row in rows
    ]


def _review(workspace_id: UUID, period: Period) -> list[Reviewed]:
    """What ran in production, the most failures first (M129)."""
    runs = Run.objects.for_workspace(workspace_id).filter(
        environment="production", created_at__gte=period.start, created_at__lt=period.end
    )
    counted = (
        runs.values_list("workflow__title")
        .annotate(runs=Count("pk"), failed=Count("pk", filter=Q(status="failed")))
        .order_by("-failed", "-runs", "workflow__title")
    )
    return [Reviewed(*row) for row in counted[:MOST_WORKFLOWS]]


def _settle(workspace_id: UUID, digest_id: UUID, period: Period, fence: int, events: int) -> bool:
    with enter(workspace_id):
        rows = DigestSend.objects.for_workspace(workspace_id)
        mine = rows.filter(digest_id=digest_id, period_start=period.start, fence=fence, sent_at=None)
        if not mine.update(sent_at=database_now(), last_error=""):
            return False
        detail = {"period": str(period), "events": events}
        record(
            actor=_actor(workspace_id),
            event=Event.AUDIT_DIGEST_SENT,
            target=Target("digest", str(digest_id)),
            detail=detail,
        )
        return True


def _fail(workspace_id: UUID, digest_id: UUID, period: Period, fence: int, problem: str) -> None:
    """Note why, and try again later; the first failure of a period is told."""
    with enter(workspace_id):
        rows = DigestSend.objects.for_workspace(workspace_id).select_for_update()
        send = rows.filter(digest_id=digest_id, period_start=period.start, fence=fence).first()
        if send is None:
            return
        send.failures += 1
        send.last_error = problem[:LONGEST_ERROR]
        send.lease_until = database_now() + timedelta(minutes=min(2 ** min(send.failures, 8), LONGEST_PAUSE_MINUTES))
        send.save(update_fields=["failures", "last_error", "lease_until"])
        if send.failures == 1:
            detail = {"period": str(period), "problem": send.last_error}
            target = Target("digest", str(digest_id))
            record(
                actor=_actor(workspace_id),
                event=Event.AUDIT_DIGEST_FAILED,
                target=target,
                detail=detail,
                outcome="failure",
            )


def _message_id(digest_id: UUID, period: Period) -> str:
    """The same for each attempt, so that a mail program shows a repeat once."""
    return f"digest.{digest_id.hex}.{period.start:%Y%m%d}"


def _actor(workspace_id: UUID) -> Actor:
    return Actor.system("streams.digests", workspace_id)
