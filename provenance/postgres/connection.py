"""A psycopg connection that sends the workspace in scope together with BEGIN, at no extra round trip."""

from contextvars import ContextVar
from uuid import UUID

from psycopg import Connection, errors, generators, pq
from psycopg.abc import PQGen

WORKSPACE: ContextVar[UUID | None] = ContextVar("workspace", default=None)
"""The workspace in scope. Only `provenance.db.scope` changes it."""


class ScopedConnection(Connection):
    """Every transaction it begins sees the rows of the workspace in scope, and of no other.

    `_start_query` is psycopg's own seam and private: tests/provenance/test_scope.py pins what is relied on here.
    """

    def _start_query(self) -> PQGen[None]:
        workspace = WORKSPACE.get()
        idle = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if workspace is None or self._autocommit or self._pipeline or not idle:
            yield from super()._start_query()
            return
        # The value is a UUID object, so nothing in it can end the literal.
        setting = f"; SET LOCAL app.workspace_id = '{workspace}'".encode("ascii")
        self.pgconn.send_query(self._get_tx_start_command() + setting)
        for result in (yield from generators.execute(self.pgconn)):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise errors.error_from_result(result)
