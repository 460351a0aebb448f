"""Requests over REST: to read with a scope, never to decide."""

import pytest

from apikeys import services as apikeys
from approvals import services
from provenance.db import enter
from tests import factories
from tests.browsing import program

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "Contract starts 1 January; corrected the date."


@pytest.fixture
def workspace(db):
    """Not in scope: the door of keys brings it there."""
    return factories.make_workspace()


@pytest.fixture
def approval(workspace):
    with enter(workspace.pk):
        return factories.make_approval(workspace)


@pytest.fixture
def key(workspace, editor):
    def issue(*scopes):
        with enter(workspace.pk):
            actor = factories.make_member(workspace, roles={"admin", "editor"})
            return apikeys.issue_key(actor=actor, name="integration", scopes=set(scopes), expires_in_days=1)[1]

    return issue


def test_a_key_lists_and_reads_requests(key, approval):
    client = program(key("approvals:read"))
    (item,) = client.get("/api/v1/approvals").json()["items"]
    assert (item["id"], item["status"], item["risk"]) == (approval.public_id, "pending", "high")
    found = client.get(f"/api/v1/approvals/{approval.public_id}")
    assert found.json()["payload"] == factories.VENDOR_PAYLOAD
    assert found.json()["decisions"] == []
    assert found["ETag"] == '"1"'


def test_decisions_are_shown_with_who_and_why(key, workspace, approval, approver):
    with enter(workspace.pk):
        services.decide(
            actor=approver,
            request_id=approval.pk,
            verdict="approve",
            reason=REASON,
            payload={**factories.VENDOR_PAYLOAD, "effective_from": "2027-01-01"},
        )
    shown = program(key("approvals:read")).get(f"/api/v1/approvals/{approval.public_id}").json()
    (decision,) = shown["decisions"]
    assert (decision["verdict"], decision["reason"], decision["changed_fields"]) == (
        "approve",
        REASON,
        ["effective_from"],
    )
    assert decision["payload"]["effective_from"] == "2027-01-01"
    assert decision["event_id"].startswith("evt_")


def test_a_list_can_be_kept_to_one_status(key, approval):
    client = program(key("approvals:read"))
    assert len(client.get("/api/v1/approvals?status=pending").json()["items"]) == 1
    assert client.get("/api/v1/approvals?status=approved").json()["items"] == []
    assert client.get("/api/v1/approvals?status=maybe").status_code == 422


def test_reading_needs_the_scope(key, approval):
    for address in ("/api/v1/approvals", f"/api/v1/approvals/{approval.public_id}"):
        answer = program(key("runs:read")).get(address)
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, "approvals:read")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("tail", ["", "/decide", "/approve"])
def test_no_key_decides(key, workspace, approval, method, tail):
    """Vocabulary 2.2: a decision needs a person."""
    client = program(key("approvals:read", "approvals:write"))
    data = {"verdict": "approve", "reason": REASON}
    answer = getattr(client, method)(
        f"/api/v1/approvals/{approval.public_id}{tail}", data, content_type="application/json"
    )
    assert answer.status_code in {404, 405}
    with enter(workspace.pk):
        assert approval.fresh().is_open


def test_a_key_is_nobody_at_the_page_that_decides(key, workspace, approval):
    client = program(key("approvals:write"))
    address = f"/w/{workspace.slug}/approvals/{approval.public_id}/decide"
    assert client.post(address, {"verdict": "reject", "reason": REASON}).status_code in {302, 401, 403}
    with enter(workspace.pk):
        assert approval.fresh().is_open


def test_another_tenants_request_is_not_found(approval):
    other = factories.make_workspace()
    with enter(other.pk):
        actor = factories.make_member(other, roles={"admin", "editor"})
        foreign = apikeys.issue_key(actor=actor, name="theirs", scopes={"approvals:read"}, expires_in_days=1)[1]
    assert program(foreign).get(f"/api/v1/approvals/{approval.public_id}").status_code == 404
    assert program(foreign).get("/api/v1/approvals").json()["items"] == []
