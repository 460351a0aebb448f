"""The console's frame: what stands in the navigation, who contributes to it, what each page's shell shows.

Apps register their places in `plugs.py`, so a lower floor's page can show a higher floor's entry without importing it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from provenance.actor import Actor
from provenance.errors import PermissionDenied
from provenance.permissions import Permission

GROUPS = {"work": "", "control": "Control", "evidence": "Evidence"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One entry of the navigation. `route` is reversed with the workspace's slug; `count` says how many wait for the reader."""

    group: str
    order: int
    label: str
    icon: str
    route: str
    permission: Permission
    phone: bool = False
    count: Callable[[Actor], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What the foot of the navigation says about the log, and the banner of every page where it is alarming."""

    title: str
    note: str
    icon: str
    tone: str
    href: str
    alarm: str = ""


ShowSeal = Callable[[Actor, str], Seal | None]

_places: list[Place] = []
_notices: list[Callable[[Actor], list[str]]] = []
_seals: list[ShowSeal] = []


def register(place: Place) -> None:
    """Add a place to the navigation. Called in `plugs.py`; a route registers once."""
    if place.group not in GROUPS:
        raise ValueError(f"{place.group!r} is not a group of the navigation: {', '.join(GROUPS)}")
    if all(known.route != place.route for known in _places):
        _places.append(place)


def add_notice(tell: Callable[[Actor], list[str]]) -> None:
    """Let an app say on every page what somebody must look into. Called in `plugs.py`; a second time changes nothing."""
    if tell not in _notices:
        _notices.append(tell)


def show_seal(seal: ShowSeal) -> None:
    """Let the log say how it is: `seal(actor, slug)`, None for who may not know. Called in `plugs.py`."""
    _seals[:] = [seal]


def first_page(actor: Actor, slug: str) -> str:
    """Where a person lands in a workspace: its first place that they may see. Raises `PermissionDenied` without one."""
    for place in sorted(_places, key=lambda place: (list(GROUPS).index(place.group), place.order)):
        if actor.may(place.permission):
            return reverse(place.route, args=[slug])
    raise PermissionDenied(
        message="Your roles show you nothing in this workspace. Ask an administrator for another one."
    )


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what `base.html` shows around a page inside a workspace. Empty outside of one."""
    workspace = getattr(request, "workspace", None)
    actor = getattr(request, "actor", None)
    if workspace is None or actor is None:
        return {}
    return {
        "console": {
            "workspace": workspace,
            "environment": getattr(workspace, "environment_label", ""),
            "home": reverse("workspaces:home", args=[workspace.slug]),
            # Counted only by a page that shows it: a piece for htmx and the page of a failure do not.
            "navigation": SimpleLazyObject(lambda: _groups(actor, workspace.slug, request.path)),
            "notices": SimpleLazyObject(lambda: [text for tell in _notices for text in tell(actor)]),
            "seal": SimpleLazyObject(lambda: _seal(actor, workspace.slug)),
        }
    }


def _groups(actor: Actor, slug: str, path: str) -> list[dict[str, Any]]:
    groups = [
        {
            "title": title,
            "items": [
                _item(place, actor, slug, path)
                for place in sorted(_places, key=lambda place: place.order)
                if place.group == name and actor.may(place.permission)
            ],
        }
        for name, title in GROUPS.items()
    ]
    return [group for group in groups if group["items"]]


def _item(place: Place, actor: Actor, slug: str, path: str) -> dict[str, Any]:
    href = reverse(place.route, args=[slug])
    return {
        "label": place.label,
        "icon": place.icon,
        "href": href,
        "current": path.startswith(href),
        "phone": place.phone,
        "count": place.count(actor) if place.count else 0,
    }


def _seal(actor: Actor, slug: str) -> Seal | None:
    return next((seal(actor, slug) for seal in _seals), None)
