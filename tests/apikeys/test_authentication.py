"""From key to actor."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apikeys import authentication, keytext, lookup, services
from apikeys.authentication import KeyRow, actor_for_key, actor_of
from apikeys.models import ApiKey, ApiKeyUse
from audit.services import record
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import ActorKind
from provenance.permissions import SCOPES, Permission
from tests import factories
from workspaces import services as people
from workspaces.models import Membership, User
from workspaces.roles import Role

NOW = timezone.now()


@pytest.fixture
def key(admin):
    return services.issue_key(actor=admin, name="nightly import", scopes=["runs:read", "runs:write"])


def row(text, **changes):
    values = KeyRow(
        id=uuid4(),
        name="k",
        digest=keytext.digest(text),
        scopes=["runs:read", "audit:read"],
        owner_user_id=uuid4(),
        agent_id=None,
        environment="production",
        expires_at=NOW + timedelta(days=1),
        revoked_at=None,
        owner_roles=["admin"],
    )
    return replace(values, **changes)


def test_a_key_acts_in_its_workspace_for_its_owner(key, admin, workspace):
    actor = actor_for_key(key[1], request_id="req", ip="127.0.0.1")
    assert (actor.kind, actor.id, actor.workspace_id) == (ActorKind.INTEGRATION, str(key[0].pk), workspace.pk)
    assert (actor.on_behalf_of, actor.via) == (admin.id, f"key:{key[0].pk}")
    assert actor.permissions == {Permission.RUNS_READ, Permission.RUNS_WRITE}


def test_a_key_of_an_agent_acts_as_the_agent(admin):
    agent_id = uuid4()
    _key, text = services.issue_key(actor=admin, name="k", scopes=["gateway:read"], agent_id=agent_id)
    actor = actor_for_key(text)
    assert (actor.kind, actor.id, actor.on_behalf_of) == (ActorKind.AGENT, str(agent_id), admin.id)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_never_allows_more_than_its_owner_may_now(role):
    text = keytext.new_key()
    everything = row(text, scopes=[scope.value for scope in SCOPES], owner_roles=[role.value])
    granted = actor_of(everything, text, workspace_id=uuid4(), now=NOW).permissions
    assert granted <= SCOPES
    assert granted <= factories.permissions_of([role])


def test_lowering_the_owners_roles_narrows_the_key_at_once(key, admin, workspace):
    people.change_roles(actor=factories.make_member(workspace, roles={"admin"}), user_id=admin.id, roles=["viewer"])
    assert actor_for_key(key[1]).permissions == {Permission.RUNS_READ}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"digest": keytext.digest(keytext.new_key())}, authentication.KeyUnknown),
        ({"revoked_at": NOW}, authentication.KeyRevoked),
        ({"expires_at": NOW}, authentication.KeyExpired),
        ({"expires_at": NOW - timedelta(days=1)}, authentication.KeyExpired),
        ({"owner_roles": None}, authentication.KeyOrphaned),
    ],
)
def test_a_key_that_is_no_longer_good_is_refused_with_its_reason(changes, refusal):
    text = keytext.new_key()
    with pytest.raises(refusal):
        actor_of(row(text, **changes), text, workspace_id=uuid4(), now=NOW)


def test_what_is_wrong_is_said_only_to_whoever_has_the_whole_key():
    text = keytext.new_key()
    revoked = row(text, revoked_at=NOW, expires_at=NOW - timedelta(days=1), owner_roles=None)
    with pytest.raises(authentication.KeyUnknown):
        actor_of(revoked, keytext.new_key(), workspace_id=uuid4(), now=NOW)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [("", authentication.KeyMissing), ("prov_x", authentication.KeyNotWhole), ("\ud800", authentication.KeyNotWhole)],
)
def test_what_is_no_key_asks_no_database(text, refusal):
    with pytest.raises(refusal):
        actor_for_key(text)


def test_a_whole_key_that_was_never_issued_is_unknown(db):
    with pytest.raises(authentication.KeyUnknown):
        actor_for_key(keytext.new_key())


def test_a_key_works_whatever_workspace_is_in_scope(key, other_workspace, workspace):
    from provenance.db import scope

    with scope(other_workspace.pk):
        assert actor_for_key(key[1]).workspace_id == workspace.pk


def test_closing_the_owners_account_makes_the_key_unknown(key, admin):
    with transaction.atomic():
        user = User.objects.get(pk=admin.id)
        user.is_active = False
        user.save(update_fields=["is_active"])
        record(actor=factories.host(), event=Event.USER_UPDATED, target=user)
    with pytest.raises(authentication.KeyUnknown):
        actor_for_key(key[1])


def test_the_last_use_is_noted_once_a_minute(key):
    actor_for_key(key[1])
    first = ApiKeyUse.objects.get()
    actor_for_key(key[1])
    assert ApiKeyUse.objects.get().last_used_at == first.last_used_at
    ApiKeyUse.objects.update(last_used_at=NOW - timedelta(minutes=2))
    actor_for_key(key[1])
    assert ApiKeyUse.objects.get().last_used_at > NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("model", "columns"), [(ApiKey, lookup.KEY_COLUMNS), (Membership, lookup.MEMBER_COLUMNS)], ids=["key", "member"]
)
def test_what_is_held_against_the_log_is_the_whole_row(model, columns):
    assert set(columns) == {field.column for field in model._meta.concrete_fields}


def test_the_gateway_authenticates_keys_by_the_same_sql(key, workspace, as_role):
    from provenance.ids import uuid7

    with as_role("gateway"), connection.cursor() as cursor:
        cursor.execute(lookup.FIND, {"prefix": key[0].prefix})
        assert cursor.fetchone() == (workspace.pk, key[0].pk)
        cursor.execute(lookup.LOAD, {"workspace_id": workspace.pk, "key_id": key[0].pk})
        columns = cursor.fetchone()
        row = dict(zip((column.name for column in cursor.description), columns, strict=True))
        loaded = KeyRow.of(row)
        authentication.demand_attested(row, KeyRing.from_settings("gateway"))
        cursor.execute(lookup.TOUCH, {"workspace_id": workspace.pk, "key_id": key[0].pk, "id": uuid7()})
    assert actor_of(loaded, key[1], workspace_id=workspace.pk, now=timezone.now()).id == str(key[0].pk)


def test_the_worker_has_no_business_with_keys(as_role, db):
    with as_role("worker"), connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('apikeys_apikey', 'select, insert, update, delete')")
        assert cursor.fetchone() == (False,)
        cursor.execute("SELECT has_function_privilege('apikeys_find(text)', 'execute')")
        assert cursor.fetchone() == (False,)
