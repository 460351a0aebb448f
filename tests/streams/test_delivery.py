"""The sealed log reaches receivers at least once, in order and without a gap, and a dead one holds up nobody (M127)."""

import base64
import hashlib
import hmac
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from audit.judging import event_entry
from audit.merkle import leaf_hash
from audit.notes import Checkpoint
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id
from streams import delivery, sweep
from streams.services import sinks
from tests import databases
from tests.audit import sealing
from tests.browsing import browser
from tests.fakes.http_server import serving
from tests.fakes.receivers import authority, fake_bucket, syslog_server
from tests.gateway.world import detail
from tests.ports import free_ports
from tests.streams.river import BUCKET_KEY, WEBHOOK_KEY, indices, records_of


def ok(connection, _request):
    connection.answer()


def test_a_webhook_gets_every_event_once_signed_and_in_order(river):
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        first = river.cursor(sink).next_idx
        ids = river.tell(delivery.reading.WINDOW + 10)
        assert river.flow(sink) == len(river.log()) - first
        assert river.flow(sink) == 0
    records = [record for request in receiver.requests for record in records_of(request.body)]
    assert indices(records) == list(range(first, len(river.log())))
    assert [json.loads(record["body"])["id"] for record in records][-len(ids) :] == ids
    assert [record["previous_index"] for record in records] == [None, *indices(records)[:-1]]
    for record, (index, event_id) in zip(records, river.log()[first:], strict=True):
        entry = event_entry(record["body"].encode(), base64.b64decode(record["mac"]))
        assert base64.b64decode(record["leaf"]) == leaf_hash(entry)
        assert (record["log_index"], json.loads(record["body"])["id"]) == (index, event_id)
    assert base64.b64decode(records[-1]["leaf"]) == sealing.leaf_of(ids[-1])
    for request in receiver.requests:
        signed = b".".join(
            [request.headers["webhook-id"].encode(), request.headers["webhook-timestamp"].encode(), request.body]
        )
        mac = hmac.digest(base64.b64decode(WEBHOOK_KEY.removeprefix("whsec_")), signed, hashlib.sha256)
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        assert json.loads(request.body)["data"]["checkpoint"].startswith(json.loads(request.body)["data"]["origin"])


def test_a_receiver_that_is_restarted_misses_nothing_and_repeats_only_what_it_had_not_confirmed(river, monkeypatch):
    """Killed in the middle: the batch that was under way comes again, byte for byte and under the same id."""
    monkeypatch.setattr(delivery.reading, "WINDOW", 5)
    stored = []

    def dies_at_the_third(connection, request):
        if len(stored) == 2:
            stored.append(request)
            connection.socket.shutdown(socket.SHUT_RDWR)  # it has the batch, and nobody will ever know
            return
        stored.append(request)
        connection.answer()

    with serving(dies_at_the_third, tls=river.ca.server, port=free_ports(1)) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        first = river.cursor(sink).next_idx
        river.tell(30)
        river.flow(sink)
    assert river.cursor(sink).next_idx == first + 10
    river.hurry(sink)
    assert river.flow(sink) == 0  # nobody listens
    assert river.cursor(sink).failures == 2
    river.tell(3)
    river.hurry(sink)

    def keeps(connection, request):
        stored.append(request)
        connection.answer()

    with serving(keeps, tls=river.ca.server, port=receiver.port):
        river.flow(sink)
    batches = [indices(records_of(request.body)) for request in stored]
    assert batches[2] == batches[3]
    assert stored[2].body == stored[3].body
    assert stored[2].headers["webhook-id"] == stored[3].headers["webhook-id"]
    once = [index for batch in [*batches[:2], *batches[3:]] for index in batch]
    assert once == list(range(first, len(river.log())))


def test_an_outage_is_told_once_with_what_waits_and_its_end_once(river):
    sink = river.sink("webhook", "https://127.0.0.1:9/in", credential=WEBHOOK_KEY)
    river.tell(4)
    for _ in range(delivery.FAILURES_OF_AN_OUTAGE + 2):
        assert river.flow(sink) == 0
        assert river.flow(sink) == 0  # it waits before it tries again
        river.hurry(sink)
    (failed,) = river.events(Event.AUDIT_SINK_FAILED)
    assert (failed.object_id, failed.risk, failed.kid) == (str(sink.pk), "high", "worker-1")
    assert detail(failed)["backlog"] >= 4
    assert "did not answer" in detail(failed)["problem"]
    with serving(ok, tls=river.ca.server) as receiver:
        with enter(river.workspace_id):
            address = f"https://127.0.0.1:{receiver.port}/in"
            changes = {"address": address, "credential": WEBHOOK_KEY}
            sinks.change_sink(actor=river.admin, sink_id=sink.pk, changes=changes)
        assert river.flow(sink) > 4
        assert river.flow(sink) == 0
    (recovered,) = river.events(Event.AUDIT_SINK_RECOVERED)
    assert recovered.object_id == str(sink.pk)
    assert len(river.events(Event.AUDIT_SINK_FAILED)) == 1


def _flow_in_a_thread(river):
    def work(sink_id):
        try:
            return delivery.stream(river.workspace_id, sink_id)
        finally:
            connection.close()

    return work


def test_two_workers_at_once_send_each_event_once_and_in_order(river, monkeypatch):
    monkeypatch.setattr(delivery.reading, "WINDOW", 4)
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        first = river.cursor(sink).next_idx
        river.tell(20)
        before = databases.become("prov_worker")
        monkeypatch.setattr(settings, "AUDIT_SIGNS_AS", "worker")
        try:
            with ThreadPoolExecutor(3) as pool:
                confirmed = list(pool.map(_flow_in_a_thread(river), [sink.pk] * 3))
        finally:
            databases.become(before)
    sent = [index for request in receiver.requests for index in indices(records_of(request.body))]
    assert sent == list(range(first, len(river.log())))
    assert sorted(confirmed)[:2] == [0, 0]


def test_syslog_counts_octets_and_is_confirmed_by_the_end_of_the_session(river):
    with syslog_server(river.ca.server) as receiver:
        sink = river.sink("syslog", receiver.address)
        first = river.cursor(sink).next_idx
        river.tell(7)
        river.flow(sink)
    assert len(receiver.messages) == len(river.log()) - first
    for index, message in enumerate(receiver.messages, start=first):
        head, _, text = message.partition("\ufeff")
        assert head.startswith("<1")
        assert f'index="{index}"' in head
        assert json.loads(text)["log_index"] == index


def test_syslog_that_does_not_end_the_session_has_confirmed_nothing(river):
    with syslog_server(river.ca.server, port=free_ports(1), confirms=False) as receiver:
        sink = river.sink("syslog", receiver.address)
        river.tell()
        assert river.flow(sink) == 0
        assert "did not end the TLS session" in river.cursor(sink).last_error
    river.hurry(sink)
    with syslog_server(river.ca.server, port=receiver.port) as receiver:
        assert river.flow(sink) >= 1
        assert len(receiver.messages) >= 1


@pytest.mark.parametrize("kind", ["syslog", "webhook"])
def test_a_certificate_of_another_authority_is_refused(river, kind, tmp_path):
    other = authority(tmp_path)
    with syslog_server(other.server) as syslog, serving(ok, tls=other.server) as https:
        address = syslog.address if kind == "syslog" else f"https://127.0.0.1:{https.port}/in"
        more = {} if kind == "syslog" else {"credential": WEBHOOK_KEY}
        sink = river.sink(kind, address, **more)
        river.tell()
        assert river.flow(sink) == 0
        assert river.cursor(sink).failures == 1
        assert not syslog.sessions
        assert not https.requests


def test_a_bucket_holds_one_object_for_each_range_and_a_repeat_overwrites_it(river, monkeypatch):
    with fake_bucket(river.ca.server) as bucket:
        sink = river.sink("s3", f"https://127.0.0.1:{bucket.server.port}/audit/prod", credential=BUCKET_KEY)
        first = river.cursor(sink).next_idx
        river.tell(5)
        begun = len(river.log())
        unlucky = delivery._confirm
        monkeypatch.setattr(delivery, "_confirm", lambda *_: 1 / 0)  # the worker dies before it can note it
        with pytest.raises(ZeroDivisionError):
            river.flow(sink)
        monkeypatch.setattr(delivery, "_confirm", unlucky)
        with databases.admin() as owner:
            owner.execute("UPDATE streams_cursor SET lease_until = now()")
        river.tell(3)
        river.flow(sink)
    names = sorted(bucket.objects)
    assert names[0].startswith(f"/audit/prod/{sealing.ORIGIN}/{river.workspace_id}/{first:015}-{begun:015}")
    assert [len(set(bodies)) for bodies in bucket.objects.values()] == [1] * len(names)
    assert len(bucket.objects[names[0]]) == 2
    lines = [json.loads(line) for name in names for line in bucket.objects[name][0].splitlines()]
    assert indices(lines) == list(range(first, len(river.log())))
    assert all("Credential=AKIDEXAMPLE/" in text for text in bucket.authorizations)


def test_a_directory_holds_one_file_for_each_range(river, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "STREAMS_DIRECTORY", str(tmp_path))
    sink = river.sink("directory", "archive", from_beginning=True)
    river.tell(3)
    river.flow(sink)
    files = sorted(Path(tmp_path).rglob("*"))
    written = [path for path in files if path.is_file()]
    assert all(path.suffix == ".jsonl" for path in written)
    assert all(path.is_relative_to(tmp_path / str(river.workspace_id) / "archive") for path in written)
    lines = [json.loads(line) for path in written for line in path.read_text("utf-8").splitlines()]
    assert indices(lines) == list(range(len(river.log())))


def test_a_filter_leaves_events_out_and_the_rest_says_what_came_before(river):
    with serving(ok, tls=river.ca.server) as receiver:
        address = f"https://127.0.0.1:{receiver.port}/in"
        sink = river.sink("webhook", address, credential=WEBHOOK_KEY, risk="high", events=["run", "halt.engaged"])
        river.tell(3)
        river.tell(1, Event.RUN_FAILED)
        river.tell(2)
        river.tell(1, Event.RUN_FAILED)
        river.tell(1, Event.SECRET_ACCESSED)
        assert river.flow(sink) == 2
    records = [record for request in receiver.requests for record in records_of(request.body)]
    assert [json.loads(record["body"])["action"] for record in records] == ["run.failed", "run.failed"]
    assert records[1]["previous_index"] == records[0]["log_index"]
    assert river.cursor(sink).next_idx == len(river.log())


def test_the_sweep_rings_once_for_each_receiver_that_is_due(river, monkeypatch):
    rung = []
    monkeypatch.setattr(sweep.current_app, "send_task", lambda name, args, **_: rung.append((name, *args)))
    sink = river.sink("webhook", "https://127.0.0.1:9/in", credential=WEBHOOK_KEY)
    idle = river.sink("webhook", "https://127.0.0.1:9/in", name="stopped", credential=WEBHOOK_KEY)
    with enter(river.workspace_id):
        sinks.disable_sink(actor=river.admin, sink_id=idle.pk, reason="Not now.")
    river.tell()
    before = databases.become("prov_worker")
    try:
        assert [sweep.ring_due(), sweep.ring_due()] == [1, 0]
    finally:
        databases.become(before)
    assert rung == [("streams.stream", str(river.workspace_id), str(sink.pk))]


def test_what_is_not_published_is_not_sent(river):
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        river.flow(sink)
        known = len(receiver.requests)
        with databases.admin() as owner:
            size = river.cursor(sink).next_idx
        river.tell(2)
        with databases.admin() as owner:
            owner.execute("ALTER TABLE audit.checkpoint DISABLE TRIGGER USER")
            owner.execute(
                "UPDATE audit.checkpoint SET signatures = NULL WHERE size > %s AND workspace_id IS NOT NULL", [size]
            )
            owner.execute("ALTER TABLE audit.checkpoint ENABLE ALWAYS TRIGGER audit_only_sign")
            owner.execute("ALTER TABLE audit.checkpoint ENABLE ALWAYS TRIGGER audit_no_truncate")
        assert river.flow(sink) == 0
        assert len(receiver.requests) == known


def test_a_checkpoint_that_is_none_is_an_outage_and_nothing_is_sent_by_it(river):
    with syslog_server(river.ca.server) as receiver:
        sink = river.sink("syslog", receiver.address)
        river.tell()
        sealing.tamper("UPDATE audit.checkpoint SET note = 'nothing' WHERE workspace_id = %s", river.workspace_id)
        for _ in range(delivery.FAILURES_OF_AN_OUTAGE):
            river.hurry(sink)
            assert river.flow(sink) == 0
        assert not receiver.messages
    assert "is none: this is no checkpoint. Run `./manage.py fsck`" in river.cursor(sink).last_error
    assert len(river.events(Event.AUDIT_SINK_FAILED)) == 1


@pytest.mark.parametrize("change", ["epoch = NULL", "next_idx = NULL", "next_idx = -1"])
def test_a_stream_that_is_nowhere_is_shown_and_sends_nothing(river, change):
    """Nobody signed how far a stream came, and whoever owns the table can take NOT NULL away."""
    column = change.split(" ")[0]
    with syslog_server(river.ca.server) as receiver, databases.admin() as owner:
        sink = river.sink("syslog", receiver.address)
        river.tell()
        owner.execute(f"ALTER TABLE streams_cursor ALTER {column} DROP NOT NULL")
        try:
            owner.execute(f"UPDATE streams_cursor SET {change}")
            assert browser(river.admin).get(f"/w/{river.world.workspace.slug}/streams/").status_code == 200
            assert river.flow(sink) == 0
            problem = river.cursor(sink).last_error
        finally:
            owner.execute("DELETE FROM streams_cursor")
            owner.execute(f"ALTER TABLE streams_cursor ALTER {column} SET NOT NULL")
        assert not receiver.messages
    assert problem.startswith("How far this stream came is not known any more")


def test_a_stream_whose_place_was_taken_away_is_shown_as_failing(river):
    sink = river.sink("syslog", "tls://127.0.0.1:1")
    with databases.admin() as owner:
        owner.execute("DELETE FROM streams_cursor")
    client, address = browser(river.admin), f"/w/{river.world.workspace.slug}/streams/"
    listed, shown = client.get(address), client.get(f"{address}{public_id('snk', sink.pk)}/")
    assert (listed.status_code, shown.status_code) == (200, 200)
    assert "is not known any more" in shown.text
    assert river.flow(sink) == 0


def test_a_log_that_was_begun_anew_is_followed_once_the_old_one_is_through(river):
    """audit.md 4.5: another origin, which counts from 0 again; nothing of the old one is skipped."""
    with serving(ok, tls=river.ca.server) as receiver:
        sink = river.sink("webhook", f"https://127.0.0.1:{receiver.port}/in", credential=WEBHOOK_KEY)
        first = river.cursor(sink).next_idx
        river.tell(2)
        old = len(river.log())
        begin_anew(river, river.tell_unsealed())
        river.flow(sink)
    records = [record for request in receiver.requests for record in records_of(request.body)]
    assert indices(records) == [*range(first, old), 0]
    assert {record["origin"] for record in records[:-1]} == {f"{sealing.ORIGIN}/{river.workspace_id}"}
    assert (records[-1]["origin"], records[-1]["previous_index"]) == (f"{sealing.ORIGIN}/{river.workspace_id}/e2", None)
    assert (river.cursor(sink).epoch, river.cursor(sink).next_idx) == (2, 1)


def begin_anew(river, event_id):
    """A second epoch of the log with this one event, as `start-epoch` and the sealer leave it."""
    leaf, origin = sealing.leaf_of(event_id), f"{sealing.ORIGIN}/{river.workspace_id}/e2"
    note = Checkpoint(origin, 1, leaf).text
    sealing.tamper("INSERT INTO audit.log (workspace_id, epoch, origin) VALUES (%s, 2, %s)", river.workspace_id, origin)
    log = "(SELECT id FROM audit.log WHERE epoch = 2)"
    sealing.tamper(f"INSERT INTO audit.leaf (log_id, idx, hash, event_id) VALUES ({log}, 0, %s, %s)", leaf, event_id)
    sealing.tamper(
        "INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, signatures, frontier)"
        f" VALUES ({log}, %s, 1, %s, %s, %s)",
        river.workspace_id, note, sealing.SIGNER.sign(Checkpoint(origin, 1, leaf), is_instance=False), leaf,
    )  # fmt: skip
