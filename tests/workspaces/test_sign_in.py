"""Signing in and out, and what the instance log says about it."""

import pytest
from django.contrib.auth.hashers import verify_password
from django.db import transaction

from audit.services import record
from audit.taxonomy import Event
from tests import factories
from tests.browsing import browser, sign_in
from workspaces.models import User

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_attempts(own_rate_limits):
    """Each test counts attempts of its own."""


@pytest.fixture
def person(db):
    return factories.make_member(factories.make_workspace(), roles={"admin"})


@pytest.fixture
def email(person):
    return User.objects.get(pk=person.id).email


def test_the_right_password_opens_a_session(email, person, instance_events):
    client = browser()
    assert sign_in(client, email)["Location"] == "/"
    [signed_in] = instance_events(Event.AUTH_LOGIN_SUCCEEDED)
    assert (signed_in.actor_id, signed_in.object_id) == (person.id, person.id)
    assert User.objects.get(pk=person.id).last_sign_in_at is not None


def test_the_address_counts_whatever_its_case(email):
    assert sign_in(browser(), email.upper()).status_code == 302


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(email):
    client = browser()
    sign_in(client, email)
    cookie = client.cookies["session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_a_wrong_password_and_an_unknown_address_look_the_same(email, instance_events):
    wrong = sign_in(browser(), email, "not-the-password")
    unknown = sign_in(browser(), "nobody@example.com", "not-the-password")
    assert (wrong.status_code, unknown.status_code) == (200, 200)
    assert _message(wrong) == _message(unknown)
    assert instance_events(Event.AUTH_LOGIN_FAILED)
    assert not instance_events(Event.AUTH_LOGIN_SUCCEEDED)


def test_failures_of_one_source_and_minute_share_their_events(email, instance_events):
    """T26: an attacker cannot fill the log."""
    for _ in range(4):
        sign_in(browser(), email, "not-the-password")
    # One; should the minute turn, one for each, and what the first did not tell.
    assert 1 <= len(instance_events(Event.AUTH_LOGIN_FAILED)) <= 3


def test_after_five_failures_even_the_right_password_waits(email):
    for _ in range(5):
        sign_in(browser(), email, "not-the-password")
    response = sign_in(browser(), email)
    assert response.status_code == 200
    assert "Too many failed" in response.content.decode()


def test_a_closed_account_cannot_sign_in_and_learns_nothing_about_it(person, email, instance_events):
    with transaction.atomic():
        user = User.objects.get(pk=person.id)
        user.is_active = False
        user.save(update_fields=["is_active"])
        record(actor=factories.host(), event=Event.USER_UPDATED, target=user)
    client = browser()
    assert sign_in(client, email)["Location"] == "/sign-in/"
    assert client.get("/")["Location"].startswith("/sign-in/")
    assert not instance_events(Event.AUTH_LOGIN_SUCCEEDED)


def test_a_signed_in_person_of_a_closed_account_is_out_at_once(person):
    client = browser(person)
    assert client.get("/").status_code == 302
    with transaction.atomic():
        user = User.objects.get(pk=person.id)
        user.is_active = False
        user.save(update_fields=["is_active"])
        record(actor=factories.host(), event=Event.USER_UPDATED, target=user)
    assert client.get("/")["Location"].startswith("/sign-in/")


def test_an_old_hash_is_renewed_at_sign_in_with_its_event(person, email, instance_events):
    with transaction.atomic():
        user = User.objects.get(pk=person.id)
        user.password = old_hash = _old_hash(factories.PASSWORD)
        user.save(update_fields=["password"])
        record(actor=factories.host(), event=Event.USER_PASSWORD_CHANGED, target=user)
    assert sign_in(browser(), email).status_code == 302
    renewed_hash = User.objects.get(pk=person.id).password
    assert renewed_hash != old_hash
    assert verify_password(factories.PASSWORD, renewed_hash) == (True, False)
    [renewed] = instance_events(Event.USER_UPDATED)
    assert renewed.object_id == person.id


def test_signing_out_takes_a_form_and_ends_the_session(person, instance_events):
    client = browser(person)
    assert client.get("/sign-out/").status_code == 405
    response = client.post("/sign-out/")
    assert response["Clear-Site-Data"] == '"cache"'
    assert client.get("/")["Location"].startswith("/sign-in/")
    assert [event.actor_id for event in instance_events(Event.AUTH_LOGGED_OUT)] == [person.id]


def test_a_new_password_ends_the_other_sessions(person, email, instance_events):
    here, elsewhere = browser(person), browser(person)
    new = "quite-another-phrase-77"
    response = here.post("/account/password/", {"oldpassword": factories.PASSWORD, "password1": new, "password2": new})
    assert response.status_code == 302
    assert not here.get("/")["Location"].startswith("/sign-in/")
    assert elsewhere.get("/")["Location"].startswith("/sign-in/")
    [changed] = instance_events(Event.USER_PASSWORD_CHANGED)
    assert changed.actor_id == person.id
    assert sign_in(browser(), email, new).status_code == 302


def test_a_weak_new_password_is_refused(person, instance_events):
    response = browser(person).post(
        "/account/password/", {"oldpassword": factories.PASSWORD, "password1": "short", "password2": "short"}
    )
    assert response.status_code == 200
    assert not instance_events(Event.USER_PASSWORD_CHANGED)


def test_there_is_no_sign_up(db):
    for address in ("/signup/", "/accounts/signup/", "/sign-up/"):
        assert browser().get(address).status_code == 404


def _message(response):
    body = response.content.decode()
    return body[body.index('role="alert"') : body.index("</p>", body.index('role="alert"'))]


def _old_hash(password):
    from argon2 import PasswordHasher

    return "argon2" + PasswordHasher(time_cost=2, memory_cost=64, parallelism=2).hash(password)
