"""A database administrator slips in a row that a service then changes and signs, with the guards off (T06).

What the service signs afterwards is genuine, so the row must be refused before, and its history must show that nobody made it.
"""

import pytest

from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import uuid7
from tests import factories
from tests.browsing import browser
from tests.gateway.world import unguarded
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
