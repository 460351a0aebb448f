"""What a halt may name: a port that each floor fills with its own kinds, so that one name leads to one id everywhere."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from provenance.errors import NotFound
from provenance.ids import parse_public_id
from workspaces.models import Environment

Finder = Callable[[UUID, str], str | None]


def _own_workspace(workspace_id: UUID, name: str) -> str | None:
    # A halt of everything is always one's own: another tenant's id, and its short name, name nothing here.
    return str(workspace_id) if name == str(workspace_id) else None


def _environment(workspace_id: UUID, name: str) -> str | None:
    # Runs and keys carry an environment by its name, which never changes.
    return name if Environment.objects.for_workspace(workspace_id).filter(name=name).exists() else None


_finders: dict[str, Finder] = {"workspace": _own_workspace, "environment": _environment}


def register(kind: str, finder: Finder) -> None:
    """Let a floor find what a halt of this kind names: `finder(workspace_id, name)` gives its id. Called in `plugs.py`."""
    _finders[kind] = finder


def resolved(workspace_id: UUID, kind: str, name: str) -> str | None:
    """The one id that stands for this thing in halts, or None when there is no such thing in the workspace."""
    # What no name can hold, Postgres would refuse with an error.
    return _finders[kind](workspace_id, name) if name and name.isprintable() else None


def id_of(rows: QuerySet[Any], prefix: str, name: str, /, **by_name: str) -> str | None:
    """The id of the row that `name` means: an id, a public id such as `agt_…`, or what `by_name` looks it up by."""
    known = _id(prefix, name)
    found = rows.filter(pk=known) if known else rows.filter(**by_name)
    value = found.values_list("pk", flat=True).first()
    return str(value) if value else None


def _id(prefix: str, name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        pass
    try:
        return parse_public_id(prefix, name)
    except NotFound:
        return None
