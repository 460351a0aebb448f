"""What belongs to a thing and has ids of its own: the runs of a workflow, the calls of a tool. A port for upper floors.

Events name what they are about and not all that it belongs to, because each column more would cost every event an index.
Rows know it, and the log is searched by them: of few rows the events of each are looked up, of many the newest events are
asked one by one whether they are theirs. Postgres left to choose would read a month to answer (docs/decisions/0022).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, F, Func, OuterRef, Q, QuerySet, Subquery, TextField, UUIDField, When
from django.db.models.functions import Cast

from audit.models import AuditEvent
from provenance.actor import Actor
from provenance.db import TenantQuerySet
from provenance.ids import as_uuid

MANY = 1000
"""Looking up the events of so many rows takes a quarter of the time that a page may take."""
_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class _Each(Func):
    """The elements of an array, each as a row."""

    function = "unnest"
    set_returning = True
    output_field = UUIDField()


@dataclass(frozen=True, slots=True)
class Belonging:
    """Rows that belong to some things.

    Events name one of them by what it has in `named`: as what they are about, of the type `about`; as their run without.
    """

    rows: QuerySet[Any]
    named: str
    about: str

    def is_many(self) -> bool:
        """Whether there are too many rows to look up the events of each."""
        return self.rows.values(self.named)[: MANY + 1].count() > MANY

    def events(self) -> Q:
        """Its events, for who reads all of a range anyway."""
        return self._named_by(self.rows.values(told=self._told), lookup="__in")

    def of_each_row(self, events: QuerySet[AuditEvent], limit: int) -> QuerySet[Any]:
        """The ids (`found`) of the newest of these events that are about one of the rows, looked up for each row."""
        of_row = events.filter(self._named_by(OuterRef("told"))).order_by("-pk").values("pk")[:limit]
        rows = self.rows.annotate(told=self._told)
        found: QuerySet[Any] = rows.values(found=_Each(ArraySubquery(of_row))).order_by("-found")
        return found[:limit]

    def row_of_event(self) -> Case | Subquery:
        """The row that an event is about, and NULL for another event.

        A value and not EXISTS, which Postgres would turn into a join with all rows. Of the event's text an id is made and
        not of the row's id a text, which row security would keep from being sought in an index.
        """
        if not self.about:
            return Subquery(self.rows.filter(**{self.named: OuterRef("run_id")}).values("pk")[:1])
        row = self.rows.filter(**{self.named: Cast(OuterRef("object_id"), UUIDField())}).values("pk")[:1]
        # In this order: nearly all events are of another type, and looking at the text costs more.
        return Case(When(Q(object_type=self.about) & Q(object_id__regex=_UUID), then=Subquery(row)))

    def _named_by(self, value: Any, lookup: str = "") -> Q:
        if not self.about:
            return Q((f"run_id{lookup}", value))
        return Q((f"object_id{lookup}", value)) & Q(object_type=self.about)

    @property
    def _told(self) -> Cast | F:
        return Cast(self.named, TextField()) if self.about else F(self.named)


@dataclass(frozen=True, slots=True)
class _Known:
    rows: Callable[[Actor], TenantQuerySet]
    by: str
    named: str
    about: str

    def of(self, actor: Actor, things: Sequence[UUID]) -> Belonging:
        rows = self.rows(actor).filter(**{f"{self.by}__in": things, f"{self.named}__isnull": False})
        return Belonging(rows, self.named, self.about)


_known: dict[str, list[_Known]] = {}


def register(
    kind: str, rows: Callable[[Actor], TenantQuerySet], by: str, *, about: str = "", named: str = "pk"
) -> None:
    """Let a floor say which rows belong to its things. Called in `ready()`.

    `by`: the column that says to which of them. `about` and `named`: as `Belonging` has them.
    """
    _known.setdefault(kind, []).append(_Known(rows, by, named, about))


def of(actor: Actor, keys: Iterable[str]) -> list[Belonging]:
    """What belongs to any of the things, as `names.Thing.key` tells them.

    Whoever may read the log may read events about it, also who may not see the rows.
    """
    wanted: dict[str, list[UUID]] = {}
    for kind, _, id_ in (key.partition(":") for key in keys):
        if kind in _known and (known := as_uuid(id_)):
            wanted.setdefault(kind, []).append(known)
    return [known.of(actor, things) for kind, things in wanted.items() for known in _known[kind]]
