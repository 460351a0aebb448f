"""Whoever administers the server sets what it says and takes: our connections say themselves what they rest on."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.db import connection

from gateway.database import Database
from provenance.readiness import problems
from tests import databases
from tests.attacks.reading import ReadLog

pytestmark = pytest.mark.django_db(transaction=True)

READ_OTHERWISE = {
    "forms": "datestyle = 'German, DMY'; intervalstyle = 'iso_8601'; timezone = 'Asia/Kolkata'; bytea_output = escape;"
    " extra_float_digits = -15",
    "texts": "client_encoding = 'LATIN1'; standard_conforming_strings = off; quote_all_identifiers = on",
    "nulls": "array_nulls = off; transform_null_equals = on",
    "rows": "row_security = off",
    "names": "search_path = nowhere; role = pg_monitor; app.workspace_id = 'nobody'",
    "transactions": "default_transaction_isolation = serializable; default_transaction_read_only = on;"
    " default_transaction_deferrable = on; client_min_messages = error",
    "times": "statement_timeout = 1; lock_timeout = 1",
}


@contextmanager
def server_set_to(changed):
    """For whoever signs in to this database; connections that were open are gone."""
    here = settings.DATABASES["default"]["NAME"]
    with databases.admin() as administrator:
        for setting in changed.split(";"):
            administrator.execute(f"ALTER DATABASE {here} SET {setting}")
        connection.close()
        try:
            yield
        finally:
            administrator.execute(f"ALTER DATABASE {here} RESET ALL")
            connection.close()


@pytest.mark.parametrize("changed", READ_OTHERWISE.values(), ids=list(READ_OTHERWISE))
def test_the_log_is_read_as_ever(workspace, admin, auditor, changed):
    log = ReadLog.of(workspace, admin, auditor)
    before = log.answers()
    with server_set_to(changed):
        after = log.answers()
    assert {name: answer.status_code for name, answer in after.items()} == dict.fromkeys(before, 200)
    for name in ("one event", "checkpoint", "tile", "entries", "proof"):
        assert after[name].content == before[name].content, name


@pytest.mark.parametrize("changed", READ_OTHERWISE.values(), ids=list(READ_OTHERWISE))
def test_the_gateway_reads_as_ever(workspace, changed):
    async def read():
        database = Database(databases.role_url("gateway"))
        await database.open()
        try:
            async with database.scope(workspace.pk) as opened:
                answer = await opened.execute(
                    "SELECT now(), interval '1 day' AS day, '\\x00ff'::bytea AS bytes, current_user::text AS role, '\\' AS slash,"
                    " count(id) AS places, array_agg(name) AS names FROM workspaces_environment"
                )
                row = await answer.fetchone()
                await opened.execute("DO $$ BEGIN RAISE WARNING 'not waited'; END $$")
                return row, opened.warning
        finally:
            await database.close()

    with server_set_to(changed):
        row, warning = asyncio.run(read())
    assert abs(row["now"] - datetime.now(UTC)).total_seconds() < 60
    assert (row["day"].days, row["bytes"], row["role"], row["slash"]) == (1, b"\0\xff", "prov_gateway", "\\")
    assert warning == "not waited"


def test_what_only_a_superuser_may_set_keeps_processes_from_serving(db):
    with server_set_to("session_replication_role = replica"):
        found = problems()
    assert "The code does not have: setting of the server: session_replication_role=replica" in found


def test_what_our_connections_set_themselves_is_named_as_well(db):
    with server_set_to("row_security = off"):
        found = problems()
    assert "The code does not have: setting of the server: row_security=off" in found
