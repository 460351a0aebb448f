"""Issuing and revoking keys."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apikeys import selectors, services
from apikeys.authentication import actor_for_key
from apikeys.models import ApiKey
from audit.taxonomy import Event
from provenance.db import scope
from provenance.errors import Invalid, NotFound, PermissionDenied
from provenance.permissions import SCOPES, Permission
from tests import factories
from workspaces import services as people


def test_a_key_is_issued_on_the_record_and_its_text_is_stored_nowhere(admin, events):
    key, text = services.issue_key(actor=admin, name="nightly import", scopes=["runs:write", "runs:read"])
    assert (key.scopes, str(key.owner_user_id)) == (["runs:read", "runs:write"], admin.id)
    assert timedelta(days=89) < key.expires_at - timezone.now() <= timedelta(days=90)
    assert [event.object_id for event in events(Event.API_KEY_CREATED)] == [str(key.pk)]
    secret = text.split("_")[2]
    assert secret not in str(ApiKey.objects.values())
    assert secret not in _all_details()


def test_only_administrators_issue_and_revoke(editor, approver, auditor, viewer, admin):
    key, _text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    for actor in (editor, approver, auditor, viewer):
        with pytest.raises(PermissionDenied, match="api_keys:write"):
            services.issue_key(actor=actor, name="k", scopes=["runs:read"])
        with pytest.raises(PermissionDenied, match="api_keys:write"):
            services.revoke_key(actor=actor, key_id=key.pk, reason="No.")


@pytest.mark.parametrize(
    "scopes", [[], ["*"], ["runs:*"], ["approvals:decide"], ["secrets:reveal"], ["halts:release"], ["agents:trust"]]
)
def test_nothing_but_the_sixteen_scopes_can_be_given(admin, scopes):
    """M142; a key never decides, reveals, raises trust or releases a halt."""
    with pytest.raises(Invalid, match="no wildcard"):
        services.issue_key(actor=admin, name="k", scopes=scopes)


def test_there_are_sixteen_scopes_each_explained():
    from apikeys.scopes import SCOPE_MEANINGS

    assert len(SCOPES) == 16
    assert set(SCOPE_MEANINGS) == SCOPES


def test_nobody_gives_a_scope_that_they_lack(admin):
    narrowed = replace(admin, permissions=frozenset({Permission.API_KEYS_WRITE, Permission.RUNS_READ}))
    with pytest.raises(PermissionDenied, match="agents:write"):
        services.issue_key(actor=narrowed, name="k", scopes=["runs:read", "agents:write"])


def test_a_key_issues_no_keys(admin):
    _key, text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    presented = replace(actor_for_key(text), permissions=frozenset(Permission))
    with pytest.raises(PermissionDenied, match="A key issues no keys"):
        services.issue_key(actor=presented, name="k", scopes=["runs:read"])


@pytest.mark.parametrize(
    "changes",
    [{"expires_in_days": 0}, {"expires_in_days": 366}, {"name": " "}, {"name": "a\nb"}, {"environment": "moon"}],
)
def test_a_key_needs_a_name_an_end_and_an_environment(admin, changes):
    """C26: expiry is mandatory and at most 365 days away."""
    with pytest.raises(Invalid):
        services.issue_key(actor=admin, **{"name": "k", "scopes": ["runs:read"], **changes})


def test_the_database_refuses_a_key_that_lives_too_long(admin):
    key, _text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    with (
        pytest.raises(IntegrityError, match="apikeys_key_expires"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "UPDATE apikeys_apikey SET expires_at = created_at + interval '366 days' WHERE id = %s", [key.pk]
        )


def test_the_database_refuses_what_is_no_scope(admin):
    key, _text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    with pytest.raises(IntegrityError, match="apikeys_key_scopes"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE apikeys_apikey SET scopes = '{approvals:decide}' WHERE id = %s", [key.pk])


def test_the_platform_names_an_owner_who_is_a_member(admin, stranger, workspace):
    host = factories.system_of(workspace)
    key, _text = services.issue_key(actor=host, name="k", scopes=["runs:read"], owner_user_id=admin.id)
    assert str(key.owner_user_id) == admin.id
    for owner in (None, stranger.id, uuid4()):
        with pytest.raises(NotFound, match="owner"):
            services.issue_key(actor=host, name="k", scopes=["runs:read"], owner_user_id=owner)


def test_a_person_issues_keys_of_their_own_only(admin, viewer):
    with pytest.raises(PermissionDenied, match="your own"):
        services.issue_key(actor=admin, name="k", scopes=["runs:read"], owner_user_id=viewer.id)


def test_a_key_is_revoked_once_with_a_reason(admin, events):
    key, _text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    with pytest.raises(Invalid, match="why"):
        services.revoke_key(actor=admin, key_id=key.pk, reason=" ")
    services.revoke_key(actor=admin, key_id=key.pk, reason="Leaked.")
    assert key.fresh().revoked_reason == "Leaked."
    assert len(events(Event.API_KEY_REVOKED)) == 1
    with pytest.raises(services.AlreadyRevoked):
        services.revoke_key(actor=admin, key_id=key.pk, reason="Leaked.")


def test_another_workspaces_key_is_not_found(admin, stranger):
    key, _text = services.issue_key(actor=admin, name="k", scopes=["runs:read"])
    with scope(stranger.workspace_id), pytest.raises(NotFound):
        services.revoke_key(actor=stranger, key_id=key.pk, reason="Not mine.")


def test_the_list_costs_the_same_whatever_its_length(admin, django_assert_num_queries):
    for number in range(4):
        services.issue_key(actor=admin, name=f"key {number}", scopes=["runs:read"])
    with django_assert_num_queries(3):
        shown = selectors.shown(list(selectors.keys(admin)), timezone.now())
    assert {item.status for item in shown} == {"active"}
    assert {item.owner_name for item in shown} == {admin.label}


def test_removing_the_owner_stops_the_key(admin, workspace):
    owner = factories.make_member(workspace, roles={"admin"})
    _key, text = services.issue_key(actor=owner, name="k", scopes=["runs:read"])
    assert actor_for_key(text).permissions
    people.remove_member(actor=admin, user_id=owner.id, reason="Left.")
    from apikeys.authentication import KeyOrphaned

    with pytest.raises(KeyOrphaned):
        actor_for_key(text)


def _all_details():
    with connection.cursor() as cursor:
        cursor.execute("SELECT convert_from(body, 'utf8') FROM audit.detail WHERE body IS NOT NULL")
        return str(cursor.fetchall())
