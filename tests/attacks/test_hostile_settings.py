"""Whoever administers the server sets what it says and takes: our connections say themselves what they rest on."""

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.database import Database
from provenance.readiness import problems
from tests import databases
from tests.attacks.reading import ReadLog
from tests.attacks.server_settings import READ_OTHERWISE, server_set_to

pytestmark = pytest.mark.django_db(transaction=True)


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
