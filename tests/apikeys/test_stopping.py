"""A program can stop: halts, agents, grants. Giving power back takes a person, at the latest on the host."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agents.models import Agent
from apikeys.services import issue_key
from audit.taxonomy import Event
from gateway import services as gateway
from gateway.models import McpServer, Tool, ToolGrant
from provenance.db import enter
from provenance.ids import public_id, uuid7
from tests import factories
from tests.browsing import program
from workspaces.models import Control, User

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace(db):
    """Not in scope: the door of keys brings it there."""
    return factories.make_workspace()


@pytest.fixture
def owner(workspace):
    with enter(workspace.pk):
        person = factories.make_member(workspace, roles={"admin", "editor"})
        factories.make_agent(person)
        return person


@pytest.fixture
def key(owner, workspace):
    """A program with these scopes."""

    def made(*scopes):
        with enter(workspace.pk):
            return program(issue_key(actor=owner, name="k", scopes=scopes, expires_in_days=1)[1])

    return made


def post(client, address, **body):
    return client.post(f"/api/v1/{address}", body, content_type="application/json")


def logged(workspace, event):
    with enter(workspace.pk):
        return factories.events(event)


HALT = {"scope_kind": "agent", "scope_id": "ledger-ops", "reason": "It pays twice."}


class TestHalts:
    def test_a_key_engages_one_and_reads_it(self, key, workspace):
        client = key("gateway:write", "gateway:read")
        answer = post(client, "halts", **HALT)
        assert answer.status_code == 201, answer.content
        (listed,) = client.get("/api/v1/halts").json()["items"]
        assert listed == answer.json()
        with enter(workspace.pk):
            assert listed["scope_id"] == str(Agent.objects.get().pk)
        assert len(logged(workspace, Event.HALT_ENGAGED)) == 1

    @pytest.mark.parametrize(
        ("changes", "status"),
        [({"scope_id": "ledger-opps"}, 422), ({"scope_kind": "planet"}, 422), ({"reason": ""}, 422), ({"x": 1}, 422)],
    )
    def test_what_makes_no_sense_halts_nothing(self, key, workspace, changes, status):
        assert post(key("gateway:write"), "halts", **{**HALT, **changes}).status_code == status
        with enter(workspace.pk):
            assert not Control.objects.exists()

    def test_twice_is_a_conflict(self, key):
        client = key("gateway:write")
        assert [post(client, "halts", **HALT).status_code for _ in range(2)] == [201, 409]

    def test_the_scope_is_needed(self, key):
        answer = post(key("gateway:read", "agents:write"), "halts", **HALT)
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, "gateway:write")
        assert key("gateway:write").get("/api/v1/halts").status_code == 403

    def test_another_workspace_sees_none(self, key, stranger_key):
        post(key("gateway:write"), "halts", **HALT)
        assert stranger_key.get("/api/v1/halts").json()["items"] == []
        assert post(stranger_key, "halts", **HALT).status_code == 422

    def test_a_person_releases_it_on_the_host_and_the_log_says_who(self, key, workspace, owner):
        halt = post(key("gateway:write"), "halts", **HALT).json()["id"]
        email = User.objects.get(pk=owner.id).email
        for wrong in ({"email": "nobody@example.com"}, {"halt": public_id("hlt", uuid7())}):
            with pytest.raises(CommandError):
                release(workspace, wrong.get("halt", halt), wrong.get("email", email))
        release(workspace, halt, email)
        (event,) = logged(workspace, Event.HALT_RELEASED)
        assert (event.actor_type, event.actor_id, event.signed["actor"]["via"]) == ("user", owner.id, "host")

    def test_a_member_without_the_right_releases_nothing(self, key, workspace):
        halt = post(key("gateway:write"), "halts", **HALT).json()["id"]
        with enter(workspace.pk):
            viewer = factories.make_member(workspace, roles={"viewer"})
        with pytest.raises(CommandError, match="halts:release"):
            release(workspace, halt, User.objects.get(pk=viewer.id).email)
        assert not logged(workspace, Event.HALT_RELEASED)


@pytest.fixture
def stranger_key(db):
    other = factories.make_workspace()
    with enter(other.pk):
        person = factories.make_member(other, roles={"admin", "editor"})
        scopes = ["gateway:read", "gateway:write", "agents:write"]
        return program(issue_key(actor=person, name="k", scopes=scopes, expires_in_days=1)[1])


def release(workspace, halt, email):
    call_command("release_halt", workspace.slug, halt, "--as", email, "--reason", "Fixed.", stdout=io.StringIO())


class TestAgents:
    def test_a_key_suspends_one_and_a_person_resumes_it(self, key, workspace, owner):
        client = key("agents:write")
        answer = post(client, "agents/ledger-ops/suspend", reason="Until we know why.")
        assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
        assert len(logged(workspace, Event.AGENT_SUSPENDED)) == 1
        assert post(client, "agents/ledger-ops/suspend", reason="Again.").status_code == 409
        email = User.objects.get(pk=owner.id).email
        call_command(
            "resume_agent", workspace.slug, "ledger-ops", "--as", email, "--reason", "Found.", stdout=io.StringIO()
        )
        (event,) = logged(workspace, Event.AGENT_RESUMED)
        assert event.actor_id == owner.id

    def test_the_scope_is_needed(self, key, workspace):
        answer = post(key("agents:read", "gateway:write"), "agents/ledger-ops/suspend", reason="Stop.")
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, "agents:write")
        assert not logged(workspace, Event.AGENT_SUSPENDED)

    def test_another_workspace_s_is_not_found(self, owner, stranger_key):
        assert post(stranger_key, "agents/ledger-ops/suspend", reason="Stop.").status_code == 404


class TestGrants:
    @pytest.fixture
    def grant(self, owner, workspace):
        with enter(workspace.pk):
            server = gateway.register_server(actor=owner, slug="erp", title="ERP", url="https://erp.example.com/mcp")
            definition = {"name": "getVendor", "description": "Reads.", "inputSchema": {"type": "object"}}
            (tool,) = gateway.record_listing(actor=owner, server_id=server.pk, listing=[definition])
            gateway.review_tool(
                actor=owner, tool_id=tool.pk, pin=tool.pin, effect="read", retry_class="read", data_tier=1
            )
            gateway.approve_server(actor=owner, server_id=server.pk, reason="Reviewed.")
            assert McpServer.objects.exists()
            assert Tool.objects.exists()
            return gateway.grant_tool(
                actor=owner,
                agent_id=Agent.objects.get().pk,
                tool_id=tool.pk,
                reason="It reads vendors for the tests.",
                expires_at=timezone.now() + timedelta(days=1),
            )

    def test_a_key_revokes_one_once(self, key, workspace, grant):
        client, address = key("gateway:write"), f"grants/{public_id('grt', grant.pk)}/revoke"
        answer = post(client, address, reason="No longer needed.")
        assert answer.status_code == 200, answer.content
        assert answer.json()["revoked_at"]
        assert len(logged(workspace, Event.AGENT_TOOL_REVOKED)) == 1
        assert post(client, address, reason="Again.").status_code == 409

    def test_without_the_scope_and_from_elsewhere_it_stays(self, key, workspace, grant, stranger_key):
        address = f"grants/{public_id('grt', grant.pk)}/revoke"
        assert post(key("gateway:read"), address, reason="No.").status_code == 403
        assert post(stranger_key, address, reason="No.").status_code == 404
        with enter(workspace.pk):
            assert ToolGrant.objects.get().revoked_at is None
