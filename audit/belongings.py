"""What belongs to a thing and has ids of its own: the runs of a workflow, the calls of a tool. A port for upper floors.

Events name what they are about and not all that it belongs to, because each column more would cost every event an index.
Rows know it, and the log is searched by them in the same statement: a hundred thousand runs are no list of ids, and which
way is shorter, from the newest events or from the rows, Postgres decides (docs/decisions/0022).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from provenance.actor import Actor
from provenance.db import TenantQuerySet
from provenance.ids import as_uuid

Field = Literal["object_id", "run_id"]


@dataclass(frozen=True, slots=True)
class _Belonging:
    rows: Callable[[Actor], TenantQuerySet]
    by: str
    named: str
    field: Field

    def events(self, actor: Actor, of: Sequence[UUID]) -> Q:
        """Those whose column has the id of one of the rows."""
        found: QuerySet[Any] = self.rows(actor).filter(**{f"{self.by}__in": of, f"{self.named}__isnull": False})
        if self.field == "object_id":
            return Q(object_id__in=found.annotate(told=Cast(self.named, TextField())).values("told"))
        return Q(run_id__in=found.values(self.named))


_known: dict[str, list[_Belonging]] = {}


def register(
    kind: str, rows: Callable[[Actor], TenantQuerySet], by: str, *, named: str = "pk", field: Field = "object_id"
) -> None:
    """Let a floor say which rows belong to its things. Called in `ready()`.

    `by`: the column that says to which of them. `named`: the one whose value events have in their `field`.
    """
    _known.setdefault(kind, []).append(_Belonging(rows, by, named, field))


def of(actor: Actor, keys: Iterable[str]) -> list[list[Q]]:
    """Events about what belongs to any of the things, as `names.Thing.key` tells them, in parts for each kind of thing.

    Parts of a kind have no event in common, each follows an index: asked for one or another, Postgres would read all
    events. Whoever may read the log may read them, also who may not see the rows.
    """
    wanted: dict[str, list[UUID]] = {}
    for kind, _, id_ in (key.partition(":") for key in keys):
        if kind in _known and (known := as_uuid(id_)):
            wanted.setdefault(kind, []).append(known)
    return [[belonging.events(actor, ids) for belonging in _known[kind]] for kind, ids in wanted.items()]
