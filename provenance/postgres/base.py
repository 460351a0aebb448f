"""The backend itself; Django loads it by the name of this module (`ENGINE = "provenance.postgres"`)."""

from types import TracebackType
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import IsolationLevel

from provenance.postgres.connection import ScopedConnection
from provenance.postgres.refusals import BY_SQLSTATE


class RefusalWrapper(DatabaseErrorWrapper):
    """Gives the refusals of our walls their own classes, wherever they surface: at a statement or at COMMIT."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the class that belongs to our SQLSTATE; leave the rest to Django."""
        refusal = BY_SQLSTATE.get(exc_value.sqlstate or "") if isinstance(exc_value, psycopg.Error) else None
        if refusal is not None and isinstance(exc_value, psycopg.Error):
            self.wrapper.errors_occurred = True
            raise refusal(_sentence(exc_value)).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Postgres with the workspace in BEGIN."""

    @cached_property
    def wrap_database_errors(self) -> RefusalWrapper:
        """Context manager and decorator that translates the driver's exceptions."""
        return RefusalWrapper(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection:
        """A pooled or a fresh connection, always one that carries the scope."""
        if self.pool:
            pooled: psycopg.Connection = super().get_new_connection(conn_params)
            return pooled
        self.isolation_level = IsolationLevel.READ_COMMITTED
        return ScopedConnection.connect(**conn_params)


def _sentence(error: psycopg.Error) -> str:
    """The server's own message and hint, without the context lines that show the trigger's code."""
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    return " ".join(f"{part.rstrip('.')}." for part in parts if part) or str(error)
