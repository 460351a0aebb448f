"""Exports that a worker makes: exactly what the screen showed, with a bar that survives, let go of after a day (U19)."""

import io
import json
import re
import zipfile
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction

from audit import awaiting, background, exports
from audit.models import Export, ExportChunk
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.tasks import build_export
from audit.taxonomy import Event
from provenance.crypto import Undecipherable
from provenance.db import enter
from provenance.errors import NotFound, PermissionDenied
from provenance.ids import uuid7
from tests import factories
from tests.audit import sealing
from tests.browsing import browser
from workspaces import services as workspaces

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace(db):
    return factories.make_workspace()


@pytest.fixture(autouse=True)
def rung(monkeypatch):
    """Whom the doorbell was rung for; no broker and no worker of others hears it."""
    heard = []
    monkeypatch.setattr(background, "ring", lambda workspace_id, export_id: heard.append((workspace_id, export_id)))
    return heard


def ask(actor, workspace, **filters):
    with enter(workspace.pk):
        return background.request_export(
            actor=actor, filters=EventFilters(**filters), shown=1, recipient="External audit"
        )


def build(as_role, workspace, export):
    sealing.seal()
    with as_role("worker"):
        build_export(str(workspace.pk), str(export.pk))
    return fresh(workspace, export)


def fresh(workspace, export):
    with enter(workspace.pk):
        return Export.objects.get(pk=export.pk)


def take(actor, workspace, export):
    out = io.BytesIO()
    with enter(workspace.pk):
        background.fetched(actor=actor, export_id=export.pk, out=out)
    return zipfile.ZipFile(out)


def ids_in(bundle):
    return [json.loads(json.loads(line)["body"])["id"] for line in bundle.read("events.jsonl").splitlines()]


def test_what_is_exported_is_what_the_screen_counted(workspace, auditor, admin, as_role, events):
    """Later events of the same kind stay out, and the page says that the numbers agree."""
    with enter(workspace.pk):
        shown = [record(actor=admin, event=Event.RUN_FAILED, target=Target("run", str(n))) for n in range(3)]
    client, address = browser(auditor), f"/w/{workspace.slug}/audit/"
    page = client.get(f"{address}?action=run.failed").text
    assert "Export 3 events" in page
    fields = dict(re.findall(r'<input type="hidden" name="(before|shown)" value="([^"]*)"', page))
    assert fields["shown"] == "3"
    with enter(workspace.pk):
        record(actor=admin, event=Event.RUN_FAILED, target=Target("run", "later"))
    answer = client.post(f"{address}exports/ask?action=run.failed", {**fields, "recipient": "External audit"})
    with enter(workspace.pk):
        (export,) = background.exports_of(auditor)
    assert answer["Location"] == f"{address}exports/{export.public_id}/"
    waiting = client.get(answer["Location"]).text
    assert "Waiting for a worker" in waiting
    assert "It goes on when you leave this page." in waiting
    build(as_role, workspace, export)
    page = client.get(answer["Location"]).text
    assert "It goes on" not in page
    assert "3 events" in page
    assert "exactly what the screen showed" in page
    taken = client.post(f"{answer['Location']}fetch")
    bundle = zipfile.ZipFile(io.BytesIO(b"".join(taken.streaming_content)))
    assert ids_in(bundle) == [str(event.id) for event in shown]
    with enter(workspace.pk):
        (asked,), (made,) = events(Event.AUDIT_EXPORT_REQUESTED), events(Event.AUDIT_EXPORTED)
        (fetched,) = events(Event.AUDIT_EXPORT_FETCHED)
    assert (asked.actor_id, fetched.actor_id) == (auditor.id, auditor.id)
    assert (made.actor_id, made.signed["on_behalf_of"]) == ("audit.exports", auditor.id)


def test_two_workers_make_it_once(workspace, auditor, as_role, events):
    export = ask(auditor, workspace)
    assert build(as_role, workspace, export).status == Export.Status.READY
    assert build(as_role, workspace, export).attempts == 1
    with enter(workspace.pk):
        assert len(events(Event.AUDIT_EXPORTED)) == 1


def test_progress_is_seen_before_the_bundle_is_there(workspace, auditor, as_role, monkeypatch):
    """From another connection: the page of somebody who came back."""
    export, seen = ask(auditor, workspace), []
    whole = exports.export_bundle

    def slowly(*, progress, **more):
        progress(5, 10)
        with enter(workspace.pk):
            pass
        seen.extend(sealing.rows("SELECT done, total, status FROM audit_export WHERE id = %s", export.pk))
        return whole(progress=progress, **more)

    monkeypatch.setattr(exports, "export_bundle", slowly)
    build(as_role, workspace, export)
    assert seen == [(5, 10, "running")]


def test_nothing_is_exported_while_nobody_seals(workspace, auditor, as_role, events, monkeypatch):
    monkeypatch.setattr(awaiting, "LONGEST_SECONDS", 0.0)
    export = ask(auditor, workspace)
    with as_role("worker"):
        background.build(workspace.pk, export.pk)
    failed = fresh(workspace, export)
    assert (failed.status, failed.events) == (Export.Status.FAILED, None)
    assert "not sealed within" in failed.problem
    with enter(workspace.pk):
        assert not events(Event.AUDIT_EXPORTED)
        with pytest.raises(background.NotReady), transaction.atomic():
            background.fetched(actor=auditor, export_id=export.pk, out=io.BytesIO())


def test_what_fails_is_tried_three_times_and_then_says_so(workspace, auditor, as_role, rung, monkeypatch):
    def broken(**_):
        raise OSError("disk full")

    monkeypatch.setattr(exports, "export_bundle", broken)
    export = ask(auditor, workspace)
    for attempt in (1, 2, 3):
        built = build(as_role, workspace, export)
        assert built.attempts == attempt
        sealing.tamper("UPDATE audit_export SET lease_until = now() - interval '1 minute'")
        with as_role("worker"):
            background.sweep(None)
    assert fresh(workspace, export).status == Export.Status.FAILED
    # Once by the request, and by the sweep after each failure but the last.
    assert len(rung) == 3


@pytest.mark.parametrize("time", ["'infinity'", "now() + interval '1 year'"])
@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_lease_that_nobody_asks_for_is_not_waited_for(workspace, auditor, as_role, rung, time, status):
    """Somebody set it, or a clock that was ahead."""
    export = ask(auditor, workspace)
    rung.clear()
    with as_role("worker"):
        background.sweep(None)
    assert not rung, "nobody had the time to come"
    sealing.tamper(f"UPDATE audit_export SET status = '{status}', lease_until = {time}")
    with as_role("worker"):
        background.sweep(None)
    assert rung == [(workspace.pk, export.pk)]
    assert build(as_role, workspace, export).status == Export.Status.READY
    assert timedelta(minutes=2) >= 2 * background.LEASE


@pytest.mark.parametrize("time", ["'infinity'", "now() + interval '1 year'"])
def test_nothing_is_kept_longer_than_anybody_asks_for(workspace, auditor, as_role, time):
    export = ask(auditor, workspace)
    build(as_role, workspace, export)
    sealing.tamper(f"UPDATE audit_export SET expires_at = {time}")
    with as_role("worker"):
        background.sweep(None)
    assert fresh(workspace, export).status == Export.Status.EXPIRED
    with enter(workspace.pk):
        assert not ExportChunk.objects.exists()


def test_after_a_day_it_is_let_go_of(workspace, auditor, as_role):
    export = ask(auditor, workspace)
    build(as_role, workspace, export)
    sealing.tamper("UPDATE audit_export SET expires_at = now() - interval '1 minute'")
    with pytest.raises(background.NotReady), enter(workspace.pk):
        background.fetched(actor=auditor, export_id=export.pk, out=io.BytesIO())
    with as_role("worker"):
        background.sweep(None)
    assert fresh(workspace, export).status == Export.Status.EXPIRED
    with enter(workspace.pk):
        assert not ExportChunk.objects.exists()
    assert timedelta(days=1) == background.KEPT


def test_the_stored_bundle_is_sealed_and_bound_to_its_place(workspace, auditor, as_role, monkeypatch, events):
    monkeypatch.setattr(background, "CHUNK_BYTES", 500)
    export = ask(auditor, workspace)
    build(as_role, workspace, export)
    with enter(workspace.pk):
        chunks = list(ExportChunk.objects.order_by("n"))
    assert len(chunks) > 2
    assert not any(b"PK\x03\x04" in bytes(chunk.sealed) or b"workspace" in bytes(chunk.sealed) for chunk in chunks)
    assert ids_in(take(auditor, workspace, export))
    sealing.tamper(
        "UPDATE audit_exportchunk AS chunk SET sealed = other.sealed FROM audit_exportchunk AS other"
        " WHERE chunk.n = 0 AND other.n = 1 AND other.export_id = chunk.export_id"
    )
    with pytest.raises(Undecipherable):
        take(auditor, workspace, export)
    sealing.tamper("DELETE FROM audit_exportchunk")
    with pytest.raises(background.NotReady, match="not the one that was made"):
        take(auditor, workspace, export)
    with enter(workspace.pk):
        assert len(events(Event.AUDIT_EXPORT_FETCHED)) == 1


def test_an_export_is_its_members_own(workspace, auditor, admin, viewer, as_role):
    export = ask(auditor, workspace)
    build(as_role, workspace, export)
    with enter(workspace.pk):
        for somebody, error in ((admin, NotFound), (viewer, PermissionDenied)):
            with pytest.raises(error), transaction.atomic():
                background.fetched(actor=somebody, export_id=export.pk, out=io.BytesIO())
        with pytest.raises(PermissionDenied), transaction.atomic():
            background.request_export(actor=viewer, filters=EventFilters())


def test_another_tenant_finds_no_export(workspace, auditor, other_workspace, stranger, as_role):
    export = ask(auditor, workspace)
    with pytest.raises(NotFound), enter(other_workspace.pk):
        background.fetched(actor=stranger, export_id=export.pk, out=io.BytesIO())
    # Nor does a doorbell that names the wrong workspace.
    with as_role("worker"):
        build_export(str(other_workspace.pk), str(export.pk))
    assert fresh(workspace, export).status == Export.Status.QUEUED


def test_whoever_lost_the_permission_meanwhile_does_not_get_it(workspace, auditor, as_role):
    export = ask(auditor, workspace)
    build(as_role, workspace, export)
    client = browser(auditor)
    with enter(workspace.pk):
        workspaces.change_roles(actor=factories.system_of(workspace), user_id=UUID(auditor.id), roles={"viewer"})
    answer = client.post(f"/w/{workspace.slug}/audit/exports/{export.public_id}/fetch")
    assert answer.status_code == 403


def test_a_member_has_a_few_at_a_time(workspace, auditor):
    for _ in range(background.MOST_AT_ONCE):
        ask(auditor, workspace)
    with pytest.raises(background.TooManyExports):
        ask(auditor, workspace)


def test_a_doorbell_that_names_nothing_does_nothing(workspace, as_role):
    with as_role("worker"):
        build_export("nothing", "at all")
        build_export(str(workspace.pk), str(uuid7()))


@pytest.mark.parametrize(
    "filters",
    ["null", "[]", '"x"', '{"actions": 5}', '{"actions": "run"}', '{"since": 5}', '{"risk": []}', '{"more": "x"}'],
)
def test_filters_that_are_none_export_nothing_and_hide_no_page(workspace, auditor, as_role, filters):
    """Nobody signed them: somebody with the database's own rights can put anything there."""
    export = ask(auditor, workspace, actions=["run.failed"])
    sealing.tamper("UPDATE audit_export SET filters = %s", filters)
    address = f"/w/{workspace.slug}/audit/exports/"
    pages = [browser(auditor).get(at) for at in (address, f"{address}{export.public_id}/")]
    assert [page.status_code for page in pages] == [200, 200]
    assert all("changed to what is none" in page.text for page in pages)
    made = build(as_role, workspace, export)
    assert (made.status, made.problem.split(".")[0]) == (
        Export.Status.FAILED,
        "Its filters were changed in the database to what is none",
    )
