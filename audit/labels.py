"""What the actors and objects of events are called today, where the log does not say it: a port for upper floors.

Some rows have no name of their own, and a label goes with the detail that held it. A page names them by the rows that the
reader may see, so that what was erased of a person stays unnamed, and what is gone too. Nothing of this is signed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from string import Formatter
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from audit.models import AuditEvent
from audit.selectors import EventRow
from provenance.actor import Actor
from provenance.ids import as_uuid
from provenance.permissions import Permission

Namer = Callable[[Actor, Sequence[UUID]], Mapping[UUID, str]]
"""The names of those of the reader's rows with these ids that have one. Empty for who may not see such rows."""

_namers: dict[str, Namer] = {}


def register(object_type: str, namer: Namer) -> None:
    """Let a floor say what its rows are called, by their type in events. Called in `ready()`."""
    _namers[object_type] = namer


def rows(object_type: str, permission: Permission, query: Callable[[Actor], QuerySet[Any]], template: str) -> None:
    """Register rows that are called by columns of theirs, as in `{workflow__slug} v{number}`."""
    columns = [column for _text, column, _spec, _conversion in Formatter().parse(template) if column]

    def named(actor: Actor, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        if not actor.may(permission):
            return {}
        found = query(actor).filter(pk__in=ids).values("pk", *columns)
        return {row["pk"]: template.format_map(row) for row in found}

    register(object_type, named)


def with_names(actor: Actor, events: Iterable[EventRow]) -> list[EventRow]:
    """The same, each with the names of today where it lacks a label. One query for each type that lacks one."""
    found = list(events)
    lacking = {
        thing
        for row in found
        for thing, label in ((_actor(row.event), "actor_label"), (_object(row.event), "object_label"))
        if thing[0] in _namers and thing[1] and not row.facts.get(label)
    }
    names: dict[tuple[str, UUID | None], str] = {}
    for kind in {kind for kind, _id in lacking}:
        called = _namers[kind](actor, [id_ for one, id_ in lacking if one == kind and id_])
        names |= {(kind, id_): name for id_, name in called.items()}
    return [
        replace(row, actor_called=names.get(_actor(row.event), ""), object_called=names.get(_object(row.event), ""))
        for row in found
    ]


def name_of(actor: Actor, object_type: str, id_: str) -> str:
    """What one row is called; its id as it stands where nobody here says more."""
    known = as_uuid(id_)
    names = _namers[object_type](actor, [known]) if known and object_type in _namers else {}
    return next(iter(names.values()), id_)


def _actor(event: AuditEvent) -> tuple[str, UUID | None]:
    return event.actor_type, as_uuid(event.actor_id)


def _object(event: AuditEvent) -> tuple[str, UUID | None]:
    """What it is about; of a call the tool, which has a name."""
    if event.object_type == "tool_call":
        return "tool", as_uuid(event.context.get("tool", ""))
    return event.object_type, as_uuid(event.object_id)
