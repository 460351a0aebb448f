"""How the log is doing: is it sealed, do the places outside the database take its checkpoints, and may calls leave?

For pages, probes and the watch of the leading worker. Says nothing of any workspace, so it needs no scope.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from audit.clocks import CLOCK_TOLERANCE
from audit.hindrances import SENTENCES
from audit.status import SEALER, WATCH
from provenance.actor import Actor
from provenance.db import ask
from provenance.ids import uuid7_time
from provenance.permissions import Permission

NO_SEALER = timedelta(seconds=30)
"""Three leases: a change of hands takes one."""
CLOCKS_DIFFER = timedelta(minutes=1)
NO_WATCH = timedelta(minutes=1)
"""Six looks: a worker that restarts takes some seconds."""
STALLED = timedelta(minutes=1)
"""So long must nothing have been published, or must a checkpoint have waited for its signature."""
WAITING = timedelta(minutes=5)
"""Longer than a transaction may reasonably take to commit: an event's id is older than its commit."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that was looked after, as it noted it itself last. An empty problem is none."""

    name: str
    place: str
    problem: str
    since: datetime
    at: datetime
    size: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """The sealer, its places, the event that has waited longest, what `audit.hindrance` says of calls, and who watches."""

    now: datetime
    leased_until: datetime | None
    waiting: UUID | None
    sealer: Subject | None
    places: tuple[Subject, ...]
    sealed_at: datetime | None
    unsigned_since: datetime | None
    hindrance: str = ""
    is_unread: bool = False
    watched_at: datetime | None = None
    # By how much the clock of the database is ahead of this host's.
    ahead: timedelta = timedelta()

    @property
    def warnings(self) -> list[str]:
        """What a person should look into, one sentence each; empty when all is well."""
        found = self._found(lambda sealer: sealer.problem, lambda place: _not_kept(place.name, place.problem))
        return found + self._hindrances

    @property
    def brief(self) -> list[str]:
        """The same for those who did not sign in: no name of a log, no place on the host."""
        return self.of_sealing + self._hindrances

    @property
    def of_sealing(self) -> list[str]:
        """As `brief`, and only about the log."""
        return self._found(
            lambda sealer: (
                f"The sealer has refused to go on since {_minute(sealer.since)}; its log says why and what to do."
            ),
            lambda place: f"Checkpoints of the log are not kept by {place.name} since {_minute(place.since)}.",
        )

    @property
    def _hindrances(self) -> list[str]:
        found = [SENTENCES[self.hindrance]] if self.hindrance else []
        if abs(self.ahead) > CLOCKS_DIFFER:
            way = "ahead of" if self.ahead > timedelta() else "behind"
            found.append(_CLOCKS.format(by=abs(self.ahead), way=way, most=CLOCK_TOLERANCE))
        if self.watched_at is not None and self.now - self.watched_at > NO_WATCH:
            found.append(_NO_WATCH.format(since=_minute(self.watched_at)))
        return found

    def _found(self, of_sealer: Callable[[Subject], str], of_place: Callable[[Subject], str]) -> list[str]:
        found = [of_sealer(self.sealer)] if self.sealer and self.sealer.problem else []
        if not found and (lag := self.lag):
            found.append(lag)
        return found + [of_place(place) for place in self.places if place.problem]

    @property
    def lag(self) -> str:
        """Why events are not sealed as they should be; empty when they are. Says nothing before the first sealer."""
        if self.is_unread:
            return "Whether the log is sealed cannot be read in the database; the log of Postgres says why."
        if self.sealer and self.leased_until is not None and self.now - self.leased_until > NO_SEALER:
            return f"No sealer has been at work since {_minute(self.leased_until)}: start one."
        if self.leased_until is not None and self.leased_until - self.now > NO_SEALER:
            return f"The sealer's lease was set to end on {_minute(self.leased_until)}, which none asks for; {_LOG_SAYS_WHY}"
        if self.unsigned_since is not None and self.now - self.unsigned_since > STALLED:
            return f"Checkpoints have waited for their signature since {_minute(self.unsigned_since)}; {_LOG_SAYS_WHY}"
        if self.waiting is not None:
            # Its id is older than its commit, so that it alone says little; that nothing at all was published says more.
            since = uuid7_time(self.waiting)
            patience = WAITING if self.sealed_at and self.now - self.sealed_at <= STALLED else STALLED
            if self.now - since > patience:
                return f"An event has waited for the sealer since {_minute(since)}; {_LOG_SAYS_WHY}"
        return ""


def own_now() -> datetime:
    """The time by this host's clock, which signs; the database's decides."""
    return datetime.now(UTC)


def condition() -> Condition:
    """The state of this moment."""
    ((now, hindrance, leased_until, waiting, sealed_at, unsigned_since, is_unread),) = ask(
        "SELECT clock_timestamp(), audit.hindrance(true), * FROM audit.sealing()"
    )
    known = [
        Subject(*row)
        for row in ask("SELECT subject, place, problem, since, at, size FROM audit.status ORDER BY subject")
    ]
    sealer = next((one for one in known if one.name == SEALER), None)
    # Until a sealer has worked here for the first time, its lease is at the beginning of time.
    places = tuple(one for one in known if one.name not in {SEALER, WATCH})
    watched_at = next((one.at for one in known if one.name == WATCH), None)
    return Condition(
        now,
        leased_until if sealer else None,
        waiting,
        sealer,
        places,
        sealed_at,
        unsigned_since,
        hindrance,
        is_unread,
        watched_at,
        timedelta(seconds=round((now - own_now()).total_seconds())),
    )


def seal_at_the_entrance() -> dict[str, str]:
    """What the sign-in page says of the log: whether it is being sealed, and nothing of any workspace."""
    found = condition()
    if found.of_sealing:
        return {
            "tone": "rose",
            "icon": "octagon-x",
            "words": "The audit log needs an operator: it is not sealed as it should be.",
        }
    if found.sealer is None:
        return {"tone": "slate", "icon": "circle-dashed", "words": "The audit log is signed, and not sealed yet."}
    return {"tone": "emerald", "icon": "badge-check", "words": "The audit log is sealed."}


def notices(actor: Actor) -> list[str]:
    """What each page tells those who may see the log; two short queries."""
    return condition().warnings if actor.may(Permission.AUDIT_READ) else []


def _not_kept(subject: str, problem: str) -> str:
    return f"The log's checkpoints are not kept by {subject}: {problem}."


_CLOCKS = (
    "The clock of the database is {by} {way} this host's: from {most} on no event is accepted, and so no change. Set the clocks of "
    "both hosts by the same source."
)
_NO_WATCH = (
    "No worker has looked after the log since {since}: runs, deadlines, streams and alarms wait for one. Start it, or find out in "
    "its log why it ends."
)
_LOG_SAYS_WHY = "the sealer's log says why."


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
