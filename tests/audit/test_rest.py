"""The log over REST: with its scope and without, page by page, and the bundle that verifies."""

import io
import zipfile
from dataclasses import replace
from uuid import UUID

import pytest

from apikeys import services as keys
from audit import awaiting
from audit.services import EventContext, Target, record
from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id, uuid7
from tests import factories
from tests.audit import sealing
from tests.browsing import program

pytestmark = pytest.mark.django_db(transaction=True)

RUN = uuid7()


@pytest.fixture
def workspace(db):
    """Not in scope: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def client(admin, workspace):
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="reader", scopes=["audit:read"])
    return program(text)


@pytest.fixture
def event(admin, workspace):
    with enter(workspace.pk):
        return record(
            actor=admin,
            event=Event.RUN_FAILED,
            target=Target("run", str(RUN), label="R-1"),
            reason="odd",
            context=EventContext(run_id=RUN),
        )


def test_an_event_is_found_and_read_with_its_signed_bytes(client, event):
    where = {"run": public_id("run", RUN), "risk": "high"}
    found = client.get("/api/v1/audit/events", {**where, "type": "run"}).json()
    (item,) = found["items"]
    assert found == client.get("/api/v1/audit/events", {**where, "type": "failed"}).json()
    assert (item["event_type"], item["object"]["label"], item["reason"]) == ("run.failed", "R-1", "odd")
    assert item["context"]["run_id"] == public_id("run", RUN)
    whole = client.get(f"/api/v1/audit/events/{item['event_id']}").json()
    assert whole["body"] == event.body
    assert whole["mac"] == event.mac.hex()
    assert whole["proof"] == {
        "signature_valid": True,
        "contents_match": True,
        "detail_matches": True,
        "detail_erased": False,
        "in_log": None,
        "in_checkpoint": None,
        "checkpoint_signed": None,
    }
    assert (item["workspace"], item["log_index"]) == (str(event.workspace_id), None)


def test_pages_follow_one_another(client, event):
    first = client.get("/api/v1/audit/events", {"limit": 2}).json()
    second = client.get("/api/v1/audit/events", {"limit": 2, "cursor": first["next"]}).json()
    ids = [item["event_id"] for item in first["items"] + second["items"]]
    assert len(set(ids)) == 4
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        {"risk": "huge"},
        {"outcome": "odd"},
        {"since": "yesterday"},
        {"since": "2026-13-01"},
        {"typ": "run"},
        {"type": "run.faild"},
        {"actor": "R-TQ8J0"},
        {"object": "AP-6TSCD"},
        {"run": "R-TQ8J0"},
        {"since": "0001-01-01T00:00:00Z"},
        {"until": "9999-12-31T00:00:00Z"},
        {"until": "2026-02-01T00:00:00Z", "since": "2026-02-02T00:00:00Z"},
    ],
)
def test_a_filter_that_is_wrong_is_named(client, query):
    response = client.get("/api/v1/audit/events", query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == next(iter(query))


def test_no_pack_of_evidence_is_made_of_times_in_the_wrong_order(client, events, workspace):
    times = {"since": "2026-02-02T00:00:00Z", "until": "2026-02-01T00:00:00Z"}
    response = client.get("/api/v1/audit/evidence/soc2", times)
    assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "until")
    with enter(workspace.pk):
        assert not events(Event.AUDIT_EXPORTED)


def test_ids_are_taken_as_the_api_writes_them(client, event, admin):
    def count(**query):
        return len(client.get("/api/v1/audit/events", {"type": "run", **query}).json()["items"])

    assert count(object=str(RUN)) == 1
    assert count(object=public_id("run", RUN)) == 1
    assert count(object=public_id("run", uuid7())) == 0
    assert count(actor=public_id("usr", UUID(admin.id))) == 1
    assert count(actor=public_id("usr", RUN)) == 0


def test_the_bundle_leaves_after_its_event_was_stored(client, event, workspace, events):
    sealing.seal()
    response = client.get("/api/v1/audit/export", {"type": "run"})
    bundle = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert str(event.id) in bundle.read("events.jsonl").decode()
    with enter(workspace.pk):
        assert len(events(Event.AUDIT_EXPORTED)) == 1


def test_without_the_scope_it_is_refused_and_recorded(admin, workspace, event, events):
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="runner", scopes=["runs:read"])
    for path in ("events", f"events/{public_id('evt', event.id)}", "export"):
        response = program(text).get(f"/api/v1/audit/{path}")
        assert (response.status_code, response.json()["missing_scope"]) == (403, "audit:read")
    with enter(workspace.pk):
        assert len(events(Event.AUTHZ_DENIED)) == 3


def test_another_workspaces_event_is_not_found(client, other_workspace, stranger):
    with enter(other_workspace.pk):
        theirs = record(actor=stranger, event=Event.RUN_FAILED, target=Target("run", "1"))
    assert client.get(f"/api/v1/audit/events/{public_id('evt', theirs.id)}").status_code == 404


def test_keys_for_an_auditor_come_from_the_host(workspace, event, tmp_path, events):
    from django.core.management import CommandError, call_command

    path = tmp_path / "workspace.keys"
    with sealing.going_on():
        call_command("audit_keys", str(workspace.pk), str(path), stdout=io.StringIO())
    assert path.stat().st_mode & 0o777 == 0o600
    with enter(workspace.pk):
        (told,) = events(Event.AUDIT_EXPORTED)
    assert told.risk == "critical"
    with pytest.raises(CommandError, match="exists"):
        call_command("audit_keys", str(workspace.pk), str(path))


def test_keys_are_not_handed_out_while_that_is_not_sealed(workspace, tmp_path, events, monkeypatch):
    from django.core.management import CommandError, call_command

    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.1)
    path = tmp_path / "workspace.keys"
    with pytest.raises(CommandError, match="was not sealed"):
        call_command("audit_keys", str(workspace.pk), str(path))
    assert not path.exists()
    with enter(workspace.pk):
        assert len(events(Event.AUDIT_EXPORTED)) == 1, "that somebody asked stays in the log"


def test_keys_are_found_by_the_workspaces_short_name(workspace, tmp_path):
    from django.core.management import call_command

    path = tmp_path / "workspace.keys"
    with sealing.going_on():
        call_command("audit_keys", workspace.slug, str(path), stdout=io.StringIO())
    assert str(workspace.pk) in path.read_text()


@pytest.mark.parametrize("name", ["01a1fc07-8b2c-7e7e-be54-890b19bde6b1", "nobody-here"])
def test_there_are_no_keys_of_an_unknown_workspace(workspace, tmp_path, name):
    from django.core.management import CommandError, call_command

    path = tmp_path / "workspace.keys"
    with pytest.raises(CommandError, match="There is no workspace"):
        call_command("audit_keys", name, str(path))
    assert not path.exists()


def test_a_timeline_reads_as_what_was_done_and_why(client, workspace, admin, event):
    """M128: of a run, of a member and of an agent, as sentences."""
    told = client.get(f"/api/v1/audit/timelines/run/{public_id('run', RUN)}").json()["items"]
    assert [item["event_type"] for item in told] == ["run.failed"]
    with enter(workspace.pk):
        agent = factories.make_agent(admin)
        record(
            actor=replace(factories.agent_actor(workspace, on_behalf_of=admin.id), id=str(agent.pk)),
            event=Event.MCP_TOOL_CALLED,
            target=Target("tool_call", "1", label="erp.getVendor"),
            context=EventContext(run_id=RUN),
            detail={"tool": "erp.getVendor", "duration_ms": 1200},
        )
    of_agent = client.get(f"/api/v1/audit/timelines/agent/{agent.pk}", {"limit": 1}).json()
    assert of_agent["items"][0]["told"].startswith("erp.getVendor answered in 1.2")
    older = client.get(f"/api/v1/audit/timelines/agent/{agent.pk}", {"limit": 9, "cursor": of_agent["next"]}).json()
    assert older["items"][-1]["event_type"] == "agent.created"
    assert len({item["event_id"] for item in of_agent["items"] + older["items"]}) == 1 + len(older["items"])
    of_member = client.get(f"/api/v1/audit/timelines/user/{admin.id}").json()["items"]
    assert {"run.failed", "agent.created"} <= {item["event_type"] for item in of_member}
    with enter(workspace.pk):
        _key, text = keys.issue_key(actor=admin, name="names", scopes=["audit:read", "agents:read"])
    for spelled in (agent.slug, agent.slug.upper(), public_id("agt", agent.pk)):
        named = program(text).get(f"/api/v1/audit/timelines/agent/{spelled}", {"limit": 1}).json()
        assert named["items"] == of_agent["items"]
    nobody = (("agent", "no-such-agent"), ("user", "Nobody"), ("agent", str(uuid7())), ("user", str(uuid7())))
    for kind, spelled in (("agent", agent.slug), *nobody):
        refused = client.get(f"/api/v1/audit/timelines/{kind}/{spelled}")
        assert refused.status_code == 404
        assert "Use its id, or its name" in refused.json()["detail"]
    assert client.get("/api/v1/audit/timelines/secret/1").status_code == 404
    assert client.get("/api/v1/audit/timelines/user/%00").status_code == 404
    assert client.get("/api/v1/audit/timelines/run/1").status_code == 404
