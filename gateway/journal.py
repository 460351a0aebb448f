"""Durable writes of the gateway, many callers in one commit: nothing is sent before its commit, nothing is dropped.

A unit is the state change of one call and its events. Units that arrive while a commit runs share the next one. A batch
that fails is halved until the unit that fails stands alone, so that one bad event cannot stop everyone's calls (T12).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from audit import envelope
from audit.envelope import SignedEvent
from gateway.database import Connection, Database
from gateway.errors import AuditUnavailable

LARGEST_BATCH = 64
LONGEST_QUEUE = 2_000
COMMIT_SECONDS = 5.0

Work = Callable[[Connection], Awaitable[tuple[Any, Sequence[SignedEvent]]]]
"""Statements of one unit: gives its result and the events to store with it. It may run again after a rollback."""


@dataclass(slots=True)
class _Unit:
    workspace_id: UUID
    work: Work
    done: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Journal:
    """The group commit of this process. One writer per workspace at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, list[_Unit]] = {}
        self._writers: dict[UUID, asyncio.Task[None]] = {}

    async def commit(self, workspace_id: UUID, work: Work) -> Any:
        """Run the unit and return its result once it is durable. `AuditUnavailable` when it cannot be made durable."""
        queue = self._waiting.setdefault(workspace_id, [])
        if len(queue) >= LONGEST_QUEUE:
            # Back-pressure denies; it never drops an event (gateway.md 5, row 21).
            raise AuditUnavailable("Too many calls wait for the log; try again.")
        unit = _Unit(workspace_id, work)
        queue.append(unit)
        if workspace_id not in self._writers:
            self._writers[workspace_id] = asyncio.create_task(self._write(workspace_id))
        return await unit.done

    async def record(self, workspace_id: UUID, events: Sequence[SignedEvent]) -> None:
        """Store events that change no row."""

        async def work(_connection: Connection) -> tuple[None, Sequence[SignedEvent]]:
            return None, events

        await self.commit(workspace_id, work)

    async def _write(self, workspace_id: UUID) -> None:
        try:
            while queue := self._waiting.pop(workspace_id, []):
                for start in range(0, len(queue), LARGEST_BATCH):
                    await self._commit(queue[start : start + LARGEST_BATCH])
        finally:
            del self._writers[workspace_id]

    async def _commit(self, units: list[_Unit]) -> None:
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                results = await self._transaction(units)
        except (PoolTimeout, TimeoutError, OSError, psycopg.OperationalError):
            # Nobody knows whether it was committed. The caller sends nothing, which is right in both cases.
            _fail(units, AuditUnavailable())
        except Exception as error:  # noqa: BLE001  whatever one unit breaks must not stop the others
            if len(units) == 1:
                _fail(units, error)
                return
            half = len(units) // 2
            await self._commit(units[:half])
            await self._commit(units[half:])
        else:
            for unit, result in zip(units, results, strict=True):
                if not unit.done.done():
                    unit.done.set_result(result)

    async def _transaction(self, units: list[_Unit]) -> list[Any]:
        results: list[Any] = []
        events: list[SignedEvent] = []
        async with self._database.scope(units[0].workspace_id) as connection:
            for unit in units:
                result, unit_events = await unit.work(connection)
                results.append(result)
                events += unit_events
            if events:
                await connection.execute(*envelope.storing(events))
        return results


def _fail(units: Sequence[_Unit], error: Exception) -> None:
    for unit in units:
        if not unit.done.done():
            unit.done.set_exception(error)
