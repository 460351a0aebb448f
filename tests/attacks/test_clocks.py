"""The clock of the database was ahead for a while, by mistake or by whoever has its host: nothing waits for that time to come."""

import time
from datetime import timedelta

import pytest
from django.test import Client

from audit import condition
from audit.clocks import CLOCK_TOLERANCE
from provenance import ids
from provenance.db import enter
from streams import delivery
from streams import sweep as streams_sweep
from tests import databases
from tests.fakes.http_server import serving
from tests.streams.river import WEBHOOK_KEY, ca, river
from tests.waiting import wait_until
from tests.workflows.driving import fresh, published
from tests.workflows.samples import ADDING
from workflows import doorbell, services, sweep
from workflows.models import Token

__all__ = ["ca", "river"]

A_YEAR = "clock_timestamp() + interval '1 year'"


@pytest.fixture
def run(editor, monkeypatch):
    """A run that nobody rings for."""
    monkeypatch.setattr(doorbell, "ring", lambda *_bell: True)
    with enter(editor.workspace_id):
        published(editor, ADDING, "adding")
        return services.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})


def as_owner(statement):
    with databases.admin() as owner:
        assert owner.execute(statement).rowcount == 1


@pytest.mark.django_db(transaction=True)
def test_another_worker_leads_though_the_lead_was_taken_for_a_year(workspace, as_role, monkeypatch):
    with as_role("worker"):
        assert sweep.lead()
        monkeypatch.setattr(sweep, "OWNER", "another worker")
        assert not sweep.lead()
        as_owner(f"UPDATE workflows_leader SET until = {A_YEAR}")
        assert sweep.lead()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("held", [False, True], ids=["ready", "leased"])
def test_a_run_put_off_for_a_year_goes_on(run, as_role, monkeypatch, held):
    monkeypatch.setattr(sweep, "_ahead", sweep._Ahead())
    lease = f"state = 'leased', owner = 'gone', lease_until = {A_YEAR}, " if held else ""
    as_owner(f"UPDATE workflows_token SET {lease} wake_at = {A_YEAR} WHERE run_id = '{run.pk}'")
    with as_role("worker"):
        sweep.sweep_once()
        wait_until(lambda: fresh(run).status == "succeeded")


@pytest.mark.django_db(transaction=True)
def test_it_is_looked_for_once_a_minute(run, as_role, monkeypatch):
    """Twice for one token would wake it when it waits for something else by then."""
    monkeypatch.setattr(sweep, "_ahead", sweep._Ahead())
    with as_role("worker"):
        assert sweep._ahead() == []
        as_owner(f"UPDATE workflows_token SET wake_at = {A_YEAR} WHERE run_id = '{run.pk}'")
        assert sweep._ahead() == []
        assert len(sweep._Ahead()()) == 1
        with enter(run.workspace_id):
            assert Token.objects.get(run_id=run.pk).state == "ready"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("column", ["next_at", "lease_until", "rung_until"])
def test_a_stream_put_off_for_a_year_flows(river, monkeypatch, column):
    monkeypatch.setattr(streams_sweep.current_app, "send_task", lambda *_, **__: None)
    with serving(lambda connection, _request: connection.answer(), tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        river.tell()
        as_owner(f"UPDATE streams_cursor SET {column} = {A_YEAR} WHERE sink_id = '{sink.pk}'")
        before = databases.become("prov_worker")
        try:
            assert streams_sweep.ring_due() == 1
        finally:
            databases.become(before)
        assert river.flow(sink) > 0
        as_owner(
            f"UPDATE streams_cursor SET next_at = clock_timestamp() + interval '5 minutes' WHERE sink_id = '{sink.pk}'"
        )
        river.tell()
        assert river.flow(sink) == 0, "a pause after a failure is kept"
    assert delivery.LONGEST_PAUSE_SECONDS <= 300


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("sign", "says"), [(1, "behind"), (-1, "ahead of")])
def test_clocks_that_differ_show_before_events_are_refused(monkeypatch, sign, says):
    now = condition.own_now
    assert condition.condition().warnings == []
    monkeypatch.setattr(condition, "own_now", lambda: now() + sign * CLOCK_TOLERANCE / 2)
    answer = Client().get("/readyz").json()
    assert answer["status"] == "degraded"
    assert f"{says} this host's: from 0:05:00 on no event is accepted" in answer["warnings"][0]


def test_ids_follow_the_clock_back_when_it_was_ahead_and_never_for_less(monkeypatch):
    """Else a process whose clock jumped once has every event refused until somebody starts it anew."""
    right = time.time_ns()
    monkeypatch.setattr(ids, "_last", 0)

    def made(seconds):
        monkeypatch.setattr(ids.time, "time_ns", lambda: right + seconds * 10**9)
        return ids.uuid7()

    first, ahead, back = made(0), made(86_400), made(1)
    assert first < back < ahead
    assert ids.uuid7_time(back) - ids.uuid7_time(first) == timedelta(seconds=1)
    little = [made(seconds) for seconds in (2, 30, 10, 3)]
    assert little == sorted(little), "a small step back is no reason to repeat what was"
