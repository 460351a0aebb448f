"""The timeline that the database is on, and saying that what an earlier one may have lost was looked into (T27).

On the host alone, as the migrator: nobody who runs may say so.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from audit.envelope import ObjectFacts, build, storing
from audit.schema.timelines import SYSTEM, TIMELINE
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where the database is. `is_sealed`: a sealer found that it continues what was published, and went on here."""

    system_id: int
    name: str
    is_reconciled: bool
    is_sealed: bool

    @property
    def id(self) -> str:
        """What its event calls it."""
        return f"{self.system_id}/{self.name}"


def here(connection: psycopg.Connection[Any]) -> Timeline:
    """The timeline of this connection's server."""
    return Timeline(*connection.execute(_HERE).fetchall()[0])


def mark_reconciled(connection: psycopg.Connection[Any], keys: KeyRing, timeline: Timeline, *, reason: str) -> None:
    """Let calls that must happen once start on it again. Raises psycopg.Error; then nothing was stored."""
    event = build(
        keys=keys,
        actor=Actor.system("audit.reconcile", None),
        event=Event.AUDIT_TIMELINE_RECONCILED,
        target=ObjectFacts(type="database_timeline", id=timeline.id),
        workspace_id=None,
        reason=reason,
    )
    with connection.transaction():
        connection.execute(*storing([event]))
        connection.execute(_MARK, [timeline.system_id, timeline.name])


_HERE = f"""
SELECT here.system_id, here.timeline,
       EXISTS (SELECT FROM audit.timeline AS known
               WHERE known.system_id = here.system_id AND known.timeline = here.timeline),
       EXISTS (SELECT FROM audit.sealer AS sealed
               WHERE sealed.system_id = here.system_id AND sealed.timeline = here.timeline)
FROM (SELECT {SYSTEM}, {TIMELINE}) AS here (system_id, timeline)
"""  # noqa: S608  composed of constants
_MARK = "INSERT INTO audit.timeline (system_id, timeline) VALUES (%s, %s)"
