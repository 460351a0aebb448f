"""What a worker process holds: its leases, and the one thread that renews them and hears who must stop.

Celery cannot interrupt a thread, so interruption is ours: the heartbeat sets an event, and whoever waits for a tool or
a model waits for that event too (runs.md 3.5).
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, connection

from provenance.db import enter
from workflows import sql

HEARTBEAT_SECONDS = 1.0
STALE_SECONDS = 5.0
# Before the lease is over by the database's clock, so that our own clock decides earlier than anybody else's.
SAFETY_SECONDS = 5.0
_LISTEN_SECONDS = 0.1

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Interrupted(Exception):
    """The run is being canceled; what was in flight must be given up."""


class NoContact(Exception):
    """This process has not heard from the database for too long to begin anything (5 seconds)."""


@dataclass(slots=True)
class Lease:
    """A claimed token. Times are monotonic seconds of this process."""

    workspace_id: UUID
    token_id: UUID
    run_id: UUID
    scope_id: UUID
    fence: int
    renewed_at: float = field(default_factory=time.monotonic)
    lost: threading.Event = field(default_factory=threading.Event)
    canceling: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def held(self, *, even_if_canceling: bool = False) -> Iterator[None]:
        """A transaction in the run's workspace that holds the token's row.

        Raises `FencedOut` if it is not ours, `Interrupted` if the run is being canceled. Who cancels locks tokens first,
        so that neither becomes true while the block runs.
        """
        with enter(self.workspace_id):
            sql.demand(sql.one(sql.HOLD, token_id=self.token_id, fence=self.fence))
            if not even_if_canceling and sql.demand(sql.one(sql.IS_CANCELING, run_id=self.run_id))[0]:
                raise Interrupted
            yield

    def demand_contact(self) -> None:
        """To be asked right before something leaves the process. Raises when nothing may leave any more."""
        if self.canceling.is_set():
            raise Interrupted
        if self.lost.is_set():
            raise sql.FencedOut
        age = time.monotonic() - self.renewed_at
        if age > min(STALE_SECONDS, sql.LEASE_SECONDS - SAFETY_SECONDS):
            raise NoContact

    def wait_for(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in a helper thread, so that a cancel is heard while it blocks.

        When the run is canceled or the lease is lost meanwhile, the work is left behind and its result is not read.
        """
        release_connection()
        self.demand_contact()
        future: Future[T] = _helpers.submit(work)
        while not future.done():
            if self.canceling.wait(0) or self.lost.wait(0):
                future.cancel()
                raise Interrupted if self.canceling.is_set() else sql.FencedOut
            wait([future], timeout=_LISTEN_SECONDS)
        return future.result()


def release_connection() -> None:
    """Give the database connection back before waiting: 200 waiting calls must not need 200 connections (G13)."""
    if not connection.in_atomic_block:
        connection.close()


class Heartbeat:
    """Renews every lease of this process in one query a second, and passes on what it learns."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        """Renew this lease while the block runs."""
        with self._lock:
            self._leases[lease.token_id] = lease
        self._ensure_running()
        try:
            yield
        finally:
            with self._lock:
                if self._leases.get(lease.token_id) is lease:
                    del self._leases[lease.token_id]

    def beat(self) -> None:
        """Renew now. What the database no longer counts as ours is lost."""
        with self._lock:
            leases = list(self._leases.values())
        if not leases:
            return
        sent_at = time.monotonic()
        rows = sql.every(
            sql.RENEW,
            owner=self.owner,
            token_ids=[lease.token_id for lease in leases],
            fences=[lease.fence for lease in leases],
        )
        canceling = dict(rows)
        for lease in leases:
            if lease.token_id not in canceling:
                lease.lost.set()
                continue
            lease.renewed_at = sent_at
            if canceling[lease.token_id]:
                lease.canceling.set()

    def _ensure_running(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.beat()
            except DatabaseError:
                # Not fatal by itself: leases grow stale, and then nothing new begins.
                logger.warning("heartbeat failed", exc_info=True)
                connection.close()
            if not self._leases:
                connection.close()


OWNER = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
"""This process, as it stands in the tokens it holds. For people who look; the fence is what counts."""

heartbeat = Heartbeat(OWNER)
_helpers = ThreadPoolExecutor(max_workers=64, thread_name_prefix="call")
