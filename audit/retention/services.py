"""How long things are kept: settings of a workspace, legal holds, details whose time is over, months after seven years.

The limits themselves stand in Postgres (`audit.schema.retention`, `audit.schema.months`): what is refused there is refused to everybody.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from audit.attestation import MOST_TOLD, RowAltered
from audit.envelope import MAX_DETAIL_BYTES
from audit.errors import HoldEngaged, HoldNotEngaged, NeedsSecondPerson
from audit.models import HOLD_KINDS, AuditEvent, LegalHold, RetentionSetting
from audit.notes import Checkpoint
from audit.retention.classes import LONGEST_DAYS, RetentionClass
from audit.retention.limits import altered_holds, altered_limits
from audit.services import Target, record, record_altered
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import ask, database_now, enter, service, workspace_of
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.ids import as_events_name
from provenance.permissions import Permission
from provenance.reasons import LONGEST_REASON

BATCH = 500
MOST_BATCHES = 20
"""Of one workspace and class in one sweep: the rest is taken by the next."""
MOST_RUNS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a workspace keeps details of one class."""

    retention_class: RetentionClass
    days: int
    is_usual: bool


# --- Settings --------------------------------------------------------------------------------------------------------


def kept(actor: Actor) -> list[Kept]:
    """Every class with the days that count in the actor's workspace."""
    actor.require(Permission.AUDIT_READ)
    chosen = dict(RetentionSetting.objects.for_actor(actor).values_list("retention_class", "days"))
    return [
        Kept(item, max(item.floor_days, chosen.get(item.value, item.days)), item.value not in chosen)
        for item in RetentionClass
    ]


@service
def set_retention(*, actor: Actor, retention_class: str, days: int, reason: str) -> RetentionSetting:
    """Keep details of a class for so many days from now on, at least for its floor. A person does this.

    Shorter takes effect at the next sweep, and what was erased does not come back.
    """
    actor.require(Permission.WORKSPACE_WRITE)
    _only_people(actor, "How long things are kept is changed by a person.")
    if retention_class not in list(RetentionClass):
        message = f"One of {', '.join(RetentionClass)}."
        raise Invalid("There is no such class.", errors=[{"path": "retention_class", "message": message}])
    wanted = next(item for item in RetentionClass if item == retention_class)
    if not wanted.floor_days <= days <= LONGEST_DAYS:
        message = f"{wanted.floor_days} to {LONGEST_DAYS} days."
        raise Invalid(f"Details of {wanted} cannot be kept that long.", errors=[{"path": "days", "message": message}])
    reason = _reason(reason)
    found = RetentionSetting.objects.for_actor(actor).select_for_update().filter(retention_class=wanted).first()
    before = found.days if found else wanted.days
    if found:
        found.days = days
        found.save(update_fields=["days"])
    else:
        found = RetentionSetting.objects.create(workspace_id=workspace_of(actor), retention_class=wanted, days=days)
    facts = {"class": wanted.value, "before": before, "after": days}
    record(actor=actor, event=Event.RETENTION_CHANGED, target=found, reason=reason, detail=facts)
    setting: RetentionSetting = found
    return setting


# --- Legal holds -----------------------------------------------------------------------------------------------------


def holds(actor: Actor) -> "QuerySet[LegalHold]":
    """Every hold of the workspace, engaged and released."""
    actor.require(Permission.AUDIT_READ)
    rows: QuerySet[LegalHold] = LegalHold.objects.for_actor(actor)
    return rows


@service
def engage_hold(*, actor: Actor, scope_kind: str, scope_id: str = "", reason: str) -> LegalHold:
    """Let nothing that this covers be erased or expire: everything (`workspace`), a `run`, or an `object` by its id.

    An id may be given as addresses have it (`run_…`, `apr_…`) or as events name it. A hold that covers no event is
    refused: whoever engages one must be able to rely on it. Members need `workspace:write`; a key with `gateway:write` may engage too, because keeping must be easy.
    """
    if not actor.may(Permission.GATEWAY_WRITE):
        actor.require(Permission.WORKSPACE_WRITE)
    workspace_id = workspace_of(actor)
    if scope_kind not in HOLD_KINDS:
        message = f"One of {', '.join(HOLD_KINDS)}."
        raise Invalid("This hold covers nothing.", errors=[{"path": "scope_kind", "message": message}])
    scope_id = _covered(actor, scope_kind, scope_id)
    rows = LegalHold.objects.for_actor(actor)
    if rows.select_for_update().filter(scope_kind=scope_kind, scope_id=scope_id, released_at=None).exists():
        raise HoldEngaged
    hold = LegalHold.objects.create(
        workspace_id=workspace_id,
        scope_kind=scope_kind,
        scope_id=scope_id,
        reason=_reason(reason),
        engaged_by=actor.id,
        engaged_at=database_now(),
    )
    facts = {"scope_kind": scope_kind, "scope_id": scope_id}
    record(actor=actor, event=Event.LEGAL_HOLD_ENGAGED, target=hold, reason=hold.reason, detail=facts)
    return hold


def _covered(actor: Actor, scope_kind: str, text: str) -> str:
    """The id as events name it. Raises `Invalid` when no event has it."""
    if scope_kind == "workspace":
        return str(workspace_of(actor))
    named = as_events_name(text.strip())
    events = AuditEvent.objects.for_actor(actor)
    found = events.filter(run_id=_uuid(named)) if scope_kind == "run" else events.filter(object_id=named)
    if not named or not found.exists():
        message = (
            f"No event here is about this {scope_kind}. Give its whole id, as the address of its page has it (run_…), "
            "or as its events name it."
        )
        raise Invalid("This hold covers nothing.", errors=[{"path": "scope_id", "message": message}])
    return named


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        # Of no run
        return UUID(int=0)


@service
def ask_release(*, actor: Actor, hold_id: UUID, reason: str) -> LegalHold:
    """Ask that a hold be released; another person must agree. Asking again hands the asking to whoever asks."""
    hold = _engaged(actor, hold_id)
    hold.release_asked_by, hold.release_asked_at = actor.id, database_now()
    hold.save(update_fields=["release_asked_by", "release_asked_at"])
    record(actor=actor, event=Event.LEGAL_HOLD_RELEASE_ASKED, target=hold, reason=_reason(reason))
    return hold


@service
def release_hold(*, actor: Actor, hold_id: UUID, reason: str) -> LegalHold:
    """Agree that a hold be released. Whoever asked for it cannot agree."""
    hold = _engaged(actor, hold_id)
    if hold.release_asked_by in {"", actor.id}:
        raise NeedsSecondPerson
    hold.released_by, hold.released_at = actor.id, database_now()
    hold.save(update_fields=["released_by", "released_at"])
    record(actor=actor, event=Event.LEGAL_HOLD_RELEASED, target=hold, reason=_reason(reason))
    return hold


def _engaged(actor: Actor, hold_id: UUID) -> LegalHold:
    actor.require(Permission.WORKSPACE_WRITE)
    _only_people(actor, "Only people release a legal hold.")
    hold = LegalHold.locked(actor, pk=hold_id)
    if hold is None:
        raise NotFound("There is no such hold here.")
    if hold.released_at is not None:
        raise HoldNotEngaged
    return hold


# --- What is due -----------------------------------------------------------------------------------------------------


def erase_due(now: datetime) -> None:
    """Erase details whose time is over. A sweep: called often, it looks once an hour."""
    _swept(now.replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=1)
def _swept(_hour: datetime) -> None:
    # A failure is not remembered, so the next sweep tries again.
    due = ask("SELECT audit.due_workspaces(%s)", [[item.value for item in RetentionClass]])
    for (workspace_id,) in due:
        with enter(workspace_id):
            altered = altered_limits(workspace_id)
        if altered:
            record_altered(altered, by="retention")
            continue
        for retention_class in RetentionClass:
            for _batch in range(MOST_BATCHES):
                with enter(workspace_id):
                    erased = erase_due_batch(workspace_id, retention_class)
                if erased < BATCH:
                    break


def erase_due_batch(workspace_id: UUID, retention_class: RetentionClass) -> int:
    """Erase the oldest due details of one class, with the one event that names them; how many. Inside the workspace."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit.due_details(%s, %s)", [retention_class.value, BATCH])
        due = [event_id for (event_id,) in cursor.fetchall()]
        if not due:
            return 0
        record(
            actor=Actor.system("audit.retention", workspace_id),
            event=Event.AUDIT_DETAIL_ERASED,
            target=Target("retention_class", retention_class.value),
            reason=f"Details of the class {retention_class} are kept for a time, and that of these is over.",
            detail={"class": retention_class.value, "count": len(due), "events": [str(event_id) for event_id in due]},
        )
        cursor.execute("SELECT audit.erase_details(%s)", [due])
    return len(due)


# --- Months ----------------------------------------------------------------------------------------------------------


def expire_month(month: str) -> int:
    """Let one month of the log go (`event_2019_01`), with the event that says what left; how many events there were.

    As `prov_retention`. Raises `UnauditedChange` (a DatabaseError) with the reason when the database refuses: it is not
    seven years old, under legal hold, or not sealed to its last event; and `RowAltered`, after an alarm, when a hold of
    anybody with events in it is not what the log says. Then nothing was changed.
    """
    try:
        return _expire_month(month)
    except RowAltered as error:
        with transaction.atomic():
            facts = [item.described() | {"workspace": str(item.row.workspace_id)} for item in error.altered]
            record(
                actor=Actor.system("audit.retention", None),
                event=Event.AUDIT_ROW_ALTERED,
                target=Target(LegalHold.object_type(), error.altered[0].row.id),
                detail={"month": month, "count": len(facts), "rows": facts[:MOST_TOLD]},
                outcome="blocked",
            )
        raise


def _expire_month(month: str) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        # One moment for all of it: no hold is taken away between the look at what was told of it and the end.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if altered := altered_holds(month):
            raise RowAltered(*altered)
        cursor.execute("SELECT origin, first_idx, last_idx, events, checkpoint FROM audit.month_ranges(%s)", [month])
        # At least one event, also for a month that is empty.
        for part in _packed(_of_logs(cursor.fetchall())) or [[]]:
            record(
                actor=Actor.system("audit.retention", None),
                event=Event.AUDIT_PARTITION_EXPIRED,
                target=Target("audit_month", month),
                reason="Its seven years are over.",
                detail={"logs": part},
            )
        cursor.execute("SELECT audit.expire_partition(%s)", [month])
        return int(cursor.fetchone()[0])


def _of_logs(rows: Iterable[tuple[str, int, int, int, str | None]]) -> Iterator[dict[str, Any]]:
    """What leaves each log: runs of leaves by first and last index. One with very many is told of in parts."""
    for (origin, note), of_log in groupby(rows, key=lambda row: (row[0], row[4])):
        every = list(of_log)
        for start in range(0, len(every), MOST_RUNS_AT_ONCE):
            runs = every[start : start + MOST_RUNS_AT_ONCE]
            yield {
                "log": origin,
                "events": sum(events for _origin, _first, _last, events, _note in runs),
                "runs": [[first, last] for _origin, first, last, _events, _note in runs],
                **_root(note),
            }


def _packed(logs: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """In parts that a detail holds whole: what is clipped would count as taken away."""
    parts: list[list[dict[str, Any]]] = []
    room = 0
    for log in logs:
        size = len(json.dumps(log))
        if size > room:
            parts.append([])
            room = MAX_DETAIL_BYTES // 2
        parts[-1].append(log)
        room -= size
    return parts


def _root(note: str | None) -> dict[str, object]:
    if note is None:
        return {}
    checkpoint = Checkpoint.parse(note)
    return {"size": checkpoint.size, "root": note.splitlines()[2]}


def _only_people(actor: Actor, message: str) -> None:
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(message=message)


def _reason(reason: str) -> str:
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise Invalid("Say why.", errors=[{"path": "reason", "message": f"1 to {LONGEST_REASON} characters"}])
    return reason
