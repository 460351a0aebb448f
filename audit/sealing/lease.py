"""The lease that says which sealer works, and the fence that keeps one that slept through it from committing anything."""

import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg

from audit.sealing import sql
from audit.sealing.passes import State

LEASE_SECONDS = 10


class LostLease(Exception):
    """Another sealer took over. This one commits nothing any more."""


@dataclass(slots=True)
class Lease:
    """One sealer's claim. `fence` counts up with each change of hands; 0: it has none."""

    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}")
    fence: int = 0
    _renew_at: float = 0.0

    def is_of(self, state: State) -> bool:
        """Whether this sealer is the one that works. By its name too: whoever owns the database can count the fence down."""
        return (state.owner, state.fence) == (self.owner, self.fence)

    @property
    def is_due(self) -> bool:
        """Whether it should be renewed, though nothing else is to be stored."""
        return time.monotonic() > self._renew_at

    def take(self, connection: psycopg.Connection[Any]) -> bool:
        """Take it when nobody holds it."""
        row = connection.execute(sql.TAKE_LEASE, {"owner": self.owner, "seconds": LEASE_SECONDS}).fetchone()
        if row is not None:
            self.fence = int(row[0])
        return row is not None

    def keep(self, connection: psycopg.Connection[Any], statement: str, **values: Any) -> None:
        """Move the state of sealing on and renew it. Raises `LostLease` when another sealer has it."""
        kept = connection.execute(
            statement, {**values, "owner": self.owner, "fence": self.fence, "seconds": LEASE_SECONDS}
        )
        if kept.rowcount != 1:
            raise LostLease(self.owner)
        self._renew_at = time.monotonic() + LEASE_SECONDS / 3

    def give_back(self, connection: psycopg.Connection[Any]) -> None:
        """Let another one take it at once."""
        connection.execute(sql.GIVE_LEASE_BACK, {"owner": self.owner})
