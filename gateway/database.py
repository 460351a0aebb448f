"""The gateway's own connections: an async pool as `prov_gateway`, without the ORM, always inside one workspace."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool

from provenance.postgres.session import WHICH_PROCESS, begun, for_each_transaction

MOST_CONNECTIONS = 10
WAIT_SECONDS = 3.0

Connection = psycopg.AsyncConnection[DictRow]


class NotDurable(psycopg.OperationalError):
    """Postgres said that a transaction is committed, and that it did not wait until that is safe."""


class _Pooled(Connection):
    """A connection that remembers what it was warned of."""

    warning = ""
    in_each_transaction: Sequence[str] = ()
    """The settings that each transaction begins with where the next one may have another process of the server."""

    async def begin(self, *settings: str) -> None:
        """Open a transaction with these settings, in one round trip."""
        await self.execute("; ".join(["BEGIN", *self.in_each_transaction, *settings]))

    def heed(self, said: psycopg.errors.Diagnostic) -> None:
        """Keep a warning. Notices tell of nothing that matters here."""
        if said.severity_nonlocalized == "WARNING":
            self.warning = said.message_primary or "a warning without words"

    async def commit_durably(self) -> None:
        """End the transaction. Raises `NotDurable` where Postgres gave up waiting for its standby.

        Whose wait is canceled, by an administrator or a timeout of the server, is told of success all the same.
        """
        self.warning = ""
        await self.execute("COMMIT")
        if self.warning:
            raise NotDurable(f"committed with a warning: {self.warning}")


async def _begun(connection: _Pooled) -> None:
    connection.add_notice_handler(connection.heed)
    await connection.execute(begun(connection.info.server_version))
    which = await connection.cursor(row_factory=tuple_row).execute(WHICH_PROCESS)
    if await which.fetchone() != (connection.info.backend_pid,):
        connection.in_each_transaction = for_each_transaction(connection.info.server_version)


class Database:
    """A pool whose every transaction sees one workspace (or none, for definer functions that return ids only)."""

    def __init__(self, conninfo: str) -> None:
        self._pool: AsyncConnectionPool[_Pooled] = AsyncConnectionPool(
            conninfo,
            connection_class=_Pooled,
            configure=_begun,
            # No prepared statements: they do not survive PgBouncer in transaction mode.
            kwargs={"row_factory": dict_row, "autocommit": True, "prepare_threshold": None},
            min_size=1,
            max_size=MOST_CONNECTIONS,
            timeout=WAIT_SECONDS,
            open=False,
            name="gateway",
        )

    async def open(self) -> None:
        """Start connecting; returns at once, so that a database that is down stops calls and not the process."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def scope(self, workspace_id: UUID) -> AsyncIterator[Connection]:
        """A transaction inside a workspace; commits at the end, rolls back on an exception.

        What is done after the block may rest on it: it is where no failover to a synchronous standby takes it back (T27).
        """
        async with self._pool.connection() as connection:
            # The value is a UUID object, so nothing in it can end the literal.
            await connection.begin(f"SET LOCAL app.workspace_id = '{UUID(str(workspace_id))}'")
            try:
                yield connection
            except BaseException:
                await _quietly(connection, "ROLLBACK")
                raise
            await connection.commit_durably()

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[Connection]:
        """A connection in no workspace: definer functions answer, tables do not."""
        async with self._pool.connection() as connection:
            if connection.in_each_transaction:
                # It ends with the block.
                await connection.begin()
            yield connection


async def one(connection: Connection, statement: str, parameters: dict[str, Any]) -> DictRow | None:
    """The first row of an answer; None when there is none."""
    return await (await connection.execute(statement, parameters)).fetchone()


async def _quietly(connection: psycopg.AsyncConnection[Any], statement: str) -> None:
    """End a transaction on the way out of an exception that says more than a second one would."""
    try:
        await connection.execute(statement)
    except psycopg.Error:
        await connection.close()
