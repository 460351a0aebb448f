"""The sealer: the one process that puts events into their Merkle log and signs checkpoints (`./manage.py run sealer`).

It seals exactly what was committed since the snapshot of the pass before: events of transactions that were still running
then, and of those that began later. So no transaction left open anywhere can hold it up, and none is missed, in whatever
order they commit. What does not verify is sealed too and told as an event: leaving it out would hide it.

A checkpoint is signed only after the commit that holds it. Without Django's ORM: this is the hot path of the log.

Here are the loop and one pass. What a pass takes is `audit.sealing.backlog`, how logs grow `audit.sealing.stored_logs`, whose turn it is
`audit.sealing.lease`, what is checked before the first pass `audit.sealing.continuity` and `audit.sealing.log_keys`, how checkpoints get out
`audit.sealing.publishing`, and what the sealer tells in the logs `audit.sealing.announcements`.
"""

import logging
import logging.config
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from psycopg import IsolationLevel

from audit.anchors import Place
from audit.anchors.couriers import Courier
from audit.anchors.places import places_from_settings
from audit.clocks import CLOCK_TOLERANCE
from audit.envelope import EventContext, storing
from audit.epochs import Break, breaks, origin_of
from audit.glance import Glance, Row
from audit.judging import flaw, too_late
from audit.notes import AnyVerifier
from audit.sealing import continuity, sql
from audit.sealing.announcements import Announcer
from audit.sealing.backlog import Backlog
from audit.sealing.growth import Log
from audit.sealing.lease import Lease, LostLease
from audit.sealing.log_keys import LogKeys, log_signer
from audit.sealing.passes import Cluster, Kept, State
from audit.sealing.publishing import Publisher
from audit.sealing.standing import NotContinued
from audit.sealing.stored_logs import Judge, StoredLogs
from audit.signing import KeyRing
from audit.status import SEALER, WATCH, note_status
from audit.taxonomy import Event
from audit.verifying.key_register import held_against
from provenance.collection import no_collection
from provenance.ids import uuid7_floor
from provenance.keyfiles import KeyRefused
from provenance.postgres.names import signed_in
from provenance.postgres.session import BehindPooler

PAUSE_SECONDS = 0.2
MOST_EVENTS = 20_000
"""Of one pass: what memory holds at a time. A transaction is never divided."""
CHECK_AGAIN_SECONDS = 5
"""After a refusal, how long until the sealer looks whether somebody started an epoch."""

logger = logging.getLogger(__name__)

Connect = Callable[[], psycopg.Connection[Any]]


class NothingToContinue(Exception):
    """An epoch was asked for, and every log continues what was published of it."""


@dataclass(slots=True)
class Sealer:
    """Seals one database. Any number may stand by; the lease says which one works."""

    connect: Connect
    keys: KeyRing
    log_keys: LogKeys
    origin: str
    most_events: int = MOST_EVENTS
    places: Sequence[Place] = ()
    couriers: list[Courier] = field(init=False)
    _lease: Lease = field(default_factory=Lease)
    _backlog: Backlog = field(init=False)
    _logs: StoredLogs = field(init=False)
    _publisher: Publisher = field(init=False)
    _announcer: Announcer = field(init=False)
    _connection: psycopg.Connection[Any] | None = None
    _check_again_at: float = 0.0
    _refusal: str = ""
    _led_on: Cluster | None = None

    def __post_init__(self) -> None:
        """A courier for each place."""
        self.couriers = [Courier(place, self.connect, self._tell_anchor) for place in self.places]
        self._backlog, self._logs = Backlog(self.most_events), StoredLogs(self.origin, self._verifiers)
        self._publisher, self._announcer = Publisher(self.log_keys, self.couriers), Announcer(self.keys)

    def run(self, stop: threading.Event) -> None:
        """Seal until told to stop. Whatever fails is tried again: events wait in their table and nothing is lost."""
        threads = [
            threading.Thread(target=one.run, args=(stop,), name=f"courier to {one.place.name}", daemon=True)
            for one in self.couriers
        ]
        for thread in threads:
            thread.start()
        while not stop.is_set():
            try:
                is_more = self.work()
            except LostLease:
                is_more = False
            except (psycopg.Error, KeyRefused, NotContinued):
                logger.warning("sealing failed; trying again", exc_info=True)
                self.close()
                is_more = False
            for courier in self.couriers:
                courier.look()
            if not is_more:
                stop.wait(PAUSE_SECONDS)
        self.close()
        for thread in threads:
            # A place that hangs must not keep the sealer from ending.
            thread.join(timeout=1)

    def work(self) -> bool:
        """One pass, if it is this sealer's turn; whether more waits already."""
        if not self._lease.fence and (time.monotonic() < self._check_again_at or not self.lead()):
            return False
        try:
            self.log_keys.renew(self._open(), self.origin, self._tell_rotation)
            is_more = self.seal()
            self.publish()
        except BaseException:
            # What was grown in memory may not have been stored.
            self._forget()
            raise
        return is_more

    def lead(self) -> bool:
        """Take the lease when nobody holds it, unless this database must not be sealed on. Raises psycopg.Error."""
        connection = self._open()
        if not self._lease.take(connection):
            return False
        here = Cluster(*connection.execute(sql.HERE).fetchall()[0])
        if (
            refusal := continuity.refusal(self._breaks)
            or self.log_keys.refusal(connection)
            or self._taken_up(connection)
        ):
            self._refuse(refusal)
            return False
        self.log_keys.register(connection, self.origin, self._tell_rotation)
        self._begin_status()
        self.publish()
        self._publisher.offer_newest(connection)
        self._led_on = here
        return True

    def seal(self) -> bool:
        """Seal what was committed since the pass before; whether it had to stop at `most_events`."""
        # Around all of it: what a pass took in is gone when the collector looks again.
        with no_collection():
            return self._seal(self._open())

    def _seal(self, connection: psycopg.Connection[Any]) -> bool:
        with connection.transaction():
            # First of all, and before this transaction has an id of its own: the snapshot of everything that follows.
            row = connection.execute(sql.STATE).fetchone()
            state = State.parse(row) if row else None
            if state is None or not self._lease.is_of(state):
                raise LostLease(self._lease.owner)
            if state.here != self._led_on:
                # Where something in between keeps the connection over a promotion, what is known in here may be lost there.
                raise LostLease(self._lease.owner)
            found = self._backlog.found(connection, state)
            if found.problem:
                self._announcer.tell_moved(connection, self._log(None), found.problem)
            self._append(found.events)
            self._announcer.tell_silent_logs(connection, self._log)
            self._announcer.tell_of_keys(connection, self._log, self._register_problems)
            if found.sealed_to is not None and found.is_anew:
                here = {"system_id": state.here.system_id, "timeline": state.here.timeline}
                edges = self._backlog.edges(connection)
                self._lease.keep(connection, sql.KEEP_CLUSTER, snap=found.sealed_to.text, **here, **edges)
                self._backlog.leave(Kept(found.sealed_to, **edges))
            elif found.events and found.sealed_to is not None:
                self._lease.keep(connection, sql.KEEP_SNAPSHOT, snap=found.sealed_to.text)
                self._backlog.leave(state.kept._replace(sealed=found.sealed_to))
            elif found.events or self._lease.is_due:
                self._lease.keep(connection, sql.KEEP_LEASE)
        return found.is_more

    def publish(self) -> None:
        """Sign every checkpoint of this sealer's that is committed and unsigned."""
        connection = self._open()
        for problem in self._publisher.publish(connection, self._logs.waiting):
            self._announcer.tell_moved(connection, self._instance, problem)

    def close(self) -> None:
        """Give the lease and the connection back, as far as they are still there."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that cannot say so any more: the lease runs out by itself.
            with suppress(psycopg.Error), connection:
                if not connection.broken:
                    self._lease.give_back(connection)
        self._forget()

    def start_epoch(self, reason: str) -> list[Break]:
        """Begin every log anew that does not continue what was published, each with an event that says so.

        For a person on the host, who knows why the database is behind. Needs the lease: raises `LostLease` while another
        sealer works. Raises `NothingToContinue`, and `BadNote` for a checkpoint that another key signed.
        """
        connection = self._open()
        if not self._lease.take(connection):
            raise LostLease(self._lease.owner)
        found = self._breaks()
        if not found:
            raise NothingToContinue
        with connection.transaction():
            connection.execute("SELECT FROM audit.sealer WHERE fence = %s FOR UPDATE", [self._lease.fence])
            ids = [self._begin_anew(one, reason) for one in found]
            self._append(self._backlog.events(connection, ids))
            # They are in their logs already: the next pass must look before it appends them again.
            self._lease.keep(connection, sql.KEEP_LOOKING, newest=max(ids))
        # So that what is published now is signed by a key that is being replaced as well.
        self.log_keys.register(connection, self.origin, self._tell_rotation)
        # What else has no signature is the next sealer's to look into.
        self._publisher.publish(connection, self._logs.waiting)
        note_status(connection, SEALER)
        return found

    # --- Whether it may begin --------------------------------------------------------------------------------------

    def _breaks(self) -> list[Break]:
        connection = self._open()
        return breaks(
            connection,
            installation=self.origin,
            published=continuity.published(connection, self.places, self._tell_anchor),
            verifiers=self.log_keys.signer.verifiers,
            keys=self.keys,
        )

    def _verifiers(self, origin: str) -> Sequence[AnyVerifier]:
        return self.log_keys.signer.verifiers(origin)

    def _taken_up(self, connection: psycopg.Connection[Any]) -> str:
        """Why the logs cannot be taken up as they are stored; empty when they can."""

        def still() -> None:
            if self._lease.is_due:
                self._lease.keep(connection, sql.KEEP_LEASE)

        try:
            self._logs.take_up(connection, still)
        except NotContinued as problem:
            return str(problem)
        return ""

    def _refuse(self, refusal: str) -> None:
        """Stop, so that everybody sees it: nothing more is sealed or signed until a person has decided."""
        self._check_again_at = time.monotonic() + CHECK_AGAIN_SECONDS
        connection = self._open()
        note_status(connection, SEALER, problem=refusal)
        if refusal != self._refusal:
            logger.error("%s", refusal)
            self._announcer.tell(connection, Event.AUDIT_VERIFICATION_FAILED, self._instance, {"problem": refusal})
        self._refusal = refusal
        self.close()

    def _begin_status(self) -> None:
        self._refusal = ""
        connection = self._open()
        note_status(connection, SEALER)
        connection.execute(sql.FORGET_STATUS, {"known": [SEALER, WATCH, *(place.name for place in self.places)]})

    # --- Growing the logs ------------------------------------------------------------------------------------------

    def _append(self, events: Sequence[Row]) -> None:
        if not events:
            return
        connection = self._open()
        ends = connection.execute(sql.ENDED_KEYS).fetchall()
        ended = {kid: uuid7_floor(at + CLOCK_TOLERANCE) for kid, at in ends}

        def judge_of(workspace_id: UUID | None) -> Judge:
            glance = Glance(self.keys, workspace_id)

            def judge(row: Row) -> str:
                if glance.said(row) and row.kid not in ended:
                    return ""
                event = row.event()
                return flaw(event, self.keys) or too_late(event, ended)

            return judge

        for log, flawed in self._logs.append(connection, events, judge_of):
            self._announcer.tell_flaws(connection, log, flawed)

    def _begin_anew(self, one: Break, reason: str) -> UUID:
        """Open the log's next epoch and tell it; the event that tells it, stored and not sealed."""
        log = self._logs.begin_epoch(self._open(), one.workspace_id, one.next_epoch)
        facts = {"problem": one.problem, "reason": reason}
        context = EventContext(continues=one.continues)
        signed = self._announcer.signed(Event.AUDIT_EPOCH_STARTED, log, facts, context=context)
        self._open().execute(*storing([signed]))
        return signed.id

    def _tell_rotation(self, facts: dict[str, Any]) -> None:
        self._announcer.tell(self._open(), Event.AUDIT_KEY_ROTATED, self._log(None), facts)

    def _register_problems(self) -> list[str]:
        # Over a connection of its own, because it wants a snapshot of its own.
        with self.connect() as connection:
            return held_against(connection, self.keys, self.log_keys.signer.keys).problems

    def _log(self, workspace_id: UUID | None) -> Log:
        return self._logs.log(self._open(), workspace_id)

    @property
    def _instance(self) -> Log:
        """The name of the instance's log, for what is told while nothing may be stored in it."""
        return Log(0, origin_of(self.origin, None), None)

    def _tell_anchor(self, name: str, where: str, problem: str) -> None:
        """Called by couriers too, so over a connection of its own."""
        facts = {"name": name, "place": where, "problem": problem}
        with self.connect() as connection:
            self._announcer.tell(connection, Event.AUDIT_ANCHOR_FAILED, self._instance, facts)

    # --- What it works with ----------------------------------------------------------------------------------------

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = self.connect()
            self._connection.autocommit = True
            self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
            # A backlog grows faster than statistics: by those of an hour ago the planner sorts all of it for every pass,
            # where the index has it in order.
            self._connection.execute("SET enable_sort = off")
        return self._connection

    def _forget(self) -> None:
        self._lease.fence = 0
        self._backlog.forget()
        self._logs.forget()


def from_settings() -> Sealer:
    """The sealer that this process's settings describe. Exits with a sentence when its keys cannot be had."""
    try:
        signer = log_signer()
    except KeyRefused as refused:
        raise SystemExit(str(refused)) from None
    return Sealer(
        connect=_connected,
        keys=KeyRing.from_settings("sealer"),
        log_keys=LogKeys(signer, log_signer),
        origin=settings.LOG_ORIGIN,
        places=places_from_settings(_connected),
    )


def _connected() -> psycopg.Connection[Any]:
    return signed_in(settings.SEALER_DATABASE_URL)


def main() -> None:
    """Seal until SIGTERM or SIGINT."""
    logging.config.dictConfig(settings.LOGGING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sealer = from_settings()
    _refuse_pooler()
    sealer.run(stop)


def _refuse_pooler() -> None:
    try:
        _connected().close()
    except BehindPooler as refused:
        raise SystemExit(str(refused)) from None
    except psycopg.Error:
        # One that is away is waited for.
        return


if __name__ == "__main__":
    main()
