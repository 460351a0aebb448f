"""Registering and changing receivers: who may, what is refused and why, and the secret that goes nowhere else (T02)."""

import re

import pytest
from django.conf import settings

from apikeys.services import issue_key
from audit.taxonomy import Event
from provenance.db import enter
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.ids import public_id
from secrets_vault import services as vault
from secrets_vault.models import Secret, SecretBinding
from streams.models import Cursor, Sink
from streams.services import sinks
from streams.services.sinks import Settings, SinkExists
from tests import factories
from tests.browsing import browser, program
from tests.racing import at_once
from tests.streams.river import WEBHOOK_KEY

HOOK = "https://siem.example.com/hook"


def make(actor, name="siem", kind="webhook", **more):
    values = {"address": HOOK, "credential": WEBHOOK_KEY, **more}
    return sinks.create_sink(actor=actor, name=name, kind=kind, wanted=Settings(**values))


def refusal(actor, **more):
    with pytest.raises(Invalid) as caught:
        make(actor, **more)
    assert not Sink.objects.exists()
    return caught.value.data["errors"][0]


def test_a_receiver_begins_where_the_log_is_and_the_log_says_so(admin, events):
    sink = make(admin, risk="high", events=["run", "halt.engaged"])
    assert (sink.secret_name, sink.events) == ("sink-siem", ["halt.engaged", "run"])
    assert Cursor.objects.get(sink=sink).next_idx == 0
    (created,) = events(Event.AUDIT_SINK_CREATED)
    assert (created.object_id, created.risk) == (str(sink.pk), "high")
    assert WEBHOOK_KEY not in str([event.body for event in events()])
    (binding,) = SecretBinding.objects.all()
    assert (binding.origin, binding.slot) == ("https://siem.example.com:443", "field:webhook-signing-key")


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"name": "Siem"}, "name", "lower-case"),
        ({"kind": "ftp"}, "kind", "webhook"),
        ({"address": "http://siem.example.com/"}, "address", "only https"),
        ({"address": "https://user:pw@siem.example.com/"}, "address", "user name"),
        ({"address": "https://siem.example.com/?token=x"}, "address", "vault"),
        ({"address": "https://127.0.0.1/"}, "address", "public internet"),
        ({"address": "https://169.254.169.254/", "private_network": True}, "address", "metadata"),
        ({"address": "https://localhost/"}, "address", "this machine"),
        ({"kind": "syslog", "credential": "", "address": HOOK}, "address", "tls://"),
        ({"kind": "syslog", "credential": "", "address": "tls://10.0.0.1:6514"}, "address", "public internet"),
        ({"kind": "syslog", "address": "tls://siem.example.com"}, "secret", "no secret"),
        ({"kind": "s3", "address": "https://s3.example.com/", "credential": "a:b"}, "address", "bucket"),
        ({"kind": "s3", "address": "https://s3.example.com/b", "region": "EU west"}, "region", "eu-north-1"),
        ({"kind": "directory", "address": "archive", "credential": ""}, "kind", "STREAMS_DIRECTORY"),
        ({"credential": ""}, "secret", "needs one"),
        ({"credential": "", "secret": "secret://nobody"}, "secret", "not bound"),
        ({"risk": "terrible"}, "risk", "critical"),
        ({"events": ["run.exploded"]}, "events", "run.exploded"),
        ({"authorities": "not PEM"}, "authorities", "PEM"),
        ({"authorities": "-----BEGIN PRIVATE KEY-----"}, "authorities", "certificates only"),
    ],
)
def test_what_cannot_be_is_refused_by_name(admin, changes, path, says):
    error = refusal(admin, **changes)
    assert error["path"] == path
    assert says in error["message"]
    assert not error["message"].endswith(".")
    assert ("private_network" in error["message"]) == (says in {"only https", "public internet", "this machine"})
    assert not Secret.objects.exists()


def test_a_directory_is_offered_only_where_there_is_one(workspace, admin, monkeypatch, tmp_path):
    """What the installation cannot do is said at the choice, and not after the form was filled."""
    base, offered = f"/w/{workspace.slug}/streams/", '<option value="directory">'
    why = "A directory of the host can be chosen once STREAMS_DIRECTORY is set there."
    page = browser(admin).get(base).text
    assert (offered in page, why in page) == (False, True)
    form = {"name": "archive", "kind": "directory", "address": "archive"}
    assert browser(admin).post(f"{base}create", form).status_code == 422
    monkeypatch.setattr(settings, "STREAMS_DIRECTORY", str(tmp_path))
    page = browser(admin).get(base).text
    assert (offered in page, why in page) == (True, False)


@pytest.mark.parametrize("name", ["../x", "a/b", "A", ".", "a\0b", ""])
def test_a_directory_is_a_plain_name(admin, name, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "STREAMS_DIRECTORY", str(tmp_path))
    assert refusal(admin, kind="directory", address=name, credential="")["path"] == "address"


@pytest.mark.parametrize("role", ["editor", "auditor", "approver", "viewer"])
def test_who_may_not_read_the_log_and_say_what_leaves_makes_no_stream(workspace, admin, role):
    """An auditor may not say what leaves, and nobody else but an administrator may read the log."""
    person = factories.make_member(workspace, roles={role})
    sink = make(admin)
    for attempt in (
        lambda: make(person, name="own"),
        lambda: sinks.change_sink(actor=person, sink_id=sink.pk, changes={"risk": "high"}),
        lambda: sinks.disable_sink(actor=person, sink_id=sink.pk, reason="x"),
        lambda: sinks.enable_sink(actor=person, sink_id=sink.pk, reason="x"),
        lambda: sinks.remove_sink(actor=person, sink_id=sink.pk, reason="x"),
    ):
        with pytest.raises(PermissionDenied):
            attempt()
    assert Sink.objects.get().risk == ""


def test_another_tenants_stream_is_not_found(admin, stranger, other_workspace):
    sink = make(admin)
    for attempt in (
        lambda: sinks.change_sink(actor=stranger, sink_id=sink.pk, changes={"risk": "high"}),
        lambda: sinks.disable_sink(actor=stranger, sink_id=sink.pk, reason="x"),
        lambda: sinks.remove_sink(actor=stranger, sink_id=sink.pk, reason="x"),
    ):
        with pytest.raises(NotFound), enter(other_workspace.id):
            attempt()


def test_a_new_address_loses_the_secret(admin, events):
    """T02: what is bound to one origin goes to no other, whoever edits the address."""
    sink = make(admin)
    with pytest.raises(Invalid, match=r"not bound to https://evil\.example\.com:443"):
        sinks.change_sink(actor=admin, sink_id=sink.pk, changes={"address": "https://evil.example.com/hook"})
    changed = sinks.change_sink(actor=admin, sink_id=sink.pk, changes={"address": f"{HOOK}/v2"}, reason="New path.")
    assert (changed.address, changed.secret_name) == (f"{HOOK}/v2", "sink-siem")
    moved = sinks.change_sink(
        actor=admin, sink_id=sink.pk, changes={"address": "https://new.example.com/", "credential": WEBHOOK_KEY}
    )
    assert moved.secret_name == "sink-siem"
    assert [binding.origin for binding in SecretBinding.objects.all()] == ["https://new.example.com:443"]
    assert len(events(Event.AUDIT_SINK_CHANGED)) == 2


def test_a_secret_by_reference_must_be_bound_to_the_slot_of_the_kind(admin):
    vault.create_secret(
        actor=admin, name="siem", value=WEBHOOK_KEY, bindings=[vault.Binding(HOOK, "header:Authorization")]
    )
    with pytest.raises(Invalid, match="not bound"):
        make(admin, credential="", secret="secret://siem")
    assert make(admin, kind="ocsf", credential="", secret="secret://siem").secret_name == "siem"


def test_a_stream_is_disabled_enabled_and_removed_once(admin, events):
    sink = make(admin)
    sinks.disable_sink(actor=admin, sink_id=sink.pk, reason="Moves to another rack.")
    with pytest.raises(Conflict):
        sinks.disable_sink(actor=admin, sink_id=sink.pk, reason="Again.")
    sinks.enable_sink(actor=admin, sink_id=sink.pk, reason="Moved.")
    with pytest.raises(Conflict):
        sinks.enable_sink(actor=admin, sink_id=sink.pk, reason="Again.")
    sinks.remove_sink(actor=admin, sink_id=sink.pk, reason="Replaced.")
    with pytest.raises(NotFound):
        sinks.remove_sink(actor=admin, sink_id=sink.pk, reason="Again.")
    assert not Cursor.objects.exists()
    told = [
        len(events(event)) for event in (Event.AUDIT_SINK_DISABLED, Event.AUDIT_SINK_ENABLED, Event.AUDIT_SINK_REMOVED)
    ]
    assert told == [1, 1, 1]


def test_there_are_only_so_many(admin, monkeypatch):
    monkeypatch.setattr(sinks, "MOST_SINKS", 2)
    make(admin)
    with pytest.raises(SinkExists):
        make(admin)
    make(admin, name="second")
    with pytest.raises(Conflict, match="2 streams already"):
        make(admin, name="third")


@pytest.mark.django_db(transaction=True)
def test_two_people_who_disable_at_once_disable_once():
    workspace = factories.make_workspace()
    with enter(workspace.id):
        admin = factories.make_member(workspace, roles={"admin"})
        sink = make(admin)

    def disable():
        return sinks.disable_sink(actor=admin, sink_id=sink.pk, reason="Both of us.")

    outcomes = at_once(workspace.id, disable, disable)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Sink"]


# --- REST and pages --------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(db):
    """A workspace that the doors bring into scope, and its administrator."""
    workspace = factories.make_workspace()
    with enter(workspace.id):
        return workspace, factories.make_member(workspace, roles={"admin"})


def key_of(workspace, owner, *scopes):
    with enter(workspace.id):
        return program(issue_key(actor=owner, name="streams", scopes=scopes, expires_in_days=1)[1])


@pytest.mark.django_db(transaction=True)
def test_a_program_reads_how_far_streams_are_and_never_a_credential(outside):
    workspace, admin = outside
    with enter(workspace.id):
        made = public_id("snk", make(admin).pk)
    reader = key_of(*outside, "audit:read")
    (listed,) = reader.get("/api/v1/audit/sinks").json()["items"]
    answer = reader.get(f"/api/v1/audit/sinks/{made}")
    assert answer.json() == listed
    assert (listed["name"], listed["state"], listed["backlog"]) == ("siem", "current", 0)
    assert listed["secret"] == "secret://sink-siem"
    assert WEBHOOK_KEY not in answer.content.decode()
    assert key_of(*outside, "gateway:read").get("/api/v1/audit/sinks").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_a_stream_of_another_tenant_is_not_found_over_rest(outside):
    workspace, admin = outside
    with enter(workspace.id):
        address = f"/api/v1/audit/sinks/{public_id('snk', make(admin).pk)}"
    other = factories.make_workspace()
    with enter(other.id):
        stranger = factories.make_member(other, roles={"admin"})
    assert key_of(other, stranger, "audit:read").get(address).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_the_page_starts_changes_and_stops_a_stream_without_a_script(outside):
    workspace, admin = outside
    client, base = browser(admin), f"/w/{workspace.slug}/streams/"
    assert "No streams yet" in client.get(base).content.decode()
    form = {"name": "siem", "kind": "webhook", "address": "https://127.0.0.1/", "credential": WEBHOOK_KEY}
    refused = client.post(f"{base}create", form)
    assert (refused.status_code, "public internet" in refused.text) == (422, True)
    assert "tick “This host is on a private network”" in refused.text
    assert ".." not in re.findall(r'role="alert">.*?</p>', refused.text, re.DOTALL)[0]
    ids = re.findall(r'\sid="([^"]+)"', refused.text)
    assert sorted(ids) == sorted(set(ids))
    assert WEBHOOK_KEY not in refused.content.decode()
    assert client.post(f"{base}create", form | {"address": HOOK}).status_code == 302
    assert "Up to date" in client.get(base).content.decode()
    with enter(workspace.id):
        one = f"{base}{public_id('snk', Sink.objects.get().pk)}/"
    page = client.get(one).content.decode()
    assert "secret://sink-siem" in page
    assert (
        client.post(
            one, {"address": HOOK, "secret": "secret://sink-siem", "risk": "high", "events": "run, halt"}
        ).status_code
        == 302
    )
    with enter(workspace.id):
        assert (Sink.objects.get().risk, Sink.objects.get().events) == ("high", ["halt", "run"])
    assert client.post(f"{one}disable", {"reason": "Moves."}).status_code == 302
    assert "Disabled" in client.get(one).content.decode()
    assert client.post(f"{one}enable", {"reason": "Moved."}).status_code == 302
    assert client.post(f"{one}remove", {"reason": "Replaced."}).status_code == 302
    assert client.get(one).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_an_auditor_sees_streams_and_no_forms_and_a_viewer_sees_nothing(outside):
    workspace, admin = outside
    with enter(workspace.id):
        make(admin)
        auditor = factories.make_member(workspace, roles={"auditor"})
        viewer = factories.make_member(workspace, roles={"viewer"})
    base = f"/w/{workspace.slug}/streams/"
    page = browser(auditor).get(base).content.decode()
    assert "siem.example.com" in page
    assert "New stream" not in page
    assert page.count("An administrator sets these up.") == 1
    assert "An administrator sets these up." not in browser(admin).get(base).text
    assert (
        browser(auditor)
        .post(f"{base}create", {"name": "own", "kind": "syslog", "address": "tls://x.example"})
        .status_code
        == 403
    )
    assert browser(viewer).get(base).status_code == 403
