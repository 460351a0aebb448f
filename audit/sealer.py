"""The sealer: the one process that puts events into their Merkle log and signs checkpoints (`./manage.py run sealer`).

It seals exactly what was committed since the snapshot of the pass before: events of transactions that were still running
then, and of those that began later. So no transaction left open anywhere can hold it up, and none is missed, in whatever
order they commit. What does not verify is sealed too and told as an event: leaving it out would hide it.

A checkpoint is signed only after the commit that holds it. Without Django's ORM: this is the hot path of the log.
"""

import base64
import gc
import logging
import logging.config
import os
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
from django.conf import settings
from psycopg import IsolationLevel

from audit import sealer_sql as sql
from audit.anchors import Anchor, AnchorFailed, CommandAnchor, DirectoryAnchor, Place, readable
from audit.couriers import Courier, note_status
from audit.envelope import EventContext, ObjectFacts, SignedEvent, build, insert_rows
from audit.epochs import Break, breaks, origin_of
from audit.growth import TILE_WIDTH, Log, Tile, unfinished_tiles
from audit.judging import StoredEvent, checkpoint_entry, event_entry, flaw
from audit.key_register import held_against
from audit.merkle import Frontier, leaf_hash
from audit.notes import BadNote, Checkpoint, Ed25519Verifier, LogKey, LogSigner, signed_note
from audit.passes import HEARTBEAT, Cluster, Found, Snapshot, in_order, stored
from audit.signing import KeyRing
from audit.succession import OVERLAP as SUCCESSION_OVERLAP
from audit.succession import Succession
from audit.taxonomy import Event
from audit.witnesses import Witness
from provenance.actor import Actor
from provenance.home import NEXT
from provenance.ids import uuid7_floor
from provenance.keyfiles import ROTATION_DUE_DAYS, KeyRefused

PAUSE_SECONDS = 0.2
LEASE_SECONDS = 10
MOST_EVENTS = 20_000
"""Of one pass: what memory holds at a time. A transaction is never divided."""
SILENCE_LOOK_SECONDS = 60
OVERLOOKED = timedelta(minutes=15)
OVERLOOKED_AT_START = timedelta(days=1)
"""How far back the sealer looks for events that it passed over: nobody but a superuser can make it do so."""
KEYS_LOOK_SECONDS = 3600
REMIND_EVERY = timedelta(days=7)
REREAD_SECONDS = 10
"""How soon a key that was put beside the log's others is taken up."""
CLOCK_TOLERANCE = timedelta(minutes=10)
"""Twice what the database accepts between an event's id and its own clock."""
MOST_FLAWS_TOLD = 20
ANCHOR_SECONDS = 10
"""How long a start waits for an anchor to say what it kept."""
CHECK_AGAIN_SECONDS = 5
"""After a refusal, how long until the sealer looks whether somebody started an epoch."""

logger = logging.getLogger(__name__)

Connect = Callable[[], psycopg.Connection[Any]]


class NothingToContinue(Exception):
    """An epoch was asked for, and every log continues what was published of it."""


class LostLease(Exception):
    """Another sealer took over. This one commits nothing any more."""


@dataclass(slots=True)
class Sealer:
    """Seals one database. Any number may stand by; the lease says which one works."""

    connect: Connect
    keys: KeyRing
    signer: LogSigner
    origin: str
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
    most_events: int = MOST_EVENTS
    places: Sequence[Place] = ()
    reread: Callable[[], LogSigner] | None = None
    _fence: int = 0
    _connection: psycopg.Connection[Any] | None = None
    _logs: dict[UUID | None, Log] = field(default_factory=dict)
    _renew_at: float = 0.0
    _look_at_silence_at: float = 0.0
    _check_again_at: float = 0.0
    _look_at_keys_at: float = 0.0
    _reread_at: float = 0.0
    _ended: dict[str, UUID] = field(default_factory=dict)
    _refusal: str = ""
    _kept: Snapshot | None = None
    _look_again_at: float = 0.0
    couriers: list[Courier] = field(init=False)

    def __post_init__(self) -> None:
        """A courier for each place."""
        self.couriers = [Courier(place, self.connect, self._tell_anchor) for place in self.places]

    def run(self, stop: threading.Event) -> None:
        """Seal until told to stop. Whatever fails is tried again: events wait in their table and nothing is lost."""
        threads = [threading.Thread(target=one.run, args=(stop,), daemon=True) for one in self.couriers]
        for thread in threads:
            thread.start()
        while not stop.is_set():
            try:
                is_more = self.work()
            except LostLease:
                is_more = False
            except (psycopg.Error, KeyRefused):
                logger.warning("sealing failed; trying again", exc_info=True)
                self.close()
                is_more = False
            if not is_more:
                stop.wait(PAUSE_SECONDS)
        self.close()
        for thread in threads:
            # A place that hangs must not keep the sealer from ending.
            thread.join(timeout=1)

    def work(self) -> bool:
        """One pass, if it is this sealer's turn; whether more waits already."""
        if not self._fence and (time.monotonic() < self._check_again_at or not self.lead()):
            return False
        try:
            self._renew_log_keys()
            is_more = self.seal()
            self.publish()
        except BaseException:
            # What was grown in memory may not have been stored.
            self._forget()
            raise
        return is_more

    def lead(self) -> bool:
        """Take the lease when nobody holds it. Raises psycopg.Error."""
        row = self._open().execute(sql.TAKE_LEASE, {"owner": self.owner, "seconds": LEASE_SECONDS}).fetchone()
        if row is None:
            return False
        self._fence = int(row[0])
        if refusal := self._why_not() or self._other_keys():
            self._refuse(refusal)
            return False
        self._register_keys()
        self._begin_status()
        self.publish()
        self._offer_newest()
        return True

    def seal(self) -> bool:
        """Seal what was committed since the pass before; whether it had to stop at `most_events`."""
        connection = self._open()
        with _no_collection(), connection.transaction():
            # First of all, and before this transaction has an id of its own: the snapshot of everything that follows.
            state = connection.execute(sql.STATE).fetchone()
            if state is None or state[0] != self._fence:
                raise LostLease(self.owner)
            _fence, sealed, now, *clusters = state
            known, here = Cluster(*clusters[:2]), Cluster(*clusters[2:])
            before, present = Snapshot.parse(sealed), Snapshot.parse(now)
            is_moved = self._is_moved(before, present) if known == here else False
            if known == here and not is_moved:
                found = self._committed_since(before, present)
                found.events.extend(self._overlooked(before))
            else:
                # Another cluster or timeline: its transaction ids say nothing about those that the snapshot names.
                found = self._never_sealed(present)
            self._append(found.events)
            self._tell_silent_logs()
            self._tell_old_keys()
            if found.sealed_to is not None and (known != here or is_moved):
                self._keep(
                    sql.KEEP_CLUSTER,
                    snap=found.sealed_to.text,
                    system_id=here.system_id,
                    timeline=here.timeline,
                    **self._edges(),
                )
            elif found.events and found.sealed_to is not None:
                self._keep(sql.KEEP_SNAPSHOT, snap=found.sealed_to.text)
            elif found.events or time.monotonic() > self._renew_at:
                self._keep(sql.KEEP_LEASE)
        return found.is_more

    def publish(self) -> None:
        """Sign every checkpoint that is committed and unsigned. Only now does anybody get to see it."""
        connection = self._open()
        for log_id, size, text, is_instance in connection.execute(sql.UNSIGNED).fetchall():
            checkpoint = Checkpoint.parse(text)
            try:
                signatures = self.signer.sign(checkpoint, is_instance=is_instance)
            except KeyRefused as problem:
                # Sealing goes on; what is not signed now is by a later pass, and until then nobody gets to see it.
                logger.warning("checkpoints wait for their signature: %s", problem)
                return
            connection.execute(sql.SIGN, {"signatures": signatures, "log_id": log_id, "size": size})
            self._offer(checkpoint, signatures)

    def close(self) -> None:
        """Give the lease and the connection back, as far as they are still there."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that cannot say so any more: the lease runs out by itself.
            with suppress(psycopg.Error), connection:
                if not connection.broken:
                    connection.execute(sql.GIVE_LEASE_BACK, {"owner": self.owner})
        self._forget()

    def start_epoch(self, reason: str) -> list[Break]:
        """Begin every log anew that does not continue what was published, each with an event that says so.

        For a person on the host, who knows why the database is behind. Needs the lease: raises `LostLease` while another
        sealer works. Raises `NothingToContinue`, and `BadNote` for a checkpoint that another key signed.
        """
        connection = self._open()
        row = connection.execute(sql.TAKE_LEASE, {"owner": self.owner, "seconds": LEASE_SECONDS}).fetchone()
        if row is None:
            raise LostLease(self.owner)
        self._fence = int(row[0])
        found = self._breaks()
        if not found:
            raise NothingToContinue
        with connection.transaction():
            connection.execute("SELECT FROM audit.sealer WHERE fence = %s FOR UPDATE", [self._fence])
            events = [self._begin_anew(one, reason) for one in found]
            self._append(events)
            # They are in their logs already: the next pass must look before it appends them again.
            self._keep(sql.KEEP_LOOKING, newest=max(event.id for event in events))
        # So that what is published now is signed by a key that is being replaced as well.
        self._register_keys()
        self.publish()
        note_status(connection, SUBJECT)
        return found

    # --- One pass ------------------------------------------------------------------------------------------------

    def _committed_since(self, sealed: Snapshot, now: Snapshot) -> Found:
        """The snapshot-difference rule: PgQ's, and exact."""
        rows = self._rows(sql.COMMITTED, sealed=sealed.xmax, now=now.xmax, running=list(sealed.running))
        if len(rows) <= self.most_events:
            return Found([StoredEvent._make(row[1:]) for row in rows], now)
        # Whole transactions only: a snapshot can say "all below this one", and not "half of it".
        cut = rows[-1][0]
        kept = [row for row in rows if row[0] < cut]
        if not kept:
            kept, cut = self._rows(sql.OF_TRANSACTION, xid=cut), cut + 1
        return Found([StoredEvent._make(row[1:]) for row in kept], sealed.advanced(now, cut), is_more=True)

    def _is_moved(self, sealed: Snapshot, now: Snapshot) -> bool:
        """Whether somebody put another snapshot where this sealer left its own, so that events would be passed over."""
        kept, self._kept = self._kept, None
        if sealed.xmax <= now.xmax and kept in {None, sealed}:
            self._kept = kept
            return False
        self._tell_moved(f"the snapshot up to which all is sealed was set to {sealed.text}")
        return True

    def _overlooked(self, sealed: Snapshot) -> list[StoredEvent]:
        """Events that should be sealed by what the snapshot says and are not. Looked for once a minute."""
        if time.monotonic() < self._look_again_at:
            return []
        window = OVERLOOKED if self._look_again_at else OVERLOOKED_AT_START
        self._look_again_at = time.monotonic() + SILENCE_LOOK_SECONDS
        since = uuid7_floor(datetime.now(UTC) - window)
        rows = self._rows(sql.OVERLOOKED, since=since, sealed=sealed.xmax, running=list(sealed.running))
        if rows:
            self._tell_moved(f"{len(rows)} events were passed over, the first {rows[0][1]}")
        return [StoredEvent._make(row[1:]) for row in rows[: self.most_events]]

    def _tell_moved(self, problem: str) -> None:
        logger.error("somebody changed what the sealer keeps: %s", problem)
        self._record(Event.AUDIT_VERIFICATION_FAILED, self._log(None), {"problem": problem})

    def _never_sealed(self, now: Snapshot) -> Found:
        rows = self._rows(sql.NOT_SEALED)
        if len(rows) <= self.most_events:
            return Found([StoredEvent._make(row[1:]) for row in rows], now)
        return Found([StoredEvent._make(row[1:]) for row in rows[:-1]], None, is_more=True)

    def _rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._open().cursor(binary=True) as cursor:
            return cursor.execute(statement, {**parameters, "most": self.most_events + 1}).fetchall()

    def _edges(self) -> dict[str, UUID]:
        """Between which ids an event of a changed cluster may be sealed or not.

        No transaction is older than the server's start; and whatever lies in its tables was there before it.
        """
        ((started, now, newest),) = self._open().execute(sql.EDGES).fetchall()
        return {
            "sealed_before": uuid7_floor(started - CLOCK_TOLERANCE),
            "sealed_maybe": max(uuid7_floor(now + CLOCK_TOLERANCE), newest or UUID(int=0)),
        }

    def _append(self, events: Sequence[StoredEvent]) -> None:
        """Append the events to their logs, and the new checkpoints of workspaces to the log of the instance."""
        if events:
            ends = self._open().execute(sql.ENDED_KEYS).fetchall()
            self._ended = {kid: uuid7_floor(at + CLOCK_TOLERANCE / 2) for kid, at in ends}
        by_log: dict[UUID | None, list[StoredEvent]] = defaultdict(list)
        for event in in_order(events):
            by_log[event.workspace_id].append(event)
        own: list[StoredEvent] = by_log.pop(None, [])
        noted: list[tuple[Log, Checkpoint]] = []
        for workspace_id, found in by_log.items():
            log = self._log(workspace_id)
            noted.append((log, self._grow(log, found)))
        instance = self._log(None)
        first = instance.size + len(own)
        if own or noted:
            texts = [checkpoint.text for _log, checkpoint in noted]
            root = self._grow(instance, own, texts)
            self._store_checkpoint(instance, root, None)
        for number, (log, checkpoint) in enumerate(noted, start=first):
            self._store_checkpoint(log, checkpoint, number)

    def _grow(self, log: Log, events: Sequence[StoredEvent], texts: Sequence[str] = ()) -> Checkpoint:
        """Add leaves and full tiles of one log, and tell what is wrong with its events."""
        first = log.size
        flawed = [
            (first + offset, event, problem)
            for offset, event in enumerate(events)
            if (problem := flaw(event, self.keys) or self._too_late(event))
        ]
        hashes = [leaf_hash(event_entry(event.body.encode(), event.mac)) for event in events]
        hashes += [leaf_hash(checkpoint_entry(text)) for text in texts]
        ids: list[UUID | None] = [*(event.id for event in events), *(None for _ in texts)]
        tiles = log.append(hashes)
        self._store_leaves(log, first, hashes, ids)
        self._store_tiles(log, tiles)
        if flawed:
            self._tell_flaws(log, flawed)
        return log.checkpoint()

    def _too_late(self, event: StoredEvent) -> str:
        """Whoever kept a transaction open since before a key ended, and reads in it what was then, could still store one."""
        ended = self._ended.get(event.kid)
        return f"{event.kid} had ended before it was stored" if ended and event.id > ended else ""

    def _tell_flaws(self, log: Log, flawed: Sequence[tuple[int, StoredEvent, str]]) -> None:
        logger.error("events of %s do not verify, the first at index %s: %s", log.origin, flawed[0][0], flawed[0][2])
        facts = {
            "first_index": flawed[0][0],
            "count": len(flawed),
            "events": [
                {"index": index, "event": str(event.id), "problem": problem}
                for index, event, problem in flawed[:MOST_FLAWS_TOLD]
            ],
        }
        self._record(Event.AUDIT_VERIFICATION_FAILED, log, facts, gap=len(flawed) - 1)

    def _tell_silent_logs(self) -> None:
        """Let every log that got nothing for an hour say that it is alive."""
        if time.monotonic() < self._look_at_silence_at:
            return
        self._look_at_silence_at = time.monotonic() + SILENCE_LOOK_SECONDS
        for (workspace_id,) in self._open().execute(sql.SILENT, {"heartbeat": HEARTBEAT}).fetchall():
            log = self._log(workspace_id)
            facts = {"size": log.size, "root": base64.b64encode(log.frontier.root()).decode()}
            self._record(Event.AUDIT_CHECKPOINT_SIGNED, log, facts)

    def _tell_old_keys(self) -> None:
        """Remind of keys that should have been replaced, once a week; and tell of a register that says something else."""
        if time.monotonic() < self._look_at_keys_at:
            return
        self._look_at_keys_at = time.monotonic() + KEYS_LOOK_SECONDS
        now = datetime.now(UTC)
        wanted = {
            "due": now - timedelta(days=ROTATION_DUE_DAYS),
            "reminded": uuid7_floor(now - REMIND_EVERY),
            "event": Event.AUDIT_KEY_ROTATION_DUE,
        }
        if old := self._open().execute(sql.OLD_KEYS, wanted).fetchall():
            keys = [{"key": kid, "since": at.isoformat()} for kid, at in old]
            logger.warning("keys are due for replacement: %s", ", ".join(kid for kid, _at in old))
            self._record(Event.AUDIT_KEY_ROTATION_DUE, self._log(None), {"keys": keys})
        # Over a connection of its own, because it wants a snapshot of its own.
        with self.connect() as connection:
            found = held_against(connection, self.keys, self.signer.keys).problems
        if found:
            logger.error("the register of keys is not what was told: %s", "; ".join(found))
            self._record(Event.AUDIT_VERIFICATION_FAILED, self._log(None), {"problems": found[:MOST_FLAWS_TOLD]})

    def _record(self, event: Event, log: Log, facts: dict[str, Any], *, gap: int = 0) -> None:
        """An event of the sealer's own. The next pass seals it."""
        self._open().execute(*insert_rows([self._signed(event, log, facts, gap=gap)]))

    def _signed(
        self, event: Event, log: Log, facts: dict[str, Any], *, gap: int = 0, context: EventContext | None = None
    ) -> SignedEvent:
        return build(
            keys=self.keys,
            actor=Actor.system("audit.sealer", log.workspace_id, frozenset()),
            event=event,
            target=ObjectFacts(type="audit_log", id=log.origin),
            workspace_id=log.workspace_id,
            detail=facts,
            context=context or EventContext(),
            outcome="failure" if event in _FAILURES else "success",
            gap=gap,
        )

    # --- What was published ---------------------------------------------------------------------------------------

    def _why_not(self) -> str:
        """Why this database must not be sealed on; empty when it continues what was published."""
        try:
            found = self._breaks()
        except BadNote as problem:
            return f"{problem}. Put the key of the log back, or find out who wrote into the anchor."
        if not found:
            return ""
        more = f" and {len(found) - 1} other logs too" if len(found) > 1 else ""
        return (
            f"The database does not continue what was published: {found[0].problem}{more}. Restore a newer backup; or, "
            'when this is the newest there is, run `./manage.py start-epoch --reason "…"` on the host of the sealer.'
        )

    def _breaks(self) -> list[Break]:
        published = [note for anchor in readable(self.places) for note in self._kept_by(anchor)]
        return breaks(
            self._open(),
            installation=self.origin,
            published=published,
            verifiers=self.signer.verifiers,
            keys=self.keys,
        )

    def _kept_by(self, place: Anchor) -> list[str]:
        """What an anchor has kept. One that cannot say it holds nobody up: that is told, and shows."""
        answer: list[dict[str, str] | AnchorFailed] = []
        thread = threading.Thread(target=_read_anchor, args=(place, answer), daemon=True)
        thread.start()
        thread.join(ANCHOR_SECONDS)
        found = answer[0] if answer else AnchorFailed(f"{place.where} does not answer")
        if isinstance(found, AnchorFailed):
            self._tell_anchor(place.name, place.where, str(found))
            return []
        if not found and self._open().execute(sql.ANY_PUBLISHED).fetchone():
            logger.warning(
                "the anchor %s holds no checkpoint though some were published: it is new or was emptied", place.where
            )
        return list(found.values())

    def _refuse(self, refusal: str) -> None:
        """Stop, so that everybody sees it: nothing more is sealed or signed until a person has decided."""
        self._check_again_at = time.monotonic() + CHECK_AGAIN_SECONDS
        note_status(self._open(), SUBJECT, problem=refusal)
        if refusal != self._refusal:
            logger.error("%s", refusal)
            self._record(Event.AUDIT_VERIFICATION_FAILED, self._named(None), {"problem": refusal})
        self._refusal = refusal
        self.close()

    def _begin_status(self) -> None:
        connection = self._open()
        self._refusal = ""
        note_status(connection, SUBJECT)
        connection.execute(sql.FORGET_STATUS, {"known": [SUBJECT, *(place.name for place in self.places)]})

    def _offer_newest(self) -> None:
        """What the sealer before published last, and perhaps nobody carried away."""
        for text, signatures in self._open().execute(sql.NEWEST_PUBLISHED).fetchall():
            self._offer(Checkpoint.parse(text), signatures)

    def _offer(self, checkpoint: Checkpoint, signatures: str) -> None:
        note = signed_note(checkpoint, signatures)
        for courier in self.couriers:
            courier.offer(checkpoint.origin, note)

    def _tell_anchor(self, name: str, where: str, problem: str) -> None:
        """Called by couriers too, so over a connection of its own."""
        facts = {"name": name, "place": where, "problem": problem}
        with self.connect() as connection:
            connection.execute(*insert_rows([self._signed(Event.AUDIT_ANCHOR_FAILED, self._named(None), facts)]))

    def _begin_anew(self, one: Break, reason: str) -> StoredEvent:
        log = self._named(one.workspace_id, one.next_epoch)
        ((log.id, _origin),) = self._open().execute(
            sql.OPEN_LOG, {"workspace_id": one.workspace_id, "origin": log.origin, "epoch": one.next_epoch}
        )
        self._logs[one.workspace_id] = log
        facts = {"problem": one.problem, "reason": reason}
        context = EventContext(continues=one.continues)
        signed = self._signed(Event.AUDIT_EPOCH_STARTED, log, facts, context=context)
        self._open().execute(*insert_rows([signed]))
        return stored(signed)

    def _named(self, workspace_id: UUID | None, epoch: int = 1) -> Log:
        return Log(0, origin_of(self.origin, workspace_id, epoch), workspace_id)

    # --- What it stores ------------------------------------------------------------------------------------------

    def _log(self, workspace_id: UUID | None) -> Log:
        """The newest epoch of that log as it is stored, opened when it is not there yet."""
        if workspace_id in self._logs:
            return self._logs[workspace_id]
        connection = self._open()
        names = {"workspace_id": workspace_id, "origin": origin_of(self.origin, workspace_id), "epoch": 1}
        rows = (
            connection.execute(sql.NEWEST_EPOCH, names).fetchall() or connection.execute(sql.OPEN_LOG, names).fetchall()
        )
        ((log_id, origin),) = rows
        log = Log(log_id, origin, workspace_id)
        if latest := connection.execute(sql.NEWEST_CHECKPOINT, {"log_id": log.id}).fetchone():
            log.frontier = Frontier.of(*latest)
            log.unfinished = self._unfinished(log)
        self._logs[workspace_id] = log
        return log

    def _unfinished(self, log: Log) -> list[list[bytes]]:
        connection = self._open()

        def tile(level: int, n: int) -> bytes:
            row = connection.execute(sql.TILE, {"log_id": log.id, "level": level, "n": n}).fetchone()
            if row is None:
                raise RuntimeError(f"tile {level}/{n} of {log.origin} is missing: run `./manage.py fsck`")
            return bytes(row[0])

        first = log.size // TILE_WIDTH * TILE_WIDTH
        leaves = connection.execute(sql.LAST_LEAVES, {"log_id": log.id, "first": first, "size": log.size}).fetchall()
        return unfinished_tiles(log.size, [bytes(leaf) for (leaf,) in leaves], tile)

    def _store_leaves(self, log: Log, first: int, hashes: Iterable[bytes], ids: Iterable[UUID | None]) -> None:
        with self._open().cursor() as cursor, cursor.copy(sql.COPY_LEAVES) as copy:
            copy.set_types(["int8", "int8", "bytea", "uuid"])
            for index, (value, event_id) in enumerate(zip(hashes, ids, strict=True), start=first):
                copy.write_row((log.id, index, value, event_id))

    def _store_tiles(self, log: Log, tiles: Iterable[Tile]) -> None:
        rows = [(log.id, tile.level, tile.n, tile.data) for tile in tiles]
        if rows:
            with self._open().cursor() as cursor:
                cursor.executemany("INSERT INTO audit.tile (log_id, level, n, data) VALUES (%s, %s, %s, %s)", rows)

    def _store_checkpoint(self, log: Log, checkpoint: Checkpoint, instance_idx: int | None) -> None:
        self._open().execute(
            sql.STORE_CHECKPOINT,
            {
                "log_id": log.id,
                "workspace_id": log.workspace_id,
                "size": checkpoint.size,
                "note": checkpoint.text,
                "frontier": log.frontier.to_bytes(),
                "instance_idx": instance_idx,
            },
        )

    def _keep(self, statement: str, **values: Any) -> None:
        """Move the state on and renew the lease. Raises `LostLease` when another sealer has it."""
        kept = self._open().execute(statement, {**values, "fence": self._fence, "seconds": LEASE_SECONDS})
        if kept.rowcount != 1:
            raise LostLease(self.owner)
        self._renew_at = time.monotonic() + LEASE_SECONDS / 3
        if snap := values.get("snap"):
            self._kept = Snapshot.parse(snap)

    def _register_keys(self) -> None:
        """Publish the public keys, and what each says of the one that follows it. Auditors get theirs by another way."""
        known = self._registered_keys()
        ends: dict[str, datetime] = {}
        for key in self.signer.keys:
            before = self.signer.before(key)
            if key.kid not in known:
                known[key.kid] = (key.material, self._publish(key, before))
            if before and (rotation := known[key.kid][1]):
                ends[before.kid] = Succession.parse(rotation).until
        self.signer = self.signer.ending(ends)

    def _registered_keys(self) -> dict[str, tuple[str, str]]:
        rows = self._open().execute(sql.LOG_KEYS).fetchall()
        return {kid: (material, rotation) for kid, material, rotation in rows}

    def _publish(self, key: LogKey, before: LogKey | None) -> str:
        """Register a key; how the one before it said that it follows."""
        rotation = ""
        with self._open().transaction():
            if before:
                until = datetime.now(UTC) + SUCCESSION_OVERLAP
                rotation = Succession.signed_by(before, key, self.origin, until).text
                facts = {"old": before.kid, "new": key.kid, "old_ends_at": until.isoformat(), "rotation": rotation}
                self._record(Event.AUDIT_KEY_ROTATED, self._log(None), facts)
            values = {"kid": key.kid, "alg": key.algorithm, "vkey": key.material, "rotation": rotation}
            self._open().execute(sql.REGISTER_KEY, values)
        return rotation

    def _other_keys(self) -> str:
        """Why these are not the keys of this log; empty when they are, or follow those that are."""
        known = self._registered_keys()
        for key in self.signer.keys:
            before = self.signer.before(key)
            if key.kid in known and known[key.kid][0] != key.material:
                return (
                    f"The log's key {key.kid} is not the one that signed until now. Put its file back; to replace it, run "
                    "`./manage.py rotate_keys log`, so that the old key says which one follows."
                )
            if key.kid not in known and not before and any(kid.startswith(key.kid.split("-")[0]) for kid in known):
                return (
                    f"The log's key {key.kid} follows one that is not here and cannot say so. Put that one's file back."
                )
        return ""

    def _renew_log_keys(self) -> None:
        """Take in keys that came while it runs. Ones that are no keys of this log leave those that it has."""
        if self.reread is None or time.monotonic() < self._reread_at:
            return
        self._reread_at = time.monotonic() + REREAD_SECONDS
        try:
            found = self.reread()
        except KeyRefused as problem:
            logger.warning("the log's keys were not read again: %s", problem)
            return
        if [key.kid for key in found.keys] == [key.kid for key in self.signer.keys]:
            return
        earlier, self.signer = self.signer, found
        if refusal := self._other_keys():
            logger.error("the log's new keys were not taken: %s", refusal)
            self.signer = earlier
        else:
            self._register_keys()

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = self.connect()
            self._connection.autocommit = True
            self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        return self._connection

    def _forget(self) -> None:
        self._fence = 0
        self._kept = None
        self._logs.clear()


def _read_anchor(anchor: Anchor, answer: list[dict[str, str] | AnchorFailed]) -> None:
    try:
        answer.append(anchor.newest())
    except AnchorFailed as failure:
        answer.append(failure)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Rows hold no cycles, and Python's collector would look at all of them again and again: a third of a pass."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def from_settings() -> Sealer:
    """The sealer that this process's settings describe. Exits with a sentence when its keys cannot be had."""
    try:
        signer = log_signer()
    except KeyRefused as refused:
        raise SystemExit(str(refused)) from None
    return Sealer(
        connect=_connected,
        keys=KeyRing.from_settings("sealer"),
        signer=signer,
        origin=settings.LOG_ORIGIN,
        places=places_from_settings(),
        reread=log_signer,
    )


def log_signer() -> LogSigner:
    """The log's keys, as their source has them at this moment."""
    seeds = settings.LOG_SEEDS.again()
    keys = [_log_key(kid, seed) for kid, seed in seeds.items() if not kid.endswith(NEXT)]
    return LogSigner.of([*keys, *_keys_in_vault({key.kid for key in keys})])


def _keys_in_vault(held: AbstractSet[str]) -> list[LogKey]:
    """The versions of the key in Vault; where one has the number of a file, the file was there first."""
    transit = settings.LOG_TRANSIT
    if transit is None:
        return []
    found = [
        LogKey(Ed25519Verifier.kind, version, public, partial(transit.sign, version))
        for version, public in transit.public_keys().items()
    ]
    return [key for key in found if key.kid not in held]


def _log_key(kid: str, seed: str) -> LogKey:
    kind, _, number = kid.partition("-")
    make = LogKey.ed25519 if kind == "checkpoint" else LogKey.mldsa
    return make(base64.b64decode(seed), int(number))


def places_from_settings() -> list[Place]:
    """Where checkpoints are carried: the directory always, whatever else was set besides."""
    found: list[Place] = [DirectoryAnchor(settings.LOG_ANCHOR)]
    if settings.LOG_ANCHOR_COMMAND:
        found.append(CommandAnchor(settings.LOG_ANCHOR_COMMAND))
    try:
        found += [Witness.of(url, vkeys, _connected) for url, vkeys in settings.LOG_WITNESSES]
    except BadNote as problem:
        raise SystemExit(f"A key in PROVENANCE_WITNESSES is not one: {problem}.") from problem
    return found


def _connected() -> psycopg.Connection[Any]:
    return psycopg.connect(settings.SEALER_DATABASE_URL)


def main() -> None:
    """Seal until SIGTERM or SIGINT."""
    logging.config.dictConfig(settings.LOGGING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from_settings().run(stop)


SUBJECT = "sealer"
"""What `audit.status` calls the sealer itself."""
_FAILURES = frozenset({Event.AUDIT_VERIFICATION_FAILED, Event.AUDIT_ANCHOR_FAILED})


if __name__ == "__main__":
    main()
