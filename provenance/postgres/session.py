"""What every connection of ours is set to, whatever its server, database or role was set to.

Whoever administers the server chooses what dates and bytes look like, for how long a statement may run, along which path
names are found. What is read and written here rests on these, so each connection says them itself before anything else.
A setting that only a superuser may change is the readiness check's to name (`provenance.catalog`).
"""

from typing import Any

import psycopg

_TRANSACTIONS_END = 170000
"""Postgres 17: transactions can have a time of their own."""

# Postgres stops a statement of several by the time of each, so that what would stop the others comes first.
# Not named, pg_catalog is looked into before `public`, where tables are made; a session's own tables come last.
_SETTINGS = """
statement_timeout = 0; lock_timeout = 0; idle_session_timeout = 0; role = none; search_path = public, pg_temp;
client_encoding = 'UTF8'; datestyle = ISO; intervalstyle = postgres; timezone = 'UTC'; bytea_output = hex;
extra_float_digits = 1; standard_conforming_strings = on; backslash_quote = safe_encoding; array_nulls = on;
transform_null_equals = off; quote_all_identifiers = off; row_security = on; gin_fuzzy_search_limit = 0;
default_transaction_isolation = 'read committed'; default_transaction_read_only = off; default_transaction_deferrable = off;
client_min_messages = notice; app.workspace_id = ''
"""


def begun(server_version: int) -> str:
    """The statement that a new connection sends first. `server_version` as Postgres numbers it: 150018 is 15.18."""
    # Of a kind of its own: no function stands behind it that somebody could have put another one in front of.
    return "; ".join(f"SET {setting}" for setting in _settings(server_version))


def for_each_transaction(server_version: int) -> tuple[str, ...]:
    """The same for one transaction, statement by statement: what each begins with on a connection that is not straight."""
    local = (f"SET LOCAL {setting}" for setting in _settings(server_version) if not setting.startswith(_FOR_LATER))
    return (*local, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE")


_FOR_LATER = "default_transaction_"
"""Settings of transactions that are still to begin."""


def _settings(server_version: int) -> list[str]:
    settings = [setting.strip() for setting in _SETTINGS.split(";")]
    return ["transaction_timeout = 0", *settings] if server_version >= _TRANSACTIONS_END else settings


WHICH_PROCESS = "SELECT pg_catalog.pg_backend_pid()"


class BehindPooler(psycopg.InterfaceError):
    """A pooler stands before the database, and what is done here needs one process of the server from beginning to end."""


def demand_straight(connection: psycopg.Connection[Any]) -> None:
    """Close it and raise `BehindPooler`, unless one process of the server answers it for as long as it lasts."""
    if is_straight(connection):
        return
    where = connection.info
    refused = BehindPooler(
        f"A pooler stands before the database at {where.host}:{where.port}, and {where.user} must be connected to Postgres "
        "itself: name the address of the server. Only web, gateway and worker may have a pooler before it (docs/operations.md, "
        "Behind PgBouncer)."
    )
    connection.close()
    raise refused


def is_straight(connection: psycopg.Connection[Any]) -> bool:
    """Whether one process of the server answers this connection for as long as it lasts.

    Behind a pooler that hands out one process for each transaction (PgBouncer) it need not; its key to cancel queries names
    no process of the server. Settings and names of statements that a connection leaves there are then missed in the next
    process, and found by somebody else. Raises psycopg.OperationalError when nobody answers.
    """
    # Past all cursors, and so in no transaction: whatever kind of connection it is.
    answer = connection.pgconn.exec_(WHICH_PROCESS.encode())
    if answer.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(answer.get_error_message())
    return answer.get_value(0, 0) == str(connection.info.backend_pid).encode()
