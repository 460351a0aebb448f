"""Administrators who take each other's place away at the same moment: one of them does, and the other is told why not."""

import time
from uuid import UUID

import pytest

from provenance.db import enter
from provenance.errors import PermissionDenied
from tests import factories, racing
from workspaces import services
from workspaces.erasure import erase_member
from workspaces.errors import LastAdministrator
from workspaces.models import Membership

pytestmark = pytest.mark.django_db(transaction=True)

WAYS = {
    "removed": lambda actor, member: services.remove_member(actor=actor, user_id=UUID(member.id), reason="r"),
    "demoted": lambda actor, member: services.change_roles(actor=actor, user_id=UUID(member.id), roles={"viewer"}),
    "erased": lambda actor, member: erase_member(actor=actor, user_id=UUID(member.id), reason="r"),
}


@pytest.fixture
def slowly(monkeypatch):
    """Whoever has locked a member thinks about it for a while, so that both have locked what they lock first."""
    locked = Membership.locked.__func__

    def thinking(cls, *arguments, **key):
        found = locked(cls, *arguments, **key)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(Membership, "locked", classmethod(thinking))


@pytest.mark.usefixtures("slowly")
@pytest.mark.parametrize(("count", "refusal"), [(2, LastAdministrator), (3, PermissionDenied)])
@pytest.mark.parametrize("way", WAYS)
def test_one_of_two_wins(way, count, refusal, settings, tmp_path):
    settings.ERASURES_FILE = tmp_path / "erasures.jsonl"
    workspace = factories.make_workspace()
    one, other, *_third = [factories.make_member(workspace, roles={"admin"}) for _ in range(count)]
    act = WAYS[way]
    results = racing.at_once(workspace.id, lambda: act(one, other), lambda: act(other, one))
    assert sorted(type(result).__name__ for result in results) == sorted(["Membership", refusal.__name__]), results
    with enter(workspace.id):
        left = Membership.objects.filter(roles__contains=["admin"], removed_at=None).count()
    assert left == count - 1
