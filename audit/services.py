"""Writing the log: `record()` is the only way, and it stands in plain sight in every service that changes something."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, models, transaction

from audit.attestation import (
    NO_STATE,
    TAKES_AWAY,
    AlreadyTold,
    Altered,
    LoadedRow,
    RowAltered,
    altered_event,
    told_problem,
)
from audit.envelope import EventContext, ObjectFacts, Op, Outcome, SignedEvent, build, storing
from audit.governed import Former, Governed, GovernedInstance
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor, ActorKind
from provenance.db import enter, send_with_next
from provenance.errors import PermissionDenied
from provenance.permissions import Permission
from provenance.risk import Risk

__all__ = [
    "Entry",
    "EventContext",
    "RowChange",
    "Target",
    "change_rows",
    "create_rows",
    "record",
    "record_all",
    "record_altered",
    "record_anonymous",
    "record_denied",
    "signing_as",
    "third_party_row",
    "told_of",
    "verifying_keys",
]


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about when it is no governed row, or only its id is known."""

    type: str
    id: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """A change of a governed row that was made in SQL: what `UPDATE … RETURNING id, audit_rev` told.

    `rev` is the row's revision after the change (for a delete: the last one plus one); `changed` names every column that
    the statement set. `instance`: the row belongs to no workspace.
    """

    type: str
    id: str
    rev: int
    op: Op
    changed: Sequence[str] = ()
    state: str | None = None
    label: str = ""
    instance: bool = False


Recordable = Governed | GovernedInstance | RowChange | Target
BY = "services"
"""Who met a row that was altered, when somebody changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event of several that are stored together."""

    event: Event
    target: Recordable
    reason: str = ""
    detail: Mapping[str, Any] | None = None
    context: EventContext | None = None
    outcome: Outcome = "success"
    risk: Risk | None = None
    gap: int = field(default=0)


def record(
    *,
    actor: Actor,
    event: Event,
    target: Recordable,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    context: EventContext | None = None,
    outcome: Outcome = "success",
    risk: Risk | None = None,
) -> SignedEvent:
    """Store one signed event in the transaction of the change it is about, and return it.

    `target`: the changed instance, right after its save (columns, revision and state come from it; unchanged, it counts
    as read), a `RowChange` after SQL of one's own, or a `Target`. `reason` and `detail` are erasable; put names, labels,
    before and after values, arguments and results there, after redaction. `risk` may only raise the usual one.
    An event of an actor without a workspace, or about an instance row, goes to the instance log.
    A row that was not what the log says before the change raises `RowAltered`; what takes power away (`TAKES_AWAY`, and
    whatever deletes) is done all the same, with an alarm, and leaves the row one that nobody believes.
    Raises RuntimeError outside of a transaction. When the database refuses the event, `EventNotAccepted` is raised by the
    statement that follows, and there is always one: COMMIT.
    """
    entry = Entry(event=event, target=target, reason=reason, detail=detail, context=context, outcome=outcome, risk=risk)
    return record_all(actor=actor, entries=[entry])[0]


def record_all(*, actor: Actor, entries: Sequence[Entry]) -> list[SignedEvent]:
    """Store several events in one statement; otherwise like `record`."""
    if not connection.in_atomic_block:
        raise RuntimeError("record() belongs into the transaction of its change: wrap both in transaction.atomic().")
    if not entries:
        return []
    events: list[SignedEvent] = []
    alarms: list[SignedEvent] = []
    for entry in entries:
        facts, altered = _facts(entry)
        if altered is not None:
            if entry.event not in TAKES_AWAY and facts.op != "delete":
                raise RowAltered(altered)
            facts = replace(facts, state=NO_STATE if facts.op == "update" else None)
            alarms.append(
                altered_event(verifying_keys(), by=BY, workspace_id=altered.row.workspace_id, altered=[altered])
            )
        events.append(_sign(actor, entry, facts))
    send_with_next(*storing([*alarms, *events]))
    return events


def record_denied(
    *,
    actor: Actor,
    target: Recordable,
    permission: Permission | None = None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> SignedEvent:
    """Store `authz.denied` in a transaction of its own. The door calls it after the refused work was rolled back."""
    facts = {**(detail or {}), **({"missing_permission": permission.value} if permission else {})}
    entry = Entry(
        event=Event.AUTHZ_DENIED,
        target=target,
        reason=reason,
        detail=facts,
        outcome="blocked",
        context=EventContext(request_id=actor.request_id),
    )
    if actor.workspace_id is None:
        with transaction.atomic():
            return record_all(actor=actor, entries=[entry])[0]
    with enter(actor.workspace_id):
        return record_all(actor=actor, entries=[entry])[0]


def record_altered(altered: Sequence[Altered], *, by: str) -> None:
    """Store one critical event for rows that are not what the log says, in a transaction of its own.

    Once for each state a row is in: whoever knocks a thousand times with an altered key does not fill the log (T26). The
    door calls it after the refused work was rolled back.
    """
    news = _told.news(altered)
    for workspace_id in {item.row.workspace_id for item in news}:
        rows = [item for item in news if item.row.workspace_id == workspace_id]
        event = altered_event(verifying_keys(), by=by, workspace_id=workspace_id, altered=rows)
        with enter(workspace_id) if workspace_id else transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(*storing([event]))
    _told.tell(news)


_told = AlreadyTold()


def verifying_keys() -> KeyRing:
    """The keys with which this part of the process verifies what others signed."""
    return _keys(_signs_as.get() or settings.AUDIT_SIGNS_AS)


def record_anonymous(*, event: Event, source: str, reason: str = "", detail: Mapping[str, Any] | None = None) -> int:
    """Note a refusal of somebody unknown; how many there were from this source in this minute.

    An attacker must not be able to fill the log (T26): the 1st, 10th, 100th, … refusal of a minute is an event of the
    instance log, whose `gap` says how many it stands for; what was counted and not told when the minute ended is told
    with the next one of its type. Postgres lets no count go that no event tells of. `source` is an address or a key prefix and goes only into erasable detail.
    """
    with transaction.atomic():
        count, minute = _count_refusal(source, event)
        told = [_refusal_entry(refusals, {}) for refusals in (_untold(event) if count == 1 else ())]
        if _is_power_of_ten(count):
            now = _Refusals(source=source, event=event, minute=minute, gap=_tell(source, event, count))
            told.append(_refusal_entry(now, {"reason": reason, **(detail or {})}))
        record_all(actor=_anonymous(source), entries=told)
    return count


def create_rows(*, actor: Actor, event: Event, rows: Sequence[Governed], reason: str = "") -> None:
    """`bulk_create` of one kind of governed rows with one event each: two statements, however many rows."""
    if not rows:
        return
    type(rows[0])._default_manager.bulk_create(rows)
    for row in rows:
        row.note_created()
    record_all(actor=actor, entries=[Entry(event=event, target=row, reason=reason) for row in rows])


def change_rows(
    *, actor: Actor, event: Event, rows: models.QuerySet[Any], values: Mapping[str, Any], reason: str = ""
) -> int:
    """Set the same `values` on every row of a query of governed rows, with one event each; how many there were."""
    # In one order, so that two who change some of the same rows wait and are no deadlock.
    locked = list(rows.order_by("pk").select_for_update())
    if not locked:
        return 0
    told = told_of(locked)
    # By id, and not by the query again: what the values change may be what the query looked at.
    rows.model._default_manager.filter(pk__in=[row.pk for row in locked]).update(**values)
    for row in locked:
        row.note_changed(values, told[str(row.pk)])
    record_all(actor=actor, entries=[Entry(event=event, target=row, reason=reason) for row in locked])
    return len(locked)


def told_of(rows: Sequence[Governed]) -> dict[str, str | None]:
    """What the newest event told of each of these rows, by id, in one statement; `told_problem` takes it."""
    look = (
        "SELECT id, audit.told_of_row(type, id, rev) "
        "FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS row (type, id, rev)"
    )
    types, ids = [row.object_type() for row in rows], [str(row.pk) for row in rows]
    with connection.cursor() as cursor:
        cursor.execute(look, [types, ids, [row.audit_rev for row in rows]])
        return dict(cursor.fetchall())


def third_party_row(row: models.Model, *, type_: str, op: Op, label: str = "") -> RowChange:
    """The change of a row whose model is not ours (accounts, authenticators) and does not know its revision.

    Call it after the save, and before the delete. Every column counts as changed.
    """
    meta = row._meta
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT audit_rev FROM "{meta.db_table}" WHERE id = %s', [row.pk])  # noqa: S608  our table name
        found = cursor.fetchone()
    rev = found[0] if found else 0
    return RowChange(
        type=type_,
        id=str(row.pk),
        rev=rev + 1 if op == "delete" else rev,
        op=op,
        changed=[str(item.column) for item in meta.concrete_fields] if op == "update" else (),
        label=label,
        instance=True,
    )


_signs_as: ContextVar[str] = ContextVar("audit_signs_as", default="")


@contextmanager
def signing_as(process: str) -> Iterator[None]:
    """Everything recorded inside is signed by this part of a process that hosts two (`front`: web and gateway).

    It gives no power: Postgres takes a key id only from the role of the connection it is registered for (T01).
    """
    token = _signs_as.set(process)
    try:
        yield
    finally:
        _signs_as.reset(token)


@cache
def _keys(process: str) -> KeyRing:
    return KeyRing.from_settings(process)


def _sign(actor: Actor, entry: Entry, facts: ObjectFacts) -> SignedEvent:
    return build(
        keys=verifying_keys(),
        actor=actor,
        event=entry.event,
        target=facts,
        workspace_id=_workspace(actor, entry.target),
        reason=entry.reason,
        detail=entry.detail,
        context=entry.context,
        outcome=entry.outcome,
        risk=max(entry.risk, entry.event.risk) if entry.risk else None,
        gap=entry.gap,
    )


def _facts(entry: Entry) -> tuple[ObjectFacts, Altered | None]:
    """What the event says of its target, and what was wrong with the row before the change."""
    match target := entry.target:
        case Governed() | GovernedInstance():
            facts, former = target.take_change()
            return facts, _alteration(target, facts, former, entry.event) if former else None
        case RowChange():
            facts = ObjectFacts(
                type=target.type,
                id=target.id,
                rev=target.rev,
                op=target.op,
                changed=tuple(target.changed),
                state=target.state,
                label=target.label,
            )
        case Target():
            facts = ObjectFacts(type=target.type, id=target.id, label=target.label)
    return facts, None


def _alteration(row: Governed | GovernedInstance, facts: ObjectFacts, former: Former, event: Event) -> Altered | None:
    # The id from the facts: a row that was deleted has none any more.
    loaded = LoadedRow(facts.type, facts.id, getattr(row, "workspace_id", None), former.rev, former.state)
    problem = told_problem(loaded, former.told, verifying_keys())
    if not problem and former.state is None and event not in TAKES_AWAY:
        problem = "not all of its columns were loaded, so that nobody can say whether it was altered"
    if not problem:
        return None
    row.note_altered()
    return Altered(loaded, problem)


def _workspace(actor: Actor, target: Recordable) -> UUID | None:
    match target:
        case GovernedInstance():
            return None
        case RowChange() if target.instance:
            return None
        case Governed() if actor.workspace_id in {None, target.workspace_id}:
            # An actor of no workspace may found one: row security still wants it in scope.
            return target.workspace_id
        case Governed():
            raise PermissionDenied(message="The actor and what it changes are of different workspaces.")
        case _:
            return actor.workspace_id


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Refusals of one source and minute that one event tells."""

    source: str
    event: Event
    minute: datetime
    gap: int


def _count_refusal(source: str, event: Event) -> tuple[int, datetime]:
    """How many there are now, and the minute they are counted in, by the clock of the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO audit.refusal (source, minute, action, count, reported)
            VALUES (%s, date_trunc('minute', now()), %s, 1, 0)
            ON CONFLICT (source, minute, action) DO UPDATE SET count = refusal.count + 1
            RETURNING count, minute
            """,
            [source[:200], event.value],
        )
        count, minute = cursor.fetchone()
        return count, minute


def _tell(source: str, event: Event, count: int) -> int:
    """Mark the current minute's refusals as told; how many the event stands for beyond itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE audit.refusal AS refusal SET reported = %s
            FROM (SELECT reported FROM audit.refusal
                  WHERE source = %s AND minute = date_trunc('minute', now()) AND action = %s) AS before
            WHERE refusal.source = %s AND refusal.minute = date_trunc('minute', now()) AND refusal.action = %s
            RETURNING before.reported
            """,
            [count, source[:200], event.value, source[:200], event.value],
        )
        return count - int(cursor.fetchone()[0]) - 1


def _untold(event: Event) -> list[_Refusals]:
    """Take what earlier minutes counted of this type and did not tell, a bounded number at a time; those minutes go.

    Of this type alone: not every process may tell of the others.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM audit.refusal WHERE (source, minute, action) IN (
              SELECT source, minute, action FROM audit.refusal
              WHERE minute < date_trunc('minute', now()) AND action = %s ORDER BY minute LIMIT 50 FOR UPDATE SKIP LOCKED)
            RETURNING source, minute, count - reported
            """,
            [event.value],
        )
        rows = cursor.fetchall()
    return [_Refusals(source, event, minute, count - 1) for source, minute, count in rows if count > 0]


def _refusal_entry(refusals: _Refusals, facts: Mapping[str, Any]) -> Entry:
    minute = refusals.minute.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return Entry(
        event=refusals.event,
        target=Target("source", "anonymous"),
        detail={**facts, "source": refusals.source, "minute": minute, "count": refusals.gap + 1},
        outcome="blocked",
        gap=refusals.gap,
    )


def _anonymous(source: str) -> Actor:
    return Actor(kind=ActorKind.SYSTEM, id="anonymous", label="", workspace_id=None, via="door", ip=source)


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"
