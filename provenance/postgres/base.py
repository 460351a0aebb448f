"""The backend itself; Django loads it by the name of this module (`ENGINE = "provenance.postgres"`)."""

from datetime import datetime, tzinfo
from types import TracebackType
from typing import Any, Self

import psycopg
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import ClientCursor, IsolationLevel
from psycopg.abc import Buffer, Params
from psycopg.adapt import AdaptersMap
from psycopg.pq import PipelineStatus
from psycopg.types.datetime import TimestamptzLoader

from provenance.postgres.connection import ScopedConnection, demand_changed
from provenance.postgres.refusals import BY_SQLSTATE
from provenance.postgres.session import begun, demand_straight, for_each_transaction, is_straight


class RefusalWrapper(DatabaseErrorWrapper):
    """Gives the refusals of our walls their own classes, wherever they surface: at a statement or at COMMIT."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the class that belongs to our SQLSTATE; leave the rest to Django."""
        if isinstance(exc_value, psycopg.Error) and isinstance(self.wrapper.connection, ScopedConnection):
            self.wrapper.connection.note_failure(exc_value)
        refusal = BY_SQLSTATE.get(exc_value.sqlstate or "") if isinstance(exc_value, psycopg.Error) else None
        if refusal is not None and isinstance(exc_value, psycopg.Error):
            self.wrapper.errors_occurred = True
            raise refusal(_sentence(exc_value)).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


class ScopedCursor(base.CursorMixin, ClientCursor[Any]):
    """Django's cursor, which sends a statement together with what has to precede it, in one round trip.

    Whatever goes to the server another way (COPY, many at once, cursors of the server) is preceded by the connection.
    """

    connection: ScopedConnection

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        """Run a statement, after what has to come first."""
        is_alone = isinstance(query, str) and self.connection.pgconn.pipeline_status == PipelineStatus.OFF
        if not is_alone or not self.connection.is_something_first():
            return super().execute(query, params, **options)
        # With the parameters in it already: the driver remembers texts with parameters, and this one is like no other.
        # Before anything is taken that waits: of parameters that are refused here nothing is sent, and it waits on.
        statement = query if params is None else self.mogrify(query, params)
        preceding = self.connection.preceding()
        self.connection.is_preceded = True
        try:
            super().execute("; ".join([*preceding, statement]), **options)
        finally:
            self.connection.is_preceded = False
        for _ in preceding:
            demand_changed(self.pgresult)
            self.nextset()
        return self


class _TimeLoader(TimestamptzLoader):
    """As Django's. Infinity and years that Python has none of are its last or its first moment: one such value must hide no other row."""

    timezone: tzinfo | None = None

    def load(self, data: Buffer) -> datetime:
        """The time, or the nearest there is."""
        try:
            return super().load(data).replace(tzinfo=self.timezone)
        except (psycopg.DataError, OverflowError):
            if bytes(data).startswith(b"-") or bytes(data).endswith(b"BC"):
                return datetime.min.replace(tzinfo=self.timezone)
            return datetime.max.replace(tzinfo=self.timezone)


class DatabaseWrapper(base.DatabaseWrapper):
    """Postgres with the workspace in BEGIN, and both in the first statement."""

    @cached_property
    def wrap_database_errors(self) -> RefusalWrapper:
        """Context manager and decorator that translates the driver's exceptions."""
        return RefusalWrapper(self)

    def get_connection_params(self) -> dict[str, Any]:
        """What Django connects with, our cursor, and times of which none is unreadable."""
        params = super().get_connection_params()
        context = AdaptersMap(params["context"])
        context.register_loader("timestamptz", type("TimeLoader", (_TimeLoader,), {"timezone": self.timezone}))
        return {**params, "context": context, "cursor_factory": ScopedCursor}

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection:
        """A pooled or a fresh connection, always one that carries the scope."""
        if self.pool:
            pooled: psycopg.Connection = super().get_new_connection(conn_params)
            return pooled
        self.isolation_level = IsolationLevel.READ_COMMITTED
        return ScopedConnection.connect(**conn_params)

    def _configure_connection(self, connection: psycopg.Connection) -> bool:
        """Django's hook for each new connection, pooled or not, which is private: tests/attacks/test_hostile_settings.py pins it."""
        connection.execute(begun(connection.info.server_version))
        if self.settings_dict["OPTIONS"].get("assume_role"):
            # It becomes another role once, for all that follows.
            demand_straight(connection)
        if isinstance(connection, ScopedConnection):
            connection.is_straight = is_straight(connection)
            if not connection.is_straight:
                connection.in_each_transaction = for_each_transaction(connection.info.server_version)
        super()._configure_connection(connection)  # type: ignore[misc]  # the stubs lack it
        return True


def _sentence(error: psycopg.Error) -> str:
    """The server's own message and hint, without the context lines that show the trigger's code."""
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    return " ".join(f"{part.rstrip('.')}." for part in parts if part) or str(error)
