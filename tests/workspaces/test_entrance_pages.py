"""Pages before a workspace is known: invitation, first administrator, members."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from threading import Barrier
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id
from tests import factories
from tests.browsing import browser
from workspaces import selectors, services
from workspaces.models import User
from workspaces.setup_token import SetupToken

pytestmark = pytest.mark.django_db(transaction=True)

SETUP = {
    "email": "first@example.com",
    "name": "First Person",
    "password": factories.PASSWORD,
    "workspace_name": "Northwind",
    "workspace_slug": "northwind",
}


@pytest.fixture
def workspace(db):
    """Not in scope: the doors alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def setup_address(db):
    yield _printed()
    SetupToken.locate().discard()


@pytest.fixture
def invited(admin, workspace):
    with enter(workspace.pk):
        _invitation, token = services.invite(actor=admin, email="new@example.com", roles=["viewer"])
    return f"/invitations/{token}/"


def test_the_printed_address_makes_the_first_administrator_once(setup_address, instance_events):
    """T24."""
    assert browser().get(setup_address).status_code == 200
    assert browser().post(setup_address, SETUP)["Location"] == "/sign-in/"
    first = User.objects.get()
    [workspace] = selectors.workspaces_of(first.pk)
    with enter(workspace.id):
        assert selectors.active_membership(workspace.id, first.pk).roles == ["admin"]
    assert [event.object_id for event in instance_events(Event.USER_CREATED)] == [str(first.pk)]
    again = browser().post(setup_address, {**SETUP, "email": "second@example.com", "workspace_slug": "second"})
    assert again.status_code == 404
    assert User.objects.count() == 1
    assert not SetupToken.locate().path.exists()


def test_the_address_stays_the_same_until_it_is_used(setup_address):
    assert _printed() == setup_address
    assert SetupToken.locate().path.stat().st_mode & 0o777 == 0o600


def test_on_an_installation_with_accounts_there_is_no_such_address(admin):
    with pytest.raises(CommandError, match="accounts already"):
        _printed()
    SetupToken.locate().ensure()
    try:
        assert browser().get(f"/setup/{SetupToken.locate().ensure()}/").status_code == 404
    finally:
        SetupToken.locate().discard()


@pytest.mark.parametrize("token", ["x", "%20", "a" * 2000])
def test_an_invented_set_up_token_opens_nothing(setup_address, token):
    assert browser().get(f"/setup/{token}/").status_code == 404
    assert browser().post(f"/setup/{token}/", SETUP).status_code == 404
    assert not User.objects.exists()


def test_without_a_token_made_no_token_matches(db):
    assert not SetupToken.locate().matches("")
    assert browser().post("/setup/x/", SETUP).status_code == 404


def test_a_weak_password_is_told_and_nothing_is_made(setup_address):
    response = browser().post(setup_address, {**SETUP, "password": "password1234"})
    assert response.status_code == 422
    assert "too common" in response.content.decode()
    assert not User.objects.exists()


def test_an_invitation_is_accepted_over_its_page_and_opens_a_sign_in(invited, workspace):
    assert "You are invited" in browser().get(invited).content.decode()
    response = browser().post(invited, {"name": "New", "password": factories.PASSWORD})
    assert response.status_code == 302
    user = User.objects.get(email="new@example.com")
    with enter(workspace.pk):
        assert selectors.active_membership(workspace.pk, user.pk).roles == ["viewer"]
    assert browser().get(invited).status_code == 404


def test_a_weak_password_leaves_the_invitation_open(invited):
    assert browser().post(invited, {"name": "New", "password": "short"}).status_code == 422
    assert browser().get(invited).status_code == 200
    assert not User.objects.filter(email="new@example.com").exists()


def test_looking_at_an_invitation_accepts_nothing(invited, admin):
    for client in (browser(), browser(admin)):
        client.get(invited)
        client.head(invited)
    assert browser().get(invited).status_code == 200


def test_an_administrator_invites_changes_and_removes_over_the_page(admin, viewer, workspace):
    client, home = browser(admin), f"/w/{workspace.slug}/members"
    shown = client.post(f"{home}/invite", {"email": "third@example.com", "roles": ["approver"]})
    assert "/invitations/" in shown.content.decode()
    assert shown["Cache-Control"] == "no-store"
    member = f"{home}/{public_id('usr', User.objects.get(pk=viewer.id).pk)}"
    assert client.post(f"{member}/roles", {"roles": ["approver", "auditor"]}).status_code == 302
    listed = client.get(f"{home}/").content.decode()
    assert "approver, auditor" in listed
    assert "third@example.com" in listed
    assert client.post(f"{member}/remove", {"reason": "Left."}).status_code == 302
    members, _, removed = client.get(f"{home}/").content.decode().partition("Removed members")
    assert viewer.label not in members
    assert viewer.label in removed
    assert client.post(f"{member}/erase", {"reason": "They asked for it."}).status_code == 302
    shown = client.get(f"{home}/").content.decode()
    assert "are destroyed" in shown
    assert viewer.label not in shown


def test_a_viewer_sees_members_and_changes_none(viewer, workspace):
    client, home = browser(viewer), f"/w/{workspace.slug}/members"
    assert "Make invitation" not in client.get(f"{home}/").content.decode()
    assert client.post(f"{home}/invite", {"email": "x@example.com", "roles": ["admin"]}).status_code == 403


def test_two_who_accept_one_invitation_at_once_make_one_account(invited, workspace):
    form = {"name": "New", "password": factories.PASSWORD}
    assert sorted(at_once(lambda: browser().post(invited, form).status_code)) == [302, 404]
    assert User.objects.filter(email="new@example.com").count() == 1


def test_two_who_open_the_set_up_address_at_once_make_one_administrator(setup_address):
    attempts = iter(range(2))

    def post():
        number = next(attempts)
        form = {**SETUP, "email": f"person-{number}@example.com", "workspace_slug": f"workspace-{number}"}
        return browser().post(setup_address, form).status_code

    assert sorted(at_once(post)) == [302, 404]
    assert User.objects.count() == 1


def at_once(act):
    """What two threads get that do the same at the same moment."""
    together = Barrier(2)

    def one(_number):
        try:
            together.wait(60)
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, range(2)))


def _printed():
    out = StringIO()
    call_command("setup_link", stdout=out)
    return urlsplit(out.getvalue().strip()).path
