"""The watch over the log, kept by the one worker that leads: do the walls stand, and is the log sealed?

What it finds wrong becomes an event of the instance log, at most once an hour for each kind, and a line for operators;
that the walls stand becomes one every hour.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from audit.condition import condition
from audit.envelope import Outcome
from audit.services import Target, record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import ask
from provenance.readiness import look

GUARDS_EVERY = timedelta(hours=1)
SEALING_EVERY = timedelta(seconds=10)
STALLED_AFTER = timedelta(seconds=60)
TOLD_EVERY = timedelta(hours=1)
MOST_TOLD = 20

logger = logging.getLogger(__name__)


class Watch:
    """Called at every sweep; looks when it is time, and leaves that it looked where pages and probes see it."""

    def __init__(self) -> None:
        self._guards_at: datetime | None = None
        self._sealing_at: datetime | None = None
        self._told: dict[Event, datetime] = {}
        self._waiting: tuple[UUID, datetime] | None = None

    def __call__(self, now: datetime) -> None:
        """One sweep. `now` is the database's time."""
        if _is_due(self._sealing_at, now, SEALING_EVERY):
            self._sealing_at = now
            self.look_at_sealing(now)
            ask("SELECT audit.watched()")
        if _is_due(self._guards_at, now, GUARDS_EVERY):
            self.look_at_guards(now)
            # Only now: what could not be looked at is looked at again at the next sweep.
            self._guards_at = now

    def look_at_guards(self, now: datetime) -> None:
        """Compare the walls with the code, as readiness does, and tell how that came out.

        That all was well is told too: an hour in which nothing is said is one in which nobody looked.
        """
        found = look()
        if found.problems:
            facts = {"count": len(found.problems), "problems": found.problems[:MOST_TOLD]}
            self._tell(Event.AUDIT_GUARD_MISSING, now, facts)
        else:
            _record(Event.AUDIT_GUARD_CHECKED, {"walls": found.walls}, "success")

    def look_at_sealing(self, now: datetime) -> None:
        """Tell when the same event has waited for the sealer for a minute, or when there is no sealer."""
        found = condition()
        if found.waiting is None:
            self._waiting = None
        elif self._waiting is None or self._waiting[0] != found.waiting:
            # Since when it waits is not in its id: it may have been committed just now.
            self._waiting = (found.waiting, now)
        problem = found.lag
        if self._waiting is not None and now - self._waiting[1] >= STALLED_AFTER:
            problem = problem or f"The event {self._waiting[0]} is not sealed after {now - self._waiting[1]}."
        if problem:
            self._tell(Event.AUDIT_SEALING_STALLED, now, {"problem": problem})

    def _tell(self, event: Event, now: datetime, facts: dict[str, object]) -> None:
        if not _is_due(self._told.get(event), now, TOLD_EVERY):
            return
        logger.error("%s %s", event.sentence, facts)
        _record(event, facts, "failure")
        self._told[event] = now


def _record(event: Event, facts: dict[str, object], outcome: Outcome) -> None:
    with transaction.atomic():
        record(
            actor=Actor.system("audit.watch", None),
            event=event,
            target=Target("audit_log", "instance"),
            detail=facts,
            outcome=outcome,
        )


def _is_due(last: datetime | None, now: datetime, every: timedelta) -> bool:
    return last is None or now - last >= every
