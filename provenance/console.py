"""The console's frame: what stands in the navigation, who contributes to it, what each page's shell shows.

Apps register their links in `plugs.py`, so a lower floor's page can show a higher floor's without importing it.
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
class Link:
    """One link of the navigation. `route` is reversed with the workspace's slug; `count` says how many wait for the reader."""

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

_links: list[Link] = []
_notices: list[Callable[[Actor], list[str]]] = []
_seals: list[ShowSeal] = []


def register(link: Link) -> None:
    """Add a link to the navigation. Called in `plugs.py`; a route registers once."""
    if link.group not in GROUPS:
        raise ValueError(f"{link.group!r} is not a group of the navigation: {', '.join(GROUPS)}")
    if all(known.route != link.route for known in _links):
        _links.append(link)


def add_notice(tell: Callable[[Actor], list[str]]) -> None:
    """Let an app say on every page what somebody must look into. Called in `plugs.py`; a second time changes nothing."""
    if tell not in _notices:
        _notices.append(tell)


def show_seal(seal: ShowSeal) -> None:
    """Let the log say how it is: `seal(actor, slug)`, None for who may not know. Called in `plugs.py`."""
    _seals[:] = [seal]


def first_page(actor: Actor, slug: str) -> str:
    """Where a person lands in a workspace: the first link that they may follow. Raises `PermissionDenied` without one."""
    for link in sorted(_links, key=lambda link: (list(GROUPS).index(link.group), link.order)):
        if actor.may(link.permission):
            return reverse(link.route, args=[slug])
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
                _item(link, actor, slug, path)
                for link in sorted(_links, key=lambda link: link.order)
                if link.group == name and actor.may(link.permission)
            ],
        }
        for name, title in GROUPS.items()
    ]
    return [group for group in groups if group["items"]]


def _item(link: Link, actor: Actor, slug: str, path: str) -> dict[str, Any]:
    href = reverse(link.route, args=[slug])
    return {
        "label": link.label,
        "icon": link.icon,
        "href": href,
        "current": path.startswith(href),
        "phone": link.phone,
        "count": link.count(actor) if link.count else 0,
    }


def _seal(actor: Actor, slug: str) -> Seal | None:
    return next((seal(actor, slug) for seal in _seals), None)
