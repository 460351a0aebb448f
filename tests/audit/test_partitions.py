"""Months of the log: made ahead, joined without a gap, and found by the guard on both sides of midnight."""

import importlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection

from audit import partitions, schema
from audit.services import record
from audit.taxonomy import Event
from provenance.ids import uuid7_floor
from tests import databases

pytestmark = pytest.mark.django_db


def rows(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


BOUNDS = """
SELECT relname, (regexp_match(pg_get_expr(relpartbound, pg_class.oid), 'FROM \\(''(.*?)''\\)'))[1],
       (regexp_match(pg_get_expr(relpartbound, pg_class.oid), 'TO \\(''(.*?)''\\)'))[1]
FROM pg_class WHERE relispartition AND relkind = 'r' AND relname ~ ('^' || %s || '_\\d')
ORDER BY 1
"""
MONTHLY = ["event", "detail", "workflows_step", "workflows_call", "workflows_message", "workflows_budgethold"]


@pytest.mark.parametrize("parent", MONTHLY)
def test_months_join_without_gap_or_overlap_two_months_ahead(parent):
    found = rows(BOUNDS, parent)
    assert [name for name, _, _ in found][-1] == f"{parent}_{month_after(2):%Y_%m}"
    for (_, _, end), (_, start, _) in pairwise(found):
        assert end == start
    edges = {name: start for name, start, _ in found}
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert edges[f"{parent}_{this_month:%Y_%m}"] == str(uuid7_floor(this_month))


def month_after(months):
    now = datetime.now(UTC)
    count = now.year * 12 + now.month - 1 + months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("moment", [datetime(2026, 11, 30, 23, 59, 59, 999000, UTC), datetime(2026, 12, 1, tzinfo=UTC)])
def test_the_last_and_the_first_millisecond_fall_into_their_month(moment):
    ((floor,),) = databases.as_administrator("SELECT audit.uuid_floor(%s)", moment)
    assert floor == uuid7_floor(moment)
    ((back,),) = databases.as_administrator("SELECT audit.uuid_time(%s)", floor)
    assert back == moment


def test_the_guard_finds_the_event_in_a_neighboring_month(probe, workspace, admin):
    """At midnight its text still names the month that just ended: the event in the new one must do."""
    before = f"event_{month_after(-1):%Y_%m}"
    for function in schema.of_the_month(before):
        databases.as_administrator(function.create())
    row = probe(workspace_id=workspace.id, name="one")
    row.save()
    record(actor=admin, event=Event.AGENT_CREATED, target=row)
    connection.check_constraints()
    with databases.refused_at_commit("unaudited insert"):
        probe(workspace_id=workspace.id, name="two").save()


def test_making_months_again_brings_the_guards_text_up_to_date():
    for function in schema.of_the_month(f"event_{month_after(-1):%Y_%m}"):
        databases.as_administrator(function.create())
    before = databases.become("prov_retention")
    try:
        rows("SELECT audit.ensure_partitions()")
    finally:
        databases.become(before)
    ((source,),) = rows("SELECT prosrc FROM pg_proc WHERE proname = 'require_event'")
    assert f"audit.event_{month_after(0):%Y_%m} AS event" in source


def test_the_sweep_looks_once_an_hour(as_role, django_assert_num_queries):
    importlib.reload(partitions)
    now = datetime.now(UTC)
    with as_role("worker"):
        with django_assert_num_queries(3):  # savepoint, look, release
            partitions.keep_ahead(now)
        with django_assert_num_queries(0):
            partitions.keep_ahead(now.replace(minute=0))
        with django_assert_num_queries(3):
            partitions.keep_ahead(now + timedelta(hours=1))
