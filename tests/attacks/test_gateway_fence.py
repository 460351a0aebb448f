"""One call, once, and only under a lease and with its event (T04; gateway.md 5, rows 19 and 22)."""

import threading

import pytest

from audit.taxonomy import Event
from gateway.contract import CallState
from provenance.ids import uuid7
from tests import databases
from tests.attacks.calls import call_body, refused
from tests.fakes.mcp_server import text


@pytest.mark.parametrize("loss", ["fence = 2", "state = 'ready'", "lease_until = now() - interval '1 second'"])
def test_a_worker_that_lost_its_lease_performs_nothing(echo, fake, loss):
    echo.start_run()
    echo.owner_does(f"UPDATE workflows_token SET {loss}")
    refused(echo, echo.call("helper", "up.echo", text="x"), "call.fenced")
    assert not fake.calls


@pytest.mark.parametrize("status", ["canceling", "paused", "waiting"])
def test_a_run_that_does_not_run_calls_nothing(echo, fake, status):
    echo.start_run()
    echo.owner_does("UPDATE workflows_run SET status = %s", status)
    assert echo.call("helper", "up.echo", text="x").state is CallState.BLOCKED
    assert not fake.calls


def test_a_worker_may_not_lie_about_the_environment(echo, fake):
    with echo.http("helper", environment="development") as client:
        answer = client.post("/call", json=call_body("up.echo", text="x")).json()
    assert (answer["state"], answer["rule"]) == ("blocked", "call.fenced")
    assert not fake.calls


def test_twenty_at_once_with_one_id_perform_one_call(echo, fake):
    call_id = uuid7()
    echo.start_run()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(echo.call("helper", "up.echo", call_id=call_id, text="x")))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.calls) == 1
    assert {answer.state for answer in answers} <= {CallState.SUCCEEDED, CallState.STARTED}
    assert echo.outcome("helper", call_id).state is CallState.SUCCEEDED
    assert len(echo.events(Event.MCP_TOOL_CALLED)) == 1


def test_answers_of_calls_in_flight_at_once_are_not_swapped(echo, fake):
    """Row 19."""
    fake.reply = lambda _name, arguments: text(arguments["text"])
    answers = {}
    echo.start_run()
    threads = [
        threading.Thread(
            target=lambda n=n: answers.update({n: echo.call("helper", "up.echo", text=f"call {n}").result.text})
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"call {n}" for n in range(12)}


def test_without_the_log_nothing_is_sent(echo, fake):
    """The event cannot be stored: the call must not happen."""
    assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    with databases.admin() as connection:
        connection.execute("REVOKE INSERT ON audit.event FROM prov_owner")
        try:
            with echo.http("helper") as client:
                response = client.post("/call", json=call_body("up.echo", text="y"))
        finally:
            connection.execute("GRANT INSERT ON audit.event TO prov_owner")
    assert response.status_code == 503
    assert len(fake.calls) == 1
    assert echo.call("helper", "up.echo", text="z").state is CallState.SUCCEEDED
