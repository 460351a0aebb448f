"""How the log is searched within a stretch of ids: along one index, or for things along several at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from audit.belongings import Belonging
from audit.models import AuditEvent
from audit.months import Stretch

AT_ONCE = 2000
"""So many of the newest events are asked at once what they belong to: a month may have more than a page can wait for."""

Way = Callable[[QuerySet[AuditEvent], int], QuerySet[Any]]
"""To the ids (`found`) of the newest of some events, at most so many, along one index."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Events that filters find; with `ways`, those of them to which one leads.

    `asked`: all the events of which each is asked something, so that a stretch of them is cut.
    """

    events: QuerySet[AuditEvent]
    ways: Sequence[Way] = ()
    asked: QuerySet[AuditEvent] | None = None

    @classmethod
    def about(cls, events: QuerySet[AuditEvent], subjects: Sequence[str], belongings: Sequence[Belonging]) -> "Finding":
        """What the subjects did, what was done to them and to what belongs to them."""
        if any(belonging.is_many() for belonging in belongings):
            rows = {f"row_{number}": belonging.row_of_event() for number, belonging in enumerate(belongings)}
            theirs = Q(actor_id__in=subjects) | Q(object_id__in=subjects)
            theirs = reduce(or_, (Q((f"{row}__isnull", False)) for row in rows), theirs)
            return cls(events.alias(**rows).filter(theirs), asked=events)
        by_index = [_by(field, subject) for field in ("actor_id", "object_id") for subject in subjects]
        return cls(events, [*by_index, *(belonging.of_each_row for belonging in belongings)])

    def newest(self, stretch: Stretch, limit: int) -> list[AuditEvent]:
        """At most so many, the newest first."""
        events = _within(self.events, stretch)
        if self.ways:
            # Asked for one or another, Postgres would read all of them to sort them.
            found = self._found(events, limit).order_by("-found")[:limit]
            events = events.filter(pk__in=[row["found"] for row in found])
        return list(events.order_by("-pk")[:limit])

    def count(self, stretch: Stretch, at_most: int) -> int:
        """How many there are, counted up to so many."""
        events = _within(self.events, stretch)
        return (self._found(events, at_most) if self.ways else events)[:at_most].count()

    def cut(self, stretch: Stretch) -> UUID | None:
        """Where the newest part of a stretch begins that can be looked through at once; None for all of it."""
        if self.asked is None:
            return None
        newest = _within(self.asked, stretch).order_by("-pk").values_list("pk", flat=True)
        return next(iter(newest[AT_ONCE : AT_ONCE + 1]), None)

    def _found(self, events: QuerySet[AuditEvent], limit: int) -> QuerySet[Any]:
        first, *others = (way(events, limit) for way in self.ways)
        return first.union(*others)


def _by(field: str, value: str) -> Way:
    def newest(events: QuerySet[AuditEvent], limit: int) -> QuerySet[Any]:
        return events.filter(**{field: value}).order_by("-pk").values(found=F("pk"))[:limit]

    return newest


def _within(events: QuerySet[AuditEvent], stretch: Stretch) -> QuerySet[AuditEvent]:
    return events.filter(pk__gte=stretch.first, pk__lt=stretch.end)
