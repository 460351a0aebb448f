"""Reading the log: search, count, and the timelines of runs, members and agents."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from audit import belongings
from audit.clocks import CLOCK_TOLERANCE
from audit.finding import Finding
from audit.models import AuditDetail, AuditEvent
from audit.months import Stretch, Walk, month_floors
from audit.taxonomy import Event
from audit.tree import django_tree
from provenance.actor import Actor
from provenance.api import Paging, cursor_after
from provenance.db import database_now
from provenance.errors import Invalid, NotFound
from provenance.ids import as_events_name, as_uuid, is_short_id, short_id, uuid7_floor, uuid7_time
from provenance.permissions import Permission
from provenance.risk import Risk

PATIENCE_SECONDS = 0.02
"""How long a page looks for events that are rare before it says how far it looked."""
COUNTING_SECONDS = 0.01
"""How much longer it counts them: what the search did not need is added."""
_LONGEST_TIMELINE = 5000
_SHORT_PREFIXES = {"run": "R", "approval": "AP", "approval_request": "AP", "audit_event": "E"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilters:
    """What to look for; everything that is given must hold. Times are of the event's id, `until` excluded.

    `about`: things as `kind:id`; events that any of them did, that were done to it, or to what belongs to it. `before`: events with a smaller id alone, so that what a screen showed can be named. `actions` names types (`run.failed`), whole domains (`run`), or what happened in any (`approved`). `risk` finds that class and every worse one.
    """

    since: datetime | None = None
    until: datetime | None = None
    actions: Sequence[str] = ()
    actor_type: str = ""
    actor_id: str = ""
    object_type: str = ""
    object_id: str = ""
    run_id: UUID | None = None
    risk: Risk | None = None
    outcome: str = ""
    about: Sequence[str] = ()
    before: UUID | None = None

    @property
    def subjects(self) -> list[str]:
        """The ids of what the events are `about`."""
        return [thing.partition(":")[2] for thing in self.about]

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "EventFilters":
        """What `described` told. Raises ValueError for anything else."""
        try:
            values = {**described}
            for name, value in values.items():
                texts = value if name in {"actions", "about"} else [value]
                if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"{name} is no filter")
            for name in {"since", "until"} & values.keys():
                values[name] = datetime.fromisoformat(values[name])
            for name in {"run_id", "before"} & values.keys():
                values[name] = UUID(values[name])
            if "risk" in values:
                values["risk"] = Risk(values["risk"])
            return cls(**values)
        except TypeError as error:
            raise ValueError("these are no filters") from error

    def described(self) -> dict[str, Any]:
        """The filters in force, for a manifest or a log."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: _plain(value) for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event with its erasable facts (`{}` once erased, or where none were kept), and its place in the log.

    `log_index` is None where the sealer has not come to it, and where nobody asked for it. `actor_called` and
    `object_called` are names of today, for a page that asked `audit.labels` because the facts hold none.
    """

    event: AuditEvent
    facts: dict[str, Any] = field(default_factory=dict)
    log_id: int | None = None
    log_index: int | None = None
    actor_called: str = ""
    object_called: str = ""

    @property
    def actor_label(self) -> str:
        """What people call the actor; its opaque id once the label is erased."""
        return str(self.facts.get("actor_label") or self.event.actor_id)

    @property
    def object_label(self) -> str:
        """What people call the object; its opaque id where no label was kept."""
        return str(self.facts.get("object_label") or self.event.object_id)

    @property
    def actor_name(self) -> str:
        """The actor for a page: a label, a name of today, or the short form of its id."""
        label = self.facts.get("actor_label") or self.actor_called or self.event.actor_id
        return shown_name(str(label), self.event.actor_type)

    @property
    def object_name(self) -> str:
        """The object for a page: the step's name, what the log is of, a label, a name of today, or the short form of its id."""
        if self.event.object_type == "step" and (step := self.event.context.get("step")):
            return str(step)
        if self.object_label == str(self.event.workspace_id):
            return "this workspace"
        label = self.facts.get("object_label") or self.object_called or self.event.object_id
        return shown_name(str(label), self.event.object_type)

    @property
    def reason(self) -> str:
        """Why, in the words of whoever did it."""
        return str(self.facts.get("reason") or "")

    @property
    def at(self) -> datetime:
        """When, as signed; by the id where the signed text does not say it."""
        try:
            return datetime.fromisoformat(self.event.signed["at"])
        except (KeyError, TypeError, ValueError):
            return uuid7_time(self.event.pk)


@dataclass(frozen=True, slots=True)
class Count:
    """How many events were counted, and whether there may be more."""

    number: int
    is_more: bool


def search(
    *, actor: Actor, filters: EventFilters, paging: Paging, patience_seconds: float | None = None
) -> tuple[list[EventRow], str | None]:
    """A page of events, newest first, and the cursor of the next page (None at the end).

    With a patience, a search for what is rare ends before its page is full: then the cursor goes on where it stopped.
    """
    actor.require(Permission.AUDIT_READ)
    finding = _finding(actor, filters)
    walk = _walk(filters, finding, _months(), patience_seconds, before=paging.before)
    return _search(actor, finding, paging, walk)


def _search(actor: Actor, finding: Finding, paging: Paging, walk: Walk) -> tuple[list[EventRow], str | None]:
    events = list[AuditEvent]()
    for stretch in walk:
        events += finding.newest(stretch, paging.limit + 1 - len(events))
        if len(events) > paging.limit:
            return _with_places(actor, events[: paging.limit]), cursor_after(events[paging.limit - 1].pk)
    return _with_places(actor, events), cursor_after(walk.rest) if walk.rest else None


def count(*, actor: Actor, filters: EventFilters, at_most: int, patience_seconds: float | None = None) -> Count:
    """How many events the filters find. Counting stops at `at_most`, and where the patience ends."""
    actor.require(Permission.AUDIT_READ)
    finding = _finding(actor, filters)
    return _count(finding, at_most, _walk(filters, finding, _months(), patience_seconds))


def _count(finding: Finding, at_most: int, walk: Walk, counted: int = 0) -> Count:
    number = counted
    for stretch in walk:
        number += finding.count(stretch, at_most + 1 - number)
        if number > at_most:
            return Count(at_most, is_more=True)
    return Count(number, is_more=walk.rest is not None)


def count_newer(*, actor: Actor, filters: EventFilters, after: UUID, at_most: int) -> int:
    """How many events came after that one, as far as the filters find them. What the actor's own reading adds is none."""
    actor.require(Permission.AUDIT_READ)
    own = Q(action=Event.AUDIT_VIEWED.value, actor_id=actor.id)
    end = uuid7_floor(database_now() + 2 * CLOCK_TOLERANCE)
    newer = Stretch(UUID(int=after.int + 1), end)
    return _finding(actor, filters, without=own).count(newer, at_most)


def search_and_count(
    *, actor: Actor, filters: EventFilters, paging: Paging, at_most: int
) -> tuple[list[EventRow], str | None, Count]:
    """A page for a person, who would rather read how far it looked than wait: `search` and `count` with patience."""
    actor.require(Permission.AUDIT_READ)
    months, began, finding = _months(), time.monotonic(), _finding(actor, filters)
    walk = _walk(filters, finding, months, PATIENCE_SECONDS, before=paging.before)
    rows, cursor = _search(actor, finding, paging, walk)
    if paging.before is None and len(rows) < paging.limit:
        # What was found is all there is, or all there was time for: counting would look at the same again.
        return rows, cursor, Count(len(rows), is_more=cursor is not None)
    left = PATIENCE_SECONDS + COUNTING_SECONDS - (time.monotonic() - began)
    # What is on the screen is counted already.
    counted, before = (len(rows), rows[-1].event.pk) if paging.before is None else (0, None)
    walk = _walk(filters, finding, months, left, before=before)
    return rows, cursor, _count(finding, at_most, walk, counted)


def _months() -> tuple[UUID, list[UUID]]:
    """Where the log ends now, and the months that it has."""
    return uuid7_floor(database_now() + 2 * CLOCK_TOLERANCE), month_floors()


def _walk(
    filters: EventFilters,
    finding: Finding,
    months: tuple[UUID, list[UUID]],
    patience_seconds: float | None,
    before: UUID | None = None,
) -> Walk:
    """Through the months in which the filters can find something."""
    end, floors = months
    ends = [end, before, filters.before, uuid7_floor(filters.until) if filters.until else None]
    firsts = [
        uuid7_floor(filters.since) if filters.since else None,
        _before(filters.run_id) if filters.run_id else None,
        _before_things(filters.subjects),
    ]
    return Walk(
        end=min(bound for bound in ends if bound),
        floors=floors,
        first=max((bound for bound in firsts if bound), default=None),
        patience_seconds=patience_seconds,
        cut=finding.cut,
    )


def _before(made: UUID) -> UUID:
    """Nothing of a run is older than its id, nor of another thing: the months before it are not looked into."""
    # In whole milliseconds and not as a date: whoever asks may name a run of the year 10889.
    milliseconds = (made.int >> 80) - 2 * CLOCK_TOLERANCE // timedelta(milliseconds=1)
    return UUID(int=max(0, milliseconds) << 80)


def _before_things(subjects: Sequence[str]) -> UUID | None:
    ids = [as_uuid(subject) for subject in subjects]
    made = [id_ for id_ in ids if id_ and id_.version == 7]
    # The id of any other tells no time.
    return _before(min(made)) if made and len(made) == len(ids) else None


def run_timeline(*, actor: Actor, run_id: UUID) -> list[EventRow]:
    """Everything the log holds about a run, oldest first. Whoever may see the run may see this."""
    actor.require(Permission.RUNS_READ)
    events = AuditEvent.objects.for_actor(actor).filter(run_id=run_id, pk__gte=_before(run_id))
    return _with_facts(actor, events.order_by("pk")[:_LONGEST_TIMELINE])


def timeline(*, actor: Actor, kind: str, subject: str, paging: Paging) -> tuple[list[EventRow], str | None]:
    """Everything the log holds about a run, a member or an agent, newest first, and the cursor of the next page.

    `kind`: `run`, `user` or `agent`. Of a member and an agent both what they did and what was done to them is there.
    """
    if "\0" in subject:
        raise NotFound("The log holds nothing about that.")
    if kind == "run":
        return search(actor=actor, filters=EventFilters(run_id=_run(subject)), paging=paging)
    did, _ = search(actor=actor, filters=EventFilters(actor_type=kind, actor_id=subject), paging=paging.one_more())
    done, _ = search(actor=actor, filters=EventFilters(object_type=kind, object_id=subject), paging=paging.one_more())
    rows = sorted({row.event.pk: row for row in (*did, *done)}.values(), key=lambda row: row.event.pk, reverse=True)
    more = len(rows) > paging.limit
    return rows[: paging.limit], cursor_after(rows[paging.limit - 1].event.pk) if more else None


def _run(subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError:
        raise NotFound("There is no such run here.") from None


def _finding(actor: Actor, filters: EventFilters, without: Q | None = None) -> Finding:
    """How to look for what the filters find; `without`: what is left out all the same."""
    events = filtered(actor, replace(filters, about=()))
    if without is not None:
        events = events.exclude(without)
    subjects = filters.subjects
    return Finding.about(events, subjects, belongings.of(actor, filters.about)) if subjects else Finding(events)


def filtered(actor: Actor, filters: EventFilters) -> QuerySet[AuditEvent]:
    """The actor's events that the filters find, in no order. Only operators that keep their index under row security."""
    found = AuditEvent.objects.for_actor(actor)
    exact = {
        "actor_type": filters.actor_type,
        "actor_id": filters.actor_id,
        "object_type": filters.object_type,
        "object_id": filters.object_id,
        "run_id": filters.run_id,
        "outcome": filters.outcome,
    }
    found = found.filter(**{name: value for name, value in exact.items() if value})
    if subjects := filters.subjects:
        named = Q(actor_id__in=subjects) | Q(object_id__in=subjects)
        belonging = [rows.events() for rows in belongings.of(actor, filters.about)]
        found = found.filter(reduce(or_, belonging, named))
    if filters.actions:
        found = found.filter(action__in=_expanded(filters.actions))
    if filters.risk:
        found = found.filter(risk__in=[risk.value for risk in Risk if risk >= filters.risk])
    if filters.since:
        found = found.filter(pk__gte=uuid7_floor(filters.since))
    if filters.until:
        found = found.filter(pk__lt=uuid7_floor(filters.until))
    if filters.before:
        found = found.filter(pk__lt=filters.before)
    return found


def _expanded(actions: Sequence[str]) -> list[str]:
    """Parts of types replaced by the types. A prefix search would not be leakproof, and slow under row security (T14)."""
    wanted = set(actions)
    return sorted({event.value for event in Event if {event.domain, event.verb} & wanted} | wanted)


def _with_facts(actor: Actor, events: Iterable[AuditEvent]) -> list[EventRow]:
    rows = list(events)
    details = AuditDetail.objects.for_actor(actor).in_bulk([event.pk for event in rows])
    return [EventRow(event, details[event.pk].facts if event.pk in details else {}) for event in rows]


def _with_places(actor: Actor, events: Sequence[AuditEvent]) -> list[EventRow]:
    rows = _with_facts(actor, events)
    places = django_tree().positions([event.pk for event in events])
    return [
        replace(row, log_id=places[row.event.pk][0], log_index=places[row.event.pk][1])
        if row.event.pk in places
        else row
        for row in rows
    ]


def held_id(text: str) -> str:
    """An id as events hold it, of one as addresses have it (`usr_…`) or as events name it.

    A short name (`R-8K2QX`) raises `Invalid`: looking for it would find nothing, and read like an answer.
    """
    text = text.strip()
    if is_short_id(text):
        raise Invalid(
            f"{text} is a short name, and several things may have it. Use the whole id, from the address of its page."
        )
    return as_events_name(text)


def shown_name(label: str, kind: str) -> str:
    """The label; where it is a bare id, the short form that pages show for such objects."""
    try:
        value = UUID(label)
    except ValueError:
        return label
    return short_id(_SHORT_PREFIXES.get(kind, kind[:1].upper()), value)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case list() | tuple():
            return list(value)
        case _:
            return value
