"""A psycopg connection whose transactions open with the workspace in scope."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from psycopg import ClientCursor, Connection, Error, OperationalError, errors, pq
from psycopg.abc import PQGen

from provenance.postgres.ready import Ready

WORKSPACE: ContextVar[UUID | None] = ContextVar("workspace", default=None)
"""The workspace in scope. Only `provenance.db.scope` changes it."""


class NothingChanged(OperationalError):
    """An UPDATE that waited met no row. What waits is about locked rows, so something in the database swallowed it."""


def demand_changed(answer: pq.abc.PGresult | None) -> None:
    """Raise `NothingChanged` when this is the answer to a statement that waited."""
    if answer is not None and answer.command_status == b"UPDATE 0":
        raise NothingChanged(
            "A row was locked, and its change met none. A trigger, a rule or a policy in the database swallows changes; "
            "./manage.py status says which wall is down."
        )


class ScopedConnection(Connection):
    """Every transaction it begins sees the rows of the workspace in scope, and of no other.

    `_start_query` is psycopg's own seam and private: tests/provenance/test_scope.py pins what is relied on here.
    """

    is_preceded = False
    """Set by a cursor while it sends a statement together with all that has to precede it."""
    is_straight = False
    """Whether the server's process stays the same: what one statement leaves there the next one finds."""
    in_each_transaction: Sequence[str] = ()
    """The settings that each transaction begins with where it does not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: list[str] = []
        self.statements = Ready()
        # Another object for each transaction, and none before the first.
        self.begun: object = None

    def ready(self, statement: str) -> str:
        """What does the same with the same parameters; it is planned once where it is said often on this connection.

        For a statement that is made once, with `%s` and no other percent sign.
        """
        return self.statements.said(statement) if self.is_straight else statement

    def note_failure(self, error: Error) -> None:
        """Something was refused. What was said by a name may be the reason."""
        self.statements.note_refusal(error.sqlstate or "")
        if isinstance(error, errors.InvalidSqlStatementName):
            # Another process answers than the one that was told: a pooler that shows its number as if it were the only one.
            self.is_straight = False

    def send_with_next(self, statement: str, parameters: Sequence[Any]) -> None:
        """Let a statement whose answer nobody needs travel with the next one, or with COMMIT. Its refusal is raised there."""
        self._waiting.append(ClientCursor(self).mogrify(self.ready(statement), parameters))

    def is_something_first(self) -> bool:
        """Whether `preceding` would give anything."""
        if self.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            return not self._autocommit or bool(self.in_each_transaction)
        return bool(self._waiting)

    def preceding(self) -> list[str]:
        """Take the statements that must run before the next one: what opens a transaction, or what waits in this one."""
        if self.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            # Without a transaction of ours the message is one: Postgres runs the statements of a message in one.
            return list(self.in_each_transaction) if self._autocommit else self._opening()
        waiting, self._waiting = self._waiting, []
        return waiting

    def commit(self) -> None:
        """End the transaction; what waits goes along."""
        if self._waiting:
            self.cursor().execute("COMMIT")
        else:
            super().commit()

    def rollback(self) -> None:
        """Take the transaction back, and what waits in it."""
        self._waiting.clear()
        super().rollback()

    def _opening(self) -> list[str]:
        if self.statements.is_due and not self._pipeline:
            self.statements.prepare(self.pgconn)
        self.begun = object()
        workspace, begin = WORKSPACE.get(), self._get_tx_start_command().decode("ascii")
        # The value is a UUID object, so nothing in it can end the literal.
        scope = [f"SET LOCAL app.workspace_id = '{workspace}'"] if workspace else []
        return [begin, *self.in_each_transaction, *scope]

    def _start_query(self) -> PQGen[None]:
        is_alone = self._autocommit and self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        statements = [] if self.is_preceded or is_alone else self.preceding()
        for statement in statements:
            demand_changed((yield from self._exec_command(statement.encode())))
        if statements and self._pipeline:
            yield from self._pipeline._sync_gen()  # noqa: SLF001  as the driver does it
