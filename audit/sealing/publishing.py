"""Publishing of checkpoints: only what is committed is signed, and only what is signed is carried away.

A checkpoint that was signed before its commit could be of a log that never was.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from audit.anchors.couriers import Courier
from audit.notes import Checkpoint, signed_note
from audit.sealing import sql
from audit.sealing.log_keys import LogKeys
from audit.sealing.standing import Place
from provenance.keyfiles import KeyRefused

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


@dataclass(slots=True)
class Publisher:
    """Signs with the log's keys and hands to couriers."""

    log_keys: LogKeys
    couriers: Sequence[Courier]
    _strangers: set[tuple[int, int, str]] = field(default_factory=set)

    def publish(self, connection: Connection, waiting: dict[Place, str]) -> list[str]:
        """Sign every checkpoint that is committed, unsigned and among these. Only now does anybody get to see it.

        A sentence for each other one that has no signature: somebody wants it signed who has no key.
        """
        signed: list[tuple[Checkpoint, dict[str, Any]]] = []
        strangers: list[str] = []
        for log_id, size, text, is_instance in connection.execute(sql.UNSIGNED).fetchall():
            if waiting.get((log_id, size)) != text:
                if (log_id, size, text) not in self._strangers:
                    self._strangers.add((log_id, size, text))
                    strangers.append(f"a checkpoint of the log {log_id} at {size} was put there for a signature")
                continue
            checkpoint = Checkpoint.parse(text)
            try:
                signatures = self.log_keys.signer.sign(checkpoint, is_instance=is_instance)
            except KeyRefused as problem:
                # Sealing goes on; what is not signed now is by a later pass, and until then nobody gets to see it.
                logger.warning("checkpoints wait for their signature: %s", problem)
                break
            signed.append((checkpoint, {"signatures": signatures, "log_id": log_id, "size": size}))
        if signed:
            with connection.transaction(), connection.cursor() as cursor:
                # What is signed is durable already, and a signature that a crash loses is made again: no writer should wait
                # for one more flush of the log of Postgres.
                cursor.execute("SET LOCAL synchronous_commit = off")
                cursor.executemany(sql.SIGN, [row for _checkpoint, row in signed])
        for checkpoint, row in signed:
            del waiting[row["log_id"], row["size"]]
            self._offer(checkpoint, row["signatures"])
        return strangers

    def offer_newest(self, connection: Connection) -> None:
        """What the sealer before published last, and perhaps nobody carried away."""
        for text, signatures in connection.execute(sql.NEWEST_PUBLISHED).fetchall():
            self._offer(Checkpoint.parse(text), signatures)

    def _offer(self, checkpoint: Checkpoint, signatures: str) -> None:
        note = signed_note(checkpoint, signatures)
        for courier in self.couriers:
            courier.offer(checkpoint.origin, note)
