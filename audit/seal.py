"""Up to where a workspace's log is sealed: what the foot of every page, the audit page and the API say about it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.db import connection
from django.urls import reverse

from audit.models import AuditEvent
from audit.sealing.passes import HEARTBEAT
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.console import Seal
from provenance.db import database_now, workspace_of
from provenance.ids import public_id, uuid7_floor, uuid7_time
from provenance.permissions import Permission

LONGEST_SILENCE = HEARTBEAT + timedelta(minutes=5)
"""A log without events says every hour that it is alive; a little later than that nobody is left to seal it."""
FAILURE_ALARMS = timedelta(days=30)
"""How long every page says that something did not verify."""


class SealState(StrEnum):
    """`WAITING`: signed, and nothing of it sealed yet. `STALE`: sealed too long ago. `BROKEN`: it does not verify."""

    SEALED = "sealed"
    WAITING = "waiting"
    STALE = "stale"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class SealOfLog:
    """The seal of one workspace's log. `failed`: the event that told that something does not verify."""

    state: SealState
    sealed_at: datetime | None
    origin: str
    size: int
    failed: UUID | None = None


def seal_of(actor: Actor) -> SealOfLog:
    """How the log of the actor's workspace is sealed."""
    actor.require(Permission.AUDIT_READ)
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [workspace_of(actor)])
        origin, size, sealed_at = cursor.fetchone() or ("", 0, None)
    failed = _failure(actor)
    if failed:
        state = SealState.BROKEN
    elif abs(database_now() - (sealed_at or _first_event_at(actor) or database_now())) > LONGEST_SILENCE:
        state = SealState.STALE
    else:
        state = SealState.SEALED if sealed_at else SealState.WAITING
    return SealOfLog(state, sealed_at, origin, size or 0, failed)


def shown_seal(actor: Actor, slug: str) -> Seal | None:
    """The foot of the navigation, and the banner of every page when somebody has to look."""
    if not actor.may(Permission.AUDIT_READ):
        return None
    seal = seal_of(actor)
    href = reverse("audit:events", args=[slug])
    if seal.failed:
        href = reverse("audit:event", args=[slug, public_id("evt", seal.failed)])
    title, note, icon, tone, alarm = _words(seal)
    return Seal(title=title, note=note, icon=icon, tone=tone, href=href, alarm=alarm)


def _words(seal: SealOfLog) -> tuple[str, str, str, str, str]:
    since = f"since {seal.sealed_at:%-d %B, %H:%M} UTC" if seal.sealed_at else "at all"
    match seal.state:
        case SealState.SEALED:
            return "Log sealed", f"Up to {seal.sealed_at:%H:%M:%S} UTC", "badge-check", "emerald", ""
        case SealState.WAITING:
            return "Log signed", "Not sealed yet", "circle-dashed", "slate", ""
        case SealState.STALE:
            alarm = f"The audit log was not sealed {since}. Events are signed and kept; tell your operator."
            return "Log not sealed", since.capitalize(), "clock-alert", "rose", alarm
        case SealState.BROKEN:
            alarm = "The audit log does not verify: an event is not what was signed. Tell your security lead."
            return "Log does not verify", "Look into it now", "octagon-x", "rose", alarm


_NEWEST = """
SELECT log.origin, newest.size, newest.at FROM audit.log AS log LEFT JOIN LATERAL (
  SELECT size, at FROM audit.checkpoint AS checkpoint
  WHERE checkpoint.log_id = log.id AND checkpoint.signatures IS NOT NULL ORDER BY checkpoint.size DESC LIMIT 1
) AS newest ON true
WHERE log.workspace_id = %s ORDER BY log.epoch DESC LIMIT 1
"""


def _failure(actor: Actor) -> UUID | None:
    """The newest event that told of a failed verification, as long as it is an alarm. It stays in the log for ever."""
    since = uuid7_floor(database_now() - FAILURE_ALARMS)
    told = AuditEvent.objects.for_actor(actor).filter(pk__gte=since, action=Event.AUDIT_VERIFICATION_FAILED.value)
    return told.order_by("-pk").values_list("pk", flat=True).first()


def _first_event_at(actor: Actor) -> datetime | None:
    """When the log of a workspace that was never sealed began."""
    first = AuditEvent.objects.for_actor(actor).order_by("pk").values_list("pk", flat=True).first()
    return uuid7_time(first) if first else None
