"""People in a workspace: invited, joined, given roles, removed."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from audit.taxonomy import Event
from provenance.db import scope
from provenance.errors import Invalid, NotFound, PermissionDenied
from tests import factories
from workspaces import selectors, services
from workspaces.errors import AlreadyMember, InvitationClosed, LastAdministrator, OwnRoles, PasswordRefused
from workspaces.models import Invitation, Membership, User


@pytest.fixture
def invitation(admin):
    return services.invite(actor=admin, email="New.Person@Example.com", roles=["editor", "viewer"])


def accept(token, **changes):
    values = {"user": None, "name": "New Person", "password": factories.PASSWORD, **changes}
    return services.accept_invitation(token=token, **values)


def test_an_invited_person_joins_with_the_roles_of_the_invitation(invitation, workspace, events, instance_events):
    invited, token = invitation
    user = accept(token)
    membership = selectors.active_membership(workspace.pk, user.pk)
    assert (user.email, membership.roles) == ("new.person@example.com", ["editor", "viewer"])
    assert [event.object_id for event in events(Event.INVITATION_ACCEPTED)] == [str(invited.pk)]
    assert [event.object_id for event in events(Event.MEMBER_ADDED)][-1] == str(membership.pk)
    assert str(user.pk) in [event.object_id for event in instance_events(Event.USER_CREATED)]


def test_the_token_is_stored_nowhere(invitation):
    invited, token = invitation
    assert token not in str(Invitation.objects.filter(pk=invited.pk).values())


def test_an_invitation_works_once(invitation):
    accept(invitation[1])
    with pytest.raises(InvitationClosed):
        accept(invitation[1])


def test_an_expired_invitation_does_not_work(admin, monkeypatch):
    long_ago = timezone.now() - timedelta(days=8)
    monkeypatch.setattr(services.timezone, "now", lambda: long_ago)
    _invitation, token = services.invite(actor=admin, email="late@example.com", roles=["viewer"])
    monkeypatch.undo()
    with pytest.raises(InvitationClosed):
        accept(token)


@pytest.mark.parametrize("token", ["", "x", "\ud800", "a" * 10_000])
def test_an_invented_token_opens_nothing(workspace, token):
    with pytest.raises(InvitationClosed):
        accept(token)


def test_an_invitation_never_resets_the_password_of_an_account(admin, viewer):
    email = User.objects.get(pk=viewer.id).email
    _invitation, token = services.invite(actor=admin, email=email, roles=["admin"])
    with pytest.raises(Invalid, match="has an account already"):
        accept(token)
    assert User.objects.get(pk=viewer.id).check_password(factories.PASSWORD)


def test_a_signed_in_person_joins_another_workspace_with_their_account(admin, stranger, workspace):
    user = User.objects.get(pk=stranger.id)
    _invitation, token = services.invite(actor=admin, email=user.email.upper(), roles=["viewer"])
    accept(token, user=user)
    assert selectors.active_membership(workspace.pk, user.pk).roles == ["viewer"]


def test_somebody_elses_invitation_cannot_be_taken(invitation, stranger):
    with pytest.raises(PermissionDenied, match="another address"):
        accept(invitation[1], user=User.objects.get(pk=stranger.id))


def test_a_weak_password_is_refused_and_the_invitation_stays_open(invitation):
    with pytest.raises(PasswordRefused):
        accept(invitation[1], password="password1234")
    assert accept(invitation[1])


@pytest.mark.parametrize("role", ["editor", "approver", "auditor", "viewer"])
def test_only_administrators_change_who_belongs(request, role, admin):
    actor = request.getfixturevalue(role)
    for attempt in (
        lambda: services.invite(actor=actor, email="x@example.com", roles=["viewer"]),
        lambda: services.change_roles(actor=actor, user_id=admin.id, roles=["viewer"]),
        lambda: services.remove_member(actor=actor, user_id=admin.id, reason="No."),
        lambda: services.add_member(actor=actor, user_id=admin.id, roles=["viewer"]),
    ):
        with pytest.raises(PermissionDenied, match="members:write"):
            attempt()


def test_an_administrator_makes_no_accounts_past_the_invitation(admin):
    with pytest.raises(PermissionDenied, match="by invitation"):
        services.create_user(actor=admin, email="x@example.com", name="X", password=factories.PASSWORD)


def test_an_administrator_makes_no_workspaces(admin):
    with pytest.raises(PermissionDenied, match="on the host"):
        services.create_workspace(actor=admin, slug="mine", name="Mine")


def test_roles_are_changed_on_the_record(admin, viewer, events):
    membership = services.change_roles(actor=admin, user_id=viewer.id, roles={"approver", "auditor"})
    assert membership.fresh().roles == ["approver", "auditor"]
    assert [event.object_id for event in events(Event.MEMBER_ROLE_CHANGED)] == [str(membership.pk)]


@pytest.mark.parametrize("roles", [[], ["owner"], ["admin", "root"]])
def test_a_role_that_does_not_exist_is_refused(admin, viewer, roles):
    with pytest.raises(Invalid, match="at least one of the roles"):
        services.change_roles(actor=admin, user_id=viewer.id, roles=roles)


def test_nobody_changes_their_own_roles_or_removes_themselves(admin):
    with pytest.raises(OwnRoles):
        services.change_roles(actor=admin, user_id=admin.id, roles=["admin", "approver"])
    with pytest.raises(OwnRoles):
        services.remove_member(actor=admin, user_id=admin.id, reason="Me.")


def test_the_last_administrator_stays(admin, workspace):
    host = factories.system_of(workspace)
    with pytest.raises(LastAdministrator):
        services.change_roles(actor=host, user_id=admin.id, roles=["viewer"])
    with pytest.raises(LastAdministrator):
        services.remove_member(actor=host, user_id=admin.id, reason="Gone.")
    factories.make_member(workspace, roles={"admin"})
    services.remove_member(actor=host, user_id=admin.id, reason="Gone.")
    assert selectors.active_membership(workspace.pk, admin.id) is None


def test_a_member_of_another_workspace_is_not_found(admin, stranger):
    with pytest.raises(NotFound):
        services.change_roles(actor=admin, user_id=stranger.id, roles=["viewer"])
    with pytest.raises(NotFound):
        services.remove_member(actor=admin, user_id=stranger.id, reason="Not here.")


def test_a_removed_member_can_be_brought_back_and_is_one_row_still(admin, viewer, workspace):
    services.remove_member(actor=admin, user_id=viewer.id, reason="Left.")
    services.add_member(actor=factories.system_of(workspace), user_id=viewer.id, roles=["editor"])
    [row] = Membership.objects.filter(user_id=viewer.id)
    assert (row.roles, row.removed_at) == (["editor"], None)
    with pytest.raises(AlreadyMember):
        services.add_member(actor=factories.system_of(workspace), user_id=viewer.id, roles=["editor"])


def test_the_list_of_members_costs_the_same_whatever_its_length(admin, workspace, django_assert_num_queries):
    with django_assert_num_queries(2):
        selectors.members(admin)
    for _ in range(3):
        factories.make_member(workspace, roles={"viewer"})
    with django_assert_num_queries(2):
        assert len(selectors.members(admin)) == 4


def test_workspaces_of_a_person_are_only_theirs(admin, stranger, workspace, other_workspace):
    assert [ref.slug for ref in selectors.workspaces_of(admin.id)] == [workspace.slug]
    assert [ref.slug for ref in selectors.workspaces_of(stranger.id)] == [other_workspace.slug]


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_no_other_process_reads_accounts(as_role, workspace, role):
    """T07."""
    with as_role(role), connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('workspaces_user', 'select, insert, update, delete')")
        assert cursor.fetchone() == (False,)


def test_two_workspaces_cannot_share_a_short_name(workspace):
    with pytest.raises(services.SlugTaken):
        services.create_workspace(actor=factories.host(), slug=workspace.slug, name="Second")


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a b", "ä", "a/b", "a" * 41])
def test_a_short_name_must_fit_into_an_address(slug, db):
    with pytest.raises(Invalid):
        services.create_workspace(actor=factories.host(), slug=slug, name="X")


def test_a_new_workspace_has_three_environments_and_production_is_protected(workspace):
    from workspaces.models import Environment

    assert dict(Environment.objects.values_list("name", "protected")) == {
        "production": True,
        "staging": False,
        "development": False,
    }
    assert selectors.workspace_ref(workspace.pk).environment_label == "production"


def test_the_scope_is_left_as_it_was(workspace, other_workspace):
    from workspaces.models import Workspace

    with scope(other_workspace.pk):
        factories.make_workspace()
        assert Workspace.objects.get() == other_workspace
