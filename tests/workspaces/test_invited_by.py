"""Who invited somebody is a person who exists, or nobody."""

from tests import factories
from workspaces.services import invite


def test_an_invitation_names_the_person_who_made_it(admin):
    invitation, _token = invite(actor=admin, email="new@example.com", roles={"viewer"})
    assert str(invitation.fresh().invited_by) == admin.id


def test_an_invitation_of_the_platform_names_no_person(workspace):
    invitation, _token = invite(actor=factories.system_of(workspace), email="new@example.com", roles={"viewer"})
    assert invitation.fresh().invited_by is None
