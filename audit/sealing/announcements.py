"""What the sealer itself tells in the logs: what it found wrong, that a silent log is alive, which keys are old.

Each is an event like any other, signed under the sealer's key and sealed by its next pass.
"""

import base64
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit.envelope import EventContext, ObjectFacts, SignedEvent, build, storing
from audit.sealing import sql
from audit.sealing.growth import Log
from audit.sealing.passes import HEARTBEAT
from audit.sealing.stored_logs import Flawed
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7_floor
from provenance.keyfiles import ROTATION_DUE_DAYS

SILENCE_LOOK_SECONDS = 60
KEYS_LOOK_SECONDS = 3600
REMIND_EVERY = timedelta(days=7)
MOST_FLAWS_TOLD = 20
_FAILURES = frozenset({Event.AUDIT_VERIFICATION_FAILED, Event.AUDIT_ANCHOR_FAILED})

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


@dataclass(slots=True)
class Announcer:
    """Signs and stores them. What it looks for by itself, it looks for when it is time."""

    keys: KeyRing
    _look_at_silence_at: float = 0.0
    _look_at_keys_at: float = 0.0

    def signed(
        self, event: Event, log: Log, facts: dict[str, Any], *, gap: int = 0, context: EventContext | None = None
    ) -> SignedEvent:
        """An event about a log, not stored yet."""
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

    def tell(self, connection: Connection, event: Event, log: Log, facts: dict[str, Any], *, gap: int = 0) -> None:
        """Store an event about a log."""
        connection.execute(*storing([self.signed(event, log, facts, gap=gap)]))

    def tell_moved(self, connection: Connection, instance: Log, problem: str) -> None:
        """Somebody changed the state that the sealer keeps."""
        logger.error("somebody changed what the sealer keeps: %s", problem)
        self.tell(connection, Event.AUDIT_VERIFICATION_FAILED, instance, {"problem": problem})

    def tell_flaws(self, connection: Connection, log: Log, flawed: Sequence[Flawed]) -> None:
        """Events of that log do not verify."""
        logger.error(
            "events of %s do not verify, the first at index %s: %s", log.origin, flawed[0].at, flawed[0].problem
        )
        facts = {
            "first_index": flawed[0].at,
            "count": len(flawed),
            "events": [
                {"index": one.at, "event": str(one.event.id), "problem": one.problem}
                for one in flawed[:MOST_FLAWS_TOLD]
            ],
        }
        self.tell(connection, Event.AUDIT_VERIFICATION_FAILED, log, facts, gap=len(flawed) - 1)

    def tell_silent_logs(self, connection: Connection, log_of: Callable[[UUID | None], Log]) -> None:
        """Let every log that got nothing for an hour say that it is alive."""
        if time.monotonic() < self._look_at_silence_at:
            return
        self._look_at_silence_at = time.monotonic() + SILENCE_LOOK_SECONDS
        for (workspace_id,) in connection.execute(sql.SILENT, {"heartbeat": HEARTBEAT}).fetchall():
            log = log_of(workspace_id)
            facts = {"size": log.size, "root": base64.b64encode(log.frontier.root()).decode()}
            self.tell(connection, Event.AUDIT_CHECKPOINT_SIGNED, log, facts)

    def tell_of_keys(
        self, connection: Connection, log_of: Callable[[UUID | None], Log], register: Callable[[], Sequence[str]]
    ) -> None:
        """Remind of old keys, and tell of a register of keys that says something else than was told. Once an hour."""
        if time.monotonic() < self._look_at_keys_at:
            return
        self._look_at_keys_at = time.monotonic() + KEYS_LOOK_SECONDS
        self._tell_old_keys(connection, log_of)
        if found := register():
            logger.error("the register of keys is not what was told: %s", "; ".join(found))
            facts = {"problems": list(found[:MOST_FLAWS_TOLD])}
            self.tell(connection, Event.AUDIT_VERIFICATION_FAILED, log_of(None), facts)

    def _tell_old_keys(self, connection: Connection, log_of: Callable[[UUID | None], Log]) -> None:
        """Those that should have been replaced; once a week."""
        now = datetime.now(UTC)
        wanted = {
            "due": now - timedelta(days=ROTATION_DUE_DAYS),
            "reminded": uuid7_floor(now - REMIND_EVERY),
            "event": Event.AUDIT_KEY_ROTATION_DUE,
        }
        if old := connection.execute(sql.OLD_KEYS, wanted).fetchall():
            keys = [{"key": kid, "since": at.isoformat()} for kid, at in old]
            logger.warning("keys are due for replacement: %s", ", ".join(kid for kid, _at in old))
            self.tell(connection, Event.AUDIT_KEY_ROTATION_DUE, log_of(None), {"keys": keys})
