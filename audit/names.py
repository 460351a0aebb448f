"""What people call things, so that the log can be searched by it: a port that each floor fills with its own kinds.

Labels lie in details of events, which can be erased and are not searched. A name is looked up among the rows that the
reader may see, the newest of each kind, and the log is asked for their ids, which its indexes know.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from audit import labels
from audit.selectors import PATIENCE_SECONDS, EventFilters, search
from provenance.actor import Actor
from provenance.api import Paging
from provenance.errors import NotFound
from provenance.ids import as_events_name, as_uuid, is_short_id, short_id
from provenance.permissions import Permission

MOST_LOOKED_AT = 2000
"""So many of the newest rows of a kind are looked at for a name."""
MOST_FOUND = 6
"""More than that are too many to look for at once."""
_OF_ACTORS = {"user": "member", "agent": "agent"}
"""Whose rows tell what an actor of a kind is called."""
LITERAL = "id"
"""The kind of what has no row: a part of the platform, or a page, under its name in events."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that events are about. `also`: keys of what else events about it name, such as its membership."""

    kind: str
    id: str
    name: str
    also: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What kind of thing it is, for people."""
        return "about" if self.kind == LITERAL else self.kind.replace("_", " ")

    @property
    def key(self) -> str:
        """How it stands in an address."""
        return f"{self.kind}:{self.id}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything that is looked for, as `EventFilters.about` has it."""
        return (self.key, *self.also)


Finder = Callable[[Actor, str, Sequence[UUID]], Iterable[Thing]]
"""The reader's things with these ids, or, without ids, those that the text names. Empty for who may not see such rows."""

_finders: dict[str, Finder] = {}


def register(kind: str, finder: Finder) -> None:
    """Let a floor say what it calls its things. Called in `plugs.py`."""
    _finders[kind] = finder


def rows(
    kind: str,
    permission: Permission,
    query: Callable[[Actor], QuerySet[Any]],
    *names: str,
    short: str = "",
    object_type: str = "",
) -> None:
    """Register rows that have their names in columns of their own.

    `short`: the letters of their short ids, if pages show them. `object_type`: theirs in events, where it is not the kind.
    """

    def find(actor: Actor, text: str, ids: Sequence[UUID]) -> Iterable[Thing]:
        if not actor.may(permission):
            return []
        found = query(actor).filter(pk__in=ids) if ids else named(query(actor), text, *names, short=short)
        # What has no name of its own is shown by its short id.
        called = found.values_list("pk", names[0] if names else "pk")
        return [Thing(kind, str(pk), name if names else short_id(short, pk)) for pk, name in called[:MOST_LOOKED_AT]]

    register(kind, find)
    if names:
        labels.rows(object_type or kind, permission, query, f"{{{names[0]}}}")


def newest(query: QuerySet[Any]) -> QuerySet[Any]:
    """So many rows as are looked at for a name."""
    return query.filter(pk__in=query.order_by("-pk").values("pk")[:MOST_LOOKED_AT])


def named(query: QuerySet[Any], text: str, *names: str, short: str = "") -> QuerySet[Any]:
    """The newest rows in one of whose columns the text stands, or whose short id it is."""
    if is_short_id(text.upper()):
        newest_ids = query.order_by("-pk").values_list("pk", flat=True)[:MOST_LOOKED_AT] if short else []
        return query.filter(pk__in=[pk for pk in newest_ids if short_id(short, pk) == text.upper()])
    holds = [Q((f"{name}__icontains", text)) for name in names]
    return newest(query).filter(reduce(or_, holds)) if holds else query.none()


def find(actor: Actor, text: str, kind: str = "") -> list[Thing]:
    """What the text names, of one kind or of any: what is called exactly so, else all whose name holds it."""
    text = text.strip()
    # What no name can hold, Postgres would refuse with an error.
    if not text or not text.isprintable():
        return []
    wanted = {kind: _finders[kind]} if kind in _finders else _finders
    found = [thing for finder in wanted.values() for thing in finder(actor, text, [])]
    exact = [thing for thing in found if thing.name.casefold() == text.casefold()]
    return sorted(exact or found, key=lambda thing: (thing.kind, thing.name)) or _literal(actor, text)


def known(actor: Actor, keys: Iterable[str]) -> list[Thing]:
    """What `Thing.key` told, in that order. What is not there any more, or is not shown to the reader, keeps its id as its name."""
    wanted = [key.partition(":")[::2] for key in keys]
    found: dict[tuple[str, str], Thing] = {}
    for kind in {kind for kind, _id in wanted} & _finders.keys():
        ids = [UUID(id_) for one, id_ in wanted if one == kind and is_uuid(id_)]
        found |= {(thing.kind, thing.id): thing for thing in (_finders[kind](actor, "", ids) if ids else [])}
    return [found.get((kind, id_), Thing(kind, id_, id_)) for kind, id_ in wanted]


def subject(actor: Actor, kind: str, text: str) -> str:
    """The id that events hold of a `user` or an `agent`, whom the text names by an id in any spelling or by a name.

    Raises `NotFound` with what to do, as it does for an id of nobody of whom rows or events know.
    """
    of_rows = _OF_ACTORS[kind]
    id_ = as_events_name(text)
    if not is_uuid(id_):
        found = [thing for thing in find(actor, text, of_rows) if thing.kind == of_rows]
        if len(found) == 1:
            return found[0].id
        if found:
            raise NotFound(f"{text[:64]!r} names {len(found)} {of_rows}s here. Use the id of the one that you mean.")
    elif known(actor, [f"{of_rows}:{id_}"])[0].name != id_ or _is_told_of(actor, f"{kind}:{id_}"):
        return id_
    raise NotFound(
        f"There is no {of_rows} {text[:64]!r} that you may see, and the log holds nothing about one. Use its id, or its "
        f"name if you may read {of_rows}s."
    )


def kinds() -> list[str]:
    """What can be looked for by name."""
    return sorted(_finders)


def _literal(actor: Actor, text: str) -> list[Thing]:
    """The text itself, where a recent event names exactly that: parts of the platform have names and no rows."""
    thing = Thing(LITERAL, text, text)
    return [thing] if _is_told_of(actor, thing.key) else []


def _is_told_of(actor: Actor, key: str) -> bool:
    about = EventFilters(about=[key])
    told, _cursor = search(actor=actor, filters=about, paging=Paging(limit=1), patience_seconds=PATIENCE_SECONDS)
    return bool(told)


def is_uuid(text: str) -> bool:
    """Whether something may have this id. What that is, and whether it belongs here, is known above the log."""
    return as_uuid(text) is not None
