"""Packs that support controls of standards: counted from their own bundle, checked without us (N18, M130)."""

import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from audit.evidence import STANDARDS, evidence_pack, frameworks
from audit.forms import EvidenceForm
from audit.selectors import EventFilters
from audit.taxonomy import Event
from provenance.db import enter
from provenance.errors import NotFound, PermissionDenied
from tests import factories
from tests.audit import sealing
from tests.browsing import browser

committed = pytest.mark.django_db(transaction=True)


def test_every_event_of_the_standards_is_one():
    names, domains = {event.value for event in Event}, {event.domain for event in Event}
    for framework in frameworks().values():
        for control in framework.controls:
            assert set(control.events) <= names | domains, f"{framework.id} {control.id}"
            assert control.actions
            assert control.supports.endswith(".")


def test_no_control_stands_twice_and_nothing_claims_compliance():
    for framework in frameworks().values():
        ids = [control.id for control in framework.controls]
        assert len(ids) == len(set(ids)), framework.id
    # The file's own comment says which word is not used.
    text = STANDARDS.read_text("utf-8").partition("- id:")[2].lower()
    assert "complies" not in text
    assert "compliant" not in text


@pytest.fixture
def history(workspace, admin, auditor):
    """An agent was made and retired, and all of it is sealed."""
    with enter(workspace.id):
        factories.make_agent(admin)
    sealing.seal()


def pack_of(actor, workspace, framework_id="soc2", times=None):
    out = io.BytesIO()
    with enter(workspace.id):
        evidence_pack(actor=actor, framework_id=framework_id, times=times or EventFilters(), out=out)
    return zipfile.ZipFile(out)


@committed
def test_a_pack_counts_what_it_holds_and_verifies_on_its_own(workspace, auditor, history, tmp_path):
    pack = pack_of(auditor, workspace)
    assert set(pack.namelist()) == {"README.txt", "controls.json", "report.json", "verify.py", "bundle.zip"}
    facts = json.loads(pack.read("controls.json"))
    controls = {control["control"]: control for control in facts["controls"]}
    assert set(controls) == {control.id for control in frameworks()["soc2"].controls}
    changes = controls["CC8.1"]
    assert changes["count"] == sum(changes["by_type"].values()) >= 1
    assert changes["by_type"]["agent.version_published"] >= 1
    assert changes["samples"]
    assert controls["CC7.4"]["count"] == 0
    assert "no event" in controls["CC7.4"]["gap"]
    assert "log of the instance" in controls["CC6.1"]["gap"], "sign-ins belong to no workspace, and that is said"
    assert "audit.verified" in controls["CC4.1"]["gap"]
    assert changes["gap"] == ""
    pack.extractall(tmp_path)
    keys = tmp_path / "log.pub"
    keys.write_text("\n".join(sealing.vkeys(workspace.id)) + "\n")
    done = subprocess.run(
        [sys.executable, "-I", "verify.py", "bundle.zip", "--key", "log.pub"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode in {0, 3}, done.stdout + done.stderr
    assert not json.loads(done.stdout)["findings"]
    assert json.loads(pack.read("report.json"))["findings"] == []


@committed
def test_taking_one_is_an_event_and_days_bound_it(workspace, auditor, history, events):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    pack = pack_of(auditor, workspace, times=EventFilters(since=tomorrow))
    assert all(control["count"] == 0 for control in json.loads(pack.read("controls.json"))["controls"])
    with enter(workspace.id):
        (told,) = events(Event.AUDIT_EXPORTED)
    assert told.actor_id == auditor.id


@committed
def test_without_the_permission_or_the_framework_there_is_none(workspace, auditor, viewer, history):
    with pytest.raises(PermissionDenied):
        pack_of(viewer, workspace)
    with pytest.raises(NotFound, match="eu-ai-act"):
        pack_of(auditor, workspace, "iso-27001")


@committed
def test_the_page_shows_every_control_and_hands_out_the_pack(workspace, auditor, viewer, history):
    client, address = browser(auditor), f"/w/{workspace.slug}/audit/evidence/"
    page = client.get(address)
    assert page.status_code == 200
    for framework in frameworks().values():
        assert framework.name in page.text
    answer = client.post(f"{address}soc2", {"since": "2020-01-01", "until": ""})
    assert answer.status_code == 200
    assert zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))).namelist()
    assert client.post(f"{address}soc2", {"since": "yesterday"}).status_code == 422
    backwards = client.post(f"{address}soc2", {"since": "2020-01-02", "until": "2020-01-01"})
    assert (backwards.status_code, "To is before From. Nothing was exported." in backwards.text) == (422, True)
    assert EvidenceForm({"since": "2020-01-01", "until": "2020-01-01"}).is_valid()
    assert client.post(f"{address}nothing").status_code == 404
    assert browser(viewer).get(address).status_code == 403
