"""A database administrator gives an account another person's password or address, with the guards off (T06)."""

import pytest
from django.db import transaction

from audit.services import record
from audit.taxonomy import Event
from tests import factories
from tests.browsing import browser, sign_in
from tests.gateway.world import unguarded
from workspaces.models import User

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_attempts(own_rate_limits):
    """Each test counts attempts of its own."""


@pytest.fixture
def account(db):
    return User.objects.get(pk=factories.make_member(factories.make_workspace(), roles={"admin"}).id)


@pytest.fixture
def other(db):
    made = factories.make_member(factories.make_workspace(), roles={"admin"})
    account = User.objects.get(pk=made.id)
    with transaction.atomic():
        account.set_password("another-good-password")
        account.save(update_fields=["password"])
        record(actor=made, event=Event.USER_PASSWORD_CHANGED, target=account)
    return account


def told(instance_events):
    return [(event.object_type, event.object_id) for event in instance_events(Event.AUDIT_ROW_ALTERED)]


def test_a_swapped_password_signs_nobody_in_and_is_told(account, other, instance_events):
    with unguarded("workspaces_user") as owner:
        owner.execute(
            "UPDATE workspaces_user SET password = (SELECT password FROM workspaces_user WHERE id = %s) WHERE id = %s",
            [other.pk, account.pk],
        )
    assert sign_in(browser(), account.email, "another-good-password").status_code == 200
    assert instance_events(Event.AUTH_LOGIN_SUCCEEDED) == []
    assert told(instance_events) == [("user", str(account.pk))]
    assert sign_in(browser(), other.email, "another-good-password").status_code == 302


@pytest.mark.parametrize("revision", ["audit_rev", "audit_rev + 1", "audit_rev - 1"])
def test_nor_does_a_swapped_address_at_any_revision(account, other, instance_events, revision):
    with unguarded("workspaces_user") as owner:
        owner.execute("UPDATE workspaces_user SET email = 'gone@example.com' WHERE id = %s", [account.pk])
        owner.execute(
            f"UPDATE workspaces_user SET email = %s, audit_rev = {revision} WHERE id = %s", [account.email, other.pk]
        )
    assert sign_in(browser(), account.email, "another-good-password").status_code == 200
    assert instance_events(Event.AUTH_LOGIN_SUCCEEDED) == []
    assert told(instance_events) == [("user", str(other.pk))]


def test_put_back_the_account_opens_again(account):
    known = account.name
    for name, status in (("somebody else", 200), (known, 302)):
        with unguarded("workspaces_user") as owner:
            owner.execute("UPDATE workspaces_user SET name = %s WHERE id = %s", [name, account.pk])
        assert sign_in(browser(), account.email).status_code == status
