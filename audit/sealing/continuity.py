"""Does this database continue what was published? Asked of every place that kept checkpoints, before the sealer begins.

What a break is and how one is found is `audit.epochs`; here is who is asked, and what a person reads who must decide.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from audit.anchors import Anchor, AnchorFailed, Place, readable
from audit.anchors.couriers import lost_since
from audit.epochs import Break
from audit.notes import BadNote
from audit.sealing import sql

ANCHOR_SECONDS = 10
"""How long a start waits for an anchor to say what it kept."""

logger = logging.getLogger(__name__)

Tell = Callable[[str, str, str], None]
"""`tell(name, where, problem)` stores the event of a place that fails."""


def published(connection: psycopg.Connection[Any], places: Iterable[Place], tell: Tell) -> list[str]:
    """The notes that the places have kept. One that cannot say it holds nobody up: that is told, and shows."""
    found: list[str] = []
    for place in readable(places):
        kept = _kept_by(place)
        if isinstance(kept, AnchorFailed):
            tell(place.name, place.where, str(kept))
            continue
        if lost := lost_since(connection, place, kept):
            tell(place.name, place.where, lost)
        elif not kept and connection.execute(sql.ANY_PUBLISHED).fetchone():
            logger.warning(
                "the anchor %s holds no checkpoint though some were published: it is new or was emptied", place.where
            )
        found += kept.values()
    return found


def refusal(look: Callable[[], Sequence[Break]]) -> str:
    """Why this database must not be sealed on; empty when it continues what was published."""
    try:
        found = look()
    except BadNote as problem:
        return f"{problem}. Put the key of the log back, or find out who wrote into the anchor."
    if not found:
        return ""
    more = f" and {len(found) - 1} other logs too" if len(found) > 1 else ""
    return (
        f"The database does not continue what was published: {found[0].problem}{more}. Restore a newer backup; or, "
        'when this is the newest there is, run `./manage.py start-epoch --reason "…"` on the host of the sealer.'
    )


def _kept_by(place: Anchor) -> dict[str, str] | AnchorFailed:
    answer: list[dict[str, str] | AnchorFailed] = []

    def ask() -> None:
        try:
            answer.append(place.newest())
        except AnchorFailed as failure:
            answer.append(failure)

    # A place that hangs must not keep the log from being sealed.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANCHOR_SECONDS)
    return answer[0] if answer else AnchorFailed(f"{place.where} does not answer")
