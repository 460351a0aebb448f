"""A database administrator slips in a row that a service then changes and signs, with the guards off (T06).

What the service signs afterwards is genuine, so the row must be refused before, and its history must show that nobody made it.
"""

import pytest

from agents import services as agents
from audit.attestation import RowAltered
from audit.taxonomy import Event
from gateway import services as gateway
from provenance.db import enter
from provenance.ids import uuid7
from secrets_vault import services as vault
from tests import factories
from tests.browsing import browser
from tests.gateway.world import unguarded
from tests.workflows.driving import published
from tests.workflows.samples import ADDING
from workflows import services as workflows
from workspaces import services
from workspaces.models import Membership, User

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-token-that-only-the-attacker-knows"
JOINING = {"name": "Mallory Vane", "password": "mallory-chosen-phrase-1"}


@pytest.fixture
def workspace(db):
    """Not in scope: the door of invitations brings it there."""
    return factories.make_workspace()


@pytest.fixture
def admin(workspace):
    return factories.make_member(workspace, roles={"admin"})


def told(workspace):
    with enter(workspace.pk):
        return [(event.object_type, event.object_id) for event in factories.events(Event.AUDIT_ROW_ALTERED)]


@pytest.mark.parametrize("revision", [0, 1])
def test_an_invitation_that_nobody_sent_lets_nobody_in(workspace, revision):
    """At revision 0 the event of its acceptance would be the first one, and no gap would show."""
    invitation = uuid7()
    with unguarded("workspaces_invitation") as owner:
        owner.execute(
            "INSERT INTO workspaces_invitation (id, workspace_id, email, roles, token_digest, created_at, expires_at,"
            " audit_rev, audit_salt) VALUES (%s, %s, 'mallory@example.com', '{admin}', %s, now(), now() + interval '1 day',"
            " %s, sha256('salt'))",
            [invitation, workspace.pk, services.token_digest(TOKEN), revision],
        )
    response = browser().post(f"/invitations/{TOKEN}/", JOINING)
    assert response.status_code == 422
    assert "not what the log says" in response.content.decode()
    assert not User.objects.filter(email="mallory@example.com").exists()
    assert told(workspace) == [("invitation", str(invitation))]


@pytest.mark.parametrize(
    "change",
    [
        "roles = '{admin}'",
        "email = 'mallory@example.com'",
        "expires_at = now() + interval '1 year'",
        "accepted_at = NULL",
    ],
)
def test_nor_does_one_that_was_edited(workspace, admin, change):
    with enter(workspace.pk):
        invitation, token = services.invite(actor=admin, email="new@example.com", roles=["viewer"])
    if change.startswith("accepted_at"):
        assert browser().post(f"/invitations/{token}/", JOINING).status_code == 302
    with unguarded("workspaces_invitation") as owner:
        owner.execute(f"UPDATE workspaces_invitation SET {change}")
    joined = {"name": "Another", "password": "another-chosen-phrase-1"}
    assert browser().post(f"/invitations/{token}/", joined).status_code == 422
    with enter(workspace.pk):
        assert Membership.objects.filter(roles__contains=["admin"]).count() == 1
    assert told(workspace) == [("invitation", str(invitation.pk))]


# --- Rows that a service changes -------------------------------------------------------------------------------------


def test_trust_that_was_raised_past_the_platform_is_not_signed_with_the_next_version(echo):
    """At the same revision the gateway keeps what it knew, so that nobody meets the altered row until a service signs it."""
    echo.owner_does("UPDATE agents_agent SET trust_level = 'high'")
    agent_id = echo.agents["helper"].id
    configuration = agents.Configuration(provider="unused", model="model-2026-02-02", system_prompt="You help more.")
    with pytest.raises(RowAltered), enter(echo.workspace.id):
        agents.publish_version(actor=echo.admin, agent_id=agent_id, configuration=configuration)
    echo.owner_does("UPDATE agents_agent SET trust_level = 'low'")
    with enter(echo.workspace.id):
        agents.publish_version(actor=echo.admin, agent_id=agent_id, configuration=configuration)


def test_neither_is_what_else_of_a_row_gives_power(echo):
    for statement, change in (
        (
            "UPDATE gateway_mcpserver SET url = 'http://127.0.0.1:9/mcp'",
            lambda: gateway.approve_server(actor=echo.admin, server_id=echo.servers["up"].pk, reason="Looked at."),
        ),
        (
            "UPDATE gateway_tool SET effect = 'read', data_tier = 2",
            lambda: echo.review("up.echo"),
        ),
        (
            "UPDATE secrets_vault_secret SET access = 'write'",
            lambda: vault.rotate_secret(actor=echo.admin, name="up-token", value="tok-of-the-second-year"),
        ),
    ):
        echo.owner_does(statement)
        with pytest.raises(RowAltered), enter(echo.workspace.id):
            change()


def test_a_membership_that_was_given_to_somebody_else_gets_no_roles(workspace, admin):
    viewer, mallory = (factories.make_member(workspace, roles={"viewer"}) for _ in range(2))
    with unguarded("workspaces_membership") as owner:
        owner.execute("DELETE FROM workspaces_membership WHERE user_id = %s", [mallory.id])
        owner.execute("UPDATE workspaces_membership SET user_id = %s WHERE user_id = %s", [mallory.id, viewer.id])
    with pytest.raises(RowAltered), enter(workspace.pk):
        services.change_roles(actor=admin, user_id=mallory.id, roles=["admin"])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workflows_workflowversion SET definition = replace(definition, '+', '-')",
        "UPDATE workflows_workflowversion SET published_by = 'somebody'",
        "UPDATE workflows_workflow SET title = 'Another'",
    ],
)
def test_a_workflow_that_was_edited_after_it_was_published_does_not_run(workspace, statement):
    """A step that asks a person can be taken out of a definition; a run is bound to what it was started with."""
    editor = factories.make_member(workspace, roles={"editor"})
    with enter(workspace.pk):
        published(editor, ADDING, "adding")
    with unguarded(statement.split()[1]) as owner:
        owner.execute(statement)
    with pytest.raises(RowAltered), enter(workspace.pk):
        workflows.start_run(actor=editor, workflow_slug="adding", input={"first": 4, "second": 5})
