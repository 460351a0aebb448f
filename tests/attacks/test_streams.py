"""Streams in the wrong hands: tickets for others, receivers that lie, stall or lead elsewhere, addresses that moved (T02)."""

import socket
import time
from uuid import UUID

import httpx2
import pytest
from django.conf import settings
from django.db import Error, connection, transaction

from apikeys.authentication import actor_for_key
from apikeys.services import issue_key
from audit.taxonomy import Event
from gateway.deliveries import door, tickets
from gateway.deliveries.tickets import Ticket
from provenance.db import enter
from provenance.errors import PermissionDenied
from provenance.ids import uuid7
from provenance.permissions import SCOPES
from streams import delivery, tasks
from streams.models import Sink
from streams.services import digests, sinks
from streams.services.digests import Contents
from streams.services.sinks import Settings
from tests import databases, factories
from tests.addresses import addresses
from tests.browsing import program
from tests.fakes.http_server import serving
from tests.fakes.receivers import syslog_server
from tests.gateway.world import unguarded
from tests.streams.river import WEBHOOK_KEY, ca, river

__all__ = ["ca", "river"]

BODY = {"body": "{}", "name": "log/1-2.jsonl", "message_id": "msg.1"}


def ok(connection, _request):
    connection.answer()


def held(river, sink, seconds=60):
    """Let a worker hold the stream under fence 5."""
    with databases.admin() as owner:
        owner.execute(
            "UPDATE streams_cursor SET fence = 5, lease_until = now() + make_interval(secs => %s) WHERE sink_id = %s",
            [seconds, sink.pk],
        )


def bring(river, purpose="sink", body=BODY, token="", **changes):
    """What a hijacked worker sends to the gateway."""
    claims = {"purpose": "sink", "workspace_id": river.workspace_id, "subject_id": uuid7(), "fence": 5, **changes}
    token = token or tickets.mint(Ticket(**claims), settings.CALL_TOKEN)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.post(f"{river.world.url}/call/deliver/{purpose}", json=body, headers=headers, timeout=20)


def test_a_worker_sends_only_where_it_holds_the_stream_and_only_what_is_shaped_like_a_delivery(river):
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        held(river, sink)
        other = factories.make_workspace()
        refused = [
            bring(river, subject_id=sink.pk, fence=4),
            bring(river, subject_id=sink.pk, fence=6),
            bring(river, subject_id=sink.pk, workspace_id=other.id),
            bring(river),
            bring(river, subject_id=sink.pk, purpose="digest"),
            bring(river, subject_id=sink.pk, body={**BODY, "name": "../../other"}),
            bring(river, subject_id=sink.pk, body={**BODY, "message_id": "a\r\nx-evil: 1"}),
            bring(river, subject_id=sink.pk, body={**BODY, "address": "https://evil.example.com/"}),
            bring(river, subject_id=sink.pk, body=["x"]),
            bring(river, token="x"),
        ]
        assert [answer.status_code for answer in refused] == [403, 403, 403, 403, 400, 400, 400, 400, 400, 401]
        assert not receiver.requests
        assert bring(river, subject_id=sink.pk).json() == {"confirmed": True, "problem": ""}
        held(river, sink, seconds=-1)
        assert bring(river, subject_id=sink.pk).status_code == 403
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("ticket", [{"expires_at": 1}, {"expires_at": int(time.time()) + 10**6}, {"more": 1}])
def test_a_ticket_lives_for_minutes_and_carries_nothing_else(ticket):
    from django.core import signing

    from provenance.errors import Unauthenticated

    body = {"purpose": "sink", "workspace_id": str(uuid7()), "subject_id": str(uuid7()), "fence": 1}
    text = signing.Signer(key="k" * 32, salt=tickets.SALT).sign_object(
        {**body, "expires_at": int(time.time()) + 60, **ticket}
    )
    with pytest.raises(Unauthenticated):
        tickets.check(text, "k" * 32)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("worker", "UPDATE streams_sink SET address = 'https://evil.example.com/'"),
        ("worker", "DELETE FROM streams_cursor"),
        ("worker", "UPDATE streams_digest SET readers = '[]'"),
        ("gateway", "UPDATE streams_sink SET status = 'enabled'"),
        ("gateway", "UPDATE streams_cursor SET next_idx = 9"),
        ("web", "UPDATE streams_cursor SET next_idx = 9"),
        ("web", "UPDATE streams_digestsend SET sent_at = now()"),
    ],
)
def test_each_process_moves_only_what_is_its_own(workspace, as_role, role, statement):
    """T01: where events go is for people at web, how far they have come is for the worker that sends them."""
    with as_role(role), pytest.raises(Error, match="permission denied"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("change", ["with_labels = true", "events = '{run}'"])
def test_a_record_that_was_changed_past_the_platform_gets_nothing(river, change):
    """T06: whoever owns the database decides neither what leaves nor whereto."""
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("ocsf", f"https://127.0.0.1:{receiver.port}/in")
        with unguarded("streams_sink") as owner:
            owner.execute(f"UPDATE streams_sink SET {change}")
        river.tell(1, Event.HALT_ENGAGED)
        assert river.flow(sink) == 0
        assert "not what the log says" in river.cursor(sink).last_error
        held(river, sink)
        answer = bring(river, subject_id=sink.pk).json()  # a worker that does not look
        assert "not those that were signed" in answer["problem"]
        assert not receiver.requests
    told, *_ = river.events(Event.AUDIT_ROW_ALTERED)
    assert (told.object_type, told.object_id) == ("sink", str(sink.pk))


@pytest.fixture
def stolen(river):
    """A key of an administrator that carries every scope there is."""
    with enter(river.workspace_id):
        _row, text = issue_key(actor=river.admin, name="stolen", scopes=sorted(SCOPES), expires_in_days=1)
    return text


def test_a_stolen_key_sends_the_log_nowhere(river, stolen):
    """Where the log goes outlives the key that says so: not even all scopes of an administrator's key decide it."""
    sink = river.sink("webhook", "https://127.0.0.1:9/in", credential=WEBHOOK_KEY)
    with enter(river.workspace_id):
        thief = actor_for_key(stolen)
        digest = digests.create_digest(actor=river.admin, contents=Contents(title="A", readers=[UUID(river.admin.id)]))
        elsewhere = Settings(address="https://evil.example.com/in", credential=WEBHOOK_KEY)
        readers = Contents(title="B", readers=[UUID(river.admin.id)])
        attempts = {
            "create_sink": lambda: sinks.create_sink(actor=thief, name="out", kind="webhook", wanted=elsewhere),
            "change_sink": lambda: sinks.change_sink(
                actor=thief, sink_id=sink.pk, changes={"address": elsewhere.address, "credential": WEBHOOK_KEY}
            ),
            "disable_sink": lambda: sinks.disable_sink(actor=thief, sink_id=sink.pk, reason="x"),
            "enable_sink": lambda: sinks.enable_sink(actor=thief, sink_id=sink.pk, reason="x"),
            "remove_sink": lambda: sinks.remove_sink(actor=thief, sink_id=sink.pk, reason="x"),
            "create_digest": lambda: digests.create_digest(actor=thief, contents=readers),
            "change_digest": lambda: digests.change_digest(actor=thief, digest_id=digest.pk, contents=readers),
            "remove_digest": lambda: digests.remove_digest(actor=thief, digest_id=digest.pk, reason="x"),
        }
        for attempt in attempts.values():
            with pytest.raises(PermissionDenied, match=r"workspace:write"), transaction.atomic():
                attempt()
        assert set(attempts) == {
            name for module in (sinks, digests) for name in vars(module) if name.endswith(("_sink", "_digest"))
        }
        assert Sink.objects.get().address == "https://127.0.0.1:9/in"


def test_no_address_of_the_api_changes_where_the_log_goes(river, stolen):
    """Whatever is sent there: what a key may do with streams and digests is read them."""
    sink = river.sink("webhook", "https://127.0.0.1:9/in", credential=WEBHOOK_KEY)
    body = {"name": "out", "kind": "webhook", "address": "https://evil.example.com/in", "private_network": True}
    routes = [
        address
        for address, _pattern in addresses()
        if address.startswith(("api/v1/audit/sinks", "api/v1/audit/digests"))
    ]
    assert len(routes) >= 4
    key = program(stolen)
    for route in routes:
        address = f"/{route.replace('<str:sink_id>', str(sink))}"
        for send in (key.post, key.put, key.patch, key.delete):
            answer = send(address, body, content_type="application/json")
            assert answer.status_code == 405, (address, answer.content)
    with enter(river.workspace_id):
        assert Sink.objects.get().address == "https://127.0.0.1:9/in"
    assert not [event for event in river.events(Event.AUDIT_SINK_CREATED) if event.actor_type != "user"]


def test_an_address_that_moved_in_the_database_gets_no_secret(river):
    """Even where the record is believed: the binding is asked for the address of now."""
    with serving(ok, tls=river.ca.server) as evil:
        sink = river.sink("webhook", "https://127.0.0.1:9/in", credential=WEBHOOK_KEY)
        with unguarded("streams_sink") as owner:
            owner.execute("UPDATE streams_sink SET address = %s", [f"https://127.0.0.1:{evil.port}/in"])
        held(river, sink)
        assert f"not bound to https://127.0.0.1:{evil.port}" in bring(river, subject_id=sink.pk).json()["problem"]
        assert not evil.requests


def test_files_go_to_no_directory_that_was_moved_past_the_platform(river, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "STREAMS_DIRECTORY", str(tmp_path / "root"))
    sink = river.sink("directory", "archive")
    with unguarded("streams_sink") as owner:
        owner.execute("UPDATE streams_sink SET address = '../../elsewhere'")
    river.tell()
    for _ in range(2):
        assert river.flow(sink) == 0
        river.hurry(sink)
    assert not list(tmp_path.rglob("*.jsonl"))
    assert len(river.events(Event.AUDIT_ROW_ALTERED)) == 1


def test_a_name_that_leads_inside_is_not_reached(river, monkeypatch):
    """The name was harmless when the stream was registered."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if host == "siem.example.com" else host, *a, **k)
    )
    with serving(ok, tls=river.ca.server) as https, syslog_server(river.ca.server) as syslog:
        hook = river.sink(
            "webhook", f"https://siem.example.com:{https.port}/", private_network=False, credential=WEBHOOK_KEY
        )
        line = river.sink("cef", f"tls://siem.example.com:{syslog.port}", private_network=False)
        river.tell()
        for sink in (hook, line):
            assert river.flow(sink) == 0
            assert "not on the public internet" in river.cursor(sink).last_error
        assert not https.requests
        assert not syslog.sessions


def test_a_redirect_leads_nowhere(river):
    with serving(ok) as evil:

        def elsewhere(connection, _request):
            connection.answer(status="307 Temporary Redirect", Location=evil.url)

        with serving(elsewhere, tls=river.ca.server) as receiver:
            sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
            river.tell()
            assert river.flow(sink) == 0
            assert "redirect" in river.cursor(sink).last_error
        assert not evil.requests


def test_a_receiver_that_stalls_is_given_up_and_an_endless_answer_is_not_read(river, monkeypatch):
    # Long for those that answer, also on a busy machine, and short for the one that would take minutes.
    monkeypatch.setattr(door, "DELIVERY_SECONDS", 4.0)

    def endless(connection, _request):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while connection.pause(0.01):
            connection.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    def drip(connection, _request):
        for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            if not connection.pause(0.05):
                return
            connection.send(bytes([letter]))

    tls = river.ca.server
    with serving(endless, tls=tls) as talks, serving(drip, tls=tls) as slow, serving(ok, tls=tls) as good:
        sinks = [
            river.sink("webhook", f"https://127.0.0.1:{server.port}/in", name=name, credential=WEBHOOK_KEY)
            for name, server in (("talks", talks), ("slow", slow), ("good", good))
        ]
        river.tell()
        began = time.monotonic()
        assert [river.flow(sink) > 0 for sink in sinks] == [True, False, True]
        assert time.monotonic() - began < 60
    assert "DeadlineExceeded" in river.cursor(sinks[1]).last_error


def test_a_syslog_server_that_stops_reading_is_given_up(river, monkeypatch):
    monkeypatch.setattr(door, "DELIVERY_SECONDS", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))  # takes the connection and never says a word
    try:
        sink = river.sink("syslog", f"tls://127.0.0.1:{listener.getsockname()[1]}")
        river.tell()
        assert river.flow(sink) == 0
        assert "did not answer" in river.cursor(sink).last_error
    finally:
        listener.close()


def test_slow_receivers_leave_threads_to_runs_and_their_turn_to_others(river, monkeypatch):
    """Nobody's receivers take all hands of a worker, nor does one that has much to catch up with keep its own."""
    asked = []
    monkeypatch.setattr(tasks.delivery, "stream", lambda *ids: asked.append(ids))
    for _ in range(tasks.AT_ONCE):
        assert tasks._free.acquire(blocking=False)
    try:
        tasks.stream(str(river.workspace_id), str(uuid7()))
        assert not asked
    finally:
        for _ in range(tasks.AT_ONCE):
            tasks._free.release()
    tasks.stream(str(river.workspace_id), str(uuid7()))
    tasks.stream("no id", "../x")
    assert len(asked) == 1
    monkeypatch.undo()
    monkeypatch.setattr(settings, "GATEWAY_URL", river.world.url)
    monkeypatch.setattr(delivery, "MOST_SECONDS", 0.001)
    monkeypatch.setattr(delivery.reading, "WINDOW", 2)
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("ocsf", f"https://127.0.0.1:{receiver.port}/in")
        river.tell(5)
        assert river.flow(sink) == 2
        assert river.flow(sink) == 2
