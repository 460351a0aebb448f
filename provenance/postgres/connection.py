"""A psycopg connection whose transactions open with the workspace in scope."""

import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from psycopg import ClientCursor, Connection, Error, OperationalError, errors, pq
from psycopg.abc import PQGen

WORKSPACE: ContextVar[UUID | None] = ContextVar("workspace", default=None)
"""The workspace in scope. Only `provenance.db.scope` changes it."""


_MOST_READY = 200
"""So many statements does a connection keep ready. Each takes some ten kilobytes of the server."""
_LONGEST_READY = 1_000
"""So long is one of them at most. What stores many rows is another statement for each number of them, and takes megabytes."""
_OUTDATED = ("0A", "22", "26", "42")
"""Classes of what Postgres says to a statement that it knows no longer (26), whose answer would have other columns than
then (0A), or whose parameters have another type now (22, 42). Whatever else is of these classes is planned once more."""


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
        # The name under which the server knows each statement; empty while it does not.
        self._ready: dict[str, str] = {}
        self._met_again: set[str] = set()
        # Another object for each transaction, and none before the first.
        self.begun: object = None

    def ready(self, statement: str) -> str:
        """What does the same with the same parameters, and is planned once where it is said often on this connection.

        For a statement that is made once, with `%s` and no other percent sign. Planning is a quarter of what the server
        does for a recorded change (decision 0016).
        """
        name = self._ready.get(statement)
        if name:
            places = ", ".join(["%s"] * statement.count("%s"))
            return f"EXECUTE {name}({places})" if places else f"EXECUTE {name}"
        if name is not None:
            self._met_again.add(statement)
        elif self.is_straight and len(statement) <= _LONGEST_READY and self._is_room():
            self._ready[statement] = ""
        return statement

    def _is_room(self) -> bool:
        if len(self._ready) >= _MOST_READY:
            # What was said once makes room for what may be said again.
            self._ready = {statement: name for statement, name in self._ready.items() if name}
        return len(self._ready) < _MOST_READY

    def note_failure(self, error: Error) -> None:
        """A statement was refused: forget what is ready where that may be the reason, so that it happens once."""
        if (error.sqlstate or "").startswith(_OUTDATED):
            self.forget_ready()
        if isinstance(error, errors.InvalidSqlStatementName):
            # Another process answers than the one that was told: a pooler that shows its number as if it were the only one.
            self.is_straight = False

    def forget_ready(self) -> None:
        """Plan everything anew."""
        self._ready.clear()
        self._met_again.clear()

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

    def _prepare(self) -> None:
        """Have the server remember the statements that were met again, where a refusal of one takes nothing along."""
        if not any(self._ready.values()):
            # What it still keeps was forgotten here.
            self.pgconn.exec_(b"DEALLOCATE ALL")
        for statement in self._met_again:
            # A name that only this text has: nowhere is it another statement's.
            name = f"ready_{hashlib.sha256(statement.encode()).hexdigest()[:32]}"
            first, *others = statement.split("%s")
            text = "".join([first, *(f"${place}{other}" for place, other in enumerate(others, start=1))])
            answer = self.pgconn.exec_(f"PREPARE {name} AS {text}".encode())
            # One that is refused goes on as it is, and says itself why.
            if answer.status == pq.ExecStatus.COMMAND_OK:
                self._ready[statement] = name
        self._met_again.clear()

    def _opening(self) -> list[str]:
        if self._met_again and not self._pipeline:
            self._prepare()
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
