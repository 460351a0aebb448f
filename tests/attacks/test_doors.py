"""Ways to get through, around or out of the door of sessions."""

import re
from posixpath import normpath

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.sessions.models import Session
from django.test import Client

from audit.taxonomy import Event
from provenance.db import enter
from provenance.ids import public_id, uuid7
from provenance.sessions import row_key
from tests import factories
from tests.browsing import browser
from workspaces import selectors, services
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.workspaces.door_urls")]


@pytest.fixture(autouse=True)
def _own_attempts(own_rate_limits):
    """Each test counts attempts of its own."""


@pytest.fixture
def workspace(db):
    """Not in scope: the doors alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def email(admin):
    return User.objects.get(pk=admin.id).email


def csrf_of(client, address="/sign-in/"):
    return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(address).content.decode()).group(1)


def sign_in(client, email, **data):
    return client.post("/sign-in/", {"login": email, "password": factories.PASSWORD, **data})


@pytest.mark.parametrize("address", ["/sign-in/", "/sign-out/", "/theme", "/w/x/rename", "/account/password/"])
def test_a_form_from_another_site_changes_nothing(admin, address):
    """CSRF: a form without this session's token."""
    response = browser(admin, enforce_csrf_checks=True).post(address, {"theme": "dark"})
    assert response.status_code == 403
    assert User.objects.get(pk=admin.id).theme == ""


def test_a_forms_token_of_another_site_does_not_help(admin):
    client = browser(admin, enforce_csrf_checks=True)
    token = csrf_of(browser())
    assert client.post("/theme", {"theme": "dark", "csrfmiddlewaretoken": token}).status_code == 403


def test_a_request_that_names_another_origin_is_refused(admin):
    client = browser(admin, enforce_csrf_checks=True)
    token = csrf_of(client, "/account/password/")
    data = {"theme": "dark", "csrfmiddlewaretoken": token}
    assert client.post("/theme", data, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/theme", data).status_code == 302


def test_the_refusal_of_a_form_does_not_say_what_was_missing(admin):
    body = browser(admin, enforce_csrf_checks=True).post("/theme").content.decode()
    assert "cookie" not in body.lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8420", "*", "a b"])
def test_a_forged_host_is_refused(db, host):
    assert Client(headers={"Host": host}).get("/sign-in/").status_code == 400
    api = Client(headers={"Host": host}).get("/api/v1/echo")
    assert api.status_code in {400, 401}
    assert host not in api.content.decode()


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Proto"]
)
def test_forwarding_headers_of_a_stranger_count_for_nothing(db, header):
    response = Client(headers={header: "203.0.113.9"}).get("/address")
    assert response.content == b"127.0.0.1"


def test_a_listed_proxy_is_believed_only_about_the_hop_it_saw(db, settings):
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")]
    client = Client(headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.1.2.3"})
    assert client.get("/address").content == b"198.51.100.7"


def test_changing_the_claimed_address_does_not_reset_the_limit_of_attempts(email):
    for number in range(6):
        Client(headers={"X-Forwarded-For": f"203.0.113.{number}"}).post(
            "/sign-in/", {"login": email, "password": "not-the-password"}
        )
    assert sign_in(browser(), email).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "http://127.0.0.1:9999/",
        "http://localhost:8421/erp/mcp",
        "http://testserver/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "///evil.example",
        " https://evil.example",
    ],
)
def test_sign_in_leads_nowhere_else(email, target):
    """Open redirect in next=."""
    for client, address in ((browser(), "/sign-in/"), (browser(), f"/sign-in/?next={target}")):
        response = client.post(address, {"login": email, "password": factories.PASSWORD, "next": target})
        assert (response.status_code, response["Location"]) == (302, "/")


def test_sign_in_leads_back_to_a_path_of_ours(email):
    assert sign_in(browser(), email, next="/w/x/whoami?a=1")["Location"] == "/w/x/whoami?a=1"


def test_a_planted_session_is_worth_nothing_after_sign_in(email):
    """Session fixation: the id that a stranger set is not the one that is signed in."""
    planted = browser()
    session = planted.session
    session["planted"] = True
    session.save()
    client = browser()
    client.cookies["session"] = session.session_key
    sign_in(client, email)
    assert client.cookies["session"].value != session.session_key
    assert planted.get("/")["Location"].startswith("/sign-in/")
    stranger = browser()
    stranger.cookies["session"] = session.session_key
    assert stranger.get("/")["Location"].startswith("/sign-in/")


def test_a_session_that_was_read_in_the_database_opens_nothing(admin):
    """By injected SQL, in a backup or by an administrator."""
    client, thief = browser(admin), browser()
    (thief.cookies["session"],) = Session.objects.values_list("session_key", flat=True)
    assert thief.get("/")["Location"].startswith("/sign-in/")
    assert not client.get("/")["Location"].startswith("/sign-in/")


def test_a_session_whose_row_was_given_the_data_of_another_one_is_nobodys(admin):
    thief, client = browser(), browser(admin)
    session = thief.session
    session.save()
    signed_in = Session.objects.exclude(pk=row_key(session.session_key)).get()
    Session.objects.filter(pk=row_key(session.session_key)).update(session_data=signed_in.session_data)
    thief.cookies["session"] = session.session_key
    assert thief.get("/")["Location"].startswith("/sign-in/")
    assert not client.get("/")["Location"].startswith("/sign-in/")


def test_a_copied_cookie_ends_with_the_session(admin):
    client, thief = browser(admin), browser()
    thief.cookies["session"] = client.cookies["session"].value
    assert thief.get("/").status_code == 302
    client.post("/sign-out/")
    assert thief.get("/")["Location"].startswith("/sign-in/")


def test_known_and_unknown_addresses_cost_the_same(email, own_rate_limits, monkeypatch):
    """User enumeration by timing: a password is hashed for an unknown address, too, and hashing is nearly all the time."""
    hashed = []
    for name in ("verify", "encode"):
        real = getattr(Argon2PasswordHasher, name)
        monkeypatch.setattr(
            Argon2PasswordHasher,
            name,
            lambda self, *args, real=real, **more: (hashed.append(1), real(self, *args, **more))[1],
        )

    def hashes(address):
        own_rate_limits()
        hashed.clear()
        browser().post("/sign-in/", {"login": address, "password": "not-the-password"})
        return len(hashed)

    assert hashes("nobody@example.com") == hashes(email) >= 1


@pytest.mark.parametrize(
    "address",
    ["{other}/whoami", "{other}/rename", "{home}/..{other}/whoami", "{home}%2F..{other}/whoami", "/W{other}/whoami"],
)
def test_no_way_leads_into_another_workspace(admin, workspace, other_workspace, address):
    home, other = f"/w/{workspace.slug}", f"/w/{other_workspace.slug}"
    client = browser(admin)
    response = client.post(address.format(home=home, other=other), headers={"X-Workspace": other})
    if response.status_code == 301:
        # Only the slash at the end was missed; where a browser then goes, with the dots taken out, is no way in either.
        response = client.get(normpath(response.url) + "/", headers={"X-Workspace": other})
    assert response.status_code == 404
    assert other_workspace.name not in response.content.decode()
    with enter(other_workspace.pk):
        assert Workspace.objects.get().name == other_workspace.name


def test_a_member_of_another_workspace_cannot_be_named_into_this_ones_actions(
    admin, stranger, workspace, other_workspace
):
    person = public_id("usr", User.objects.get(pk=stranger.id).pk)
    client = browser(admin)
    assert client.post(f"/w/{workspace.slug}/members/{person}/remove", {"reason": "x"}).status_code == 404
    assert client.post(f"/w/{workspace.slug}/members/{person}/roles", {"roles": ["viewer"]}).status_code == 404
    with enter(other_workspace.pk):
        assert selectors.active_membership(other_workspace.pk, stranger.id).roles == ["admin"]


def test_extra_fields_of_a_form_give_no_extra_rights(viewer, admin, workspace):
    client = browser(admin)
    person = public_id("usr", User.objects.get(pk=viewer.id).pk)
    client.post(
        f"/w/{workspace.slug}/members/{person}/roles",
        {"roles": ["viewer"], "permissions": ["approvals:decide"], "actor": "system", "user_id": admin.id},
    )
    with enter(workspace.pk):
        assert selectors.active_membership(workspace.pk, viewer.id).roles == ["viewer"]
        assert selectors.active_membership(workspace.pk, admin.id).roles == ["admin"]


def test_an_administrator_cannot_quietly_make_themselves_an_approver(admin, workspace):
    person = public_id("usr", User.objects.get(pk=admin.id).pk)
    response = browser(admin).post(f"/w/{workspace.slug}/members/{person}/roles", {"roles": ["admin", "approver"]})
    assert response.status_code == 409
    with enter(workspace.pk):
        assert selectors.active_membership(workspace.pk, admin.id).roles == ["admin"]


def test_a_stolen_invitation_of_an_existing_account_gives_no_session(admin, viewer, workspace):
    with enter(workspace.pk):
        _invitation, token = services.invite(actor=admin, email=User.objects.get(pk=viewer.id).email, roles=["admin"])
    thief = browser()
    response = thief.post(f"/invitations/{token}/", {"name": "Thief", "password": "thief-chosen-phrase-1"})
    assert response.status_code == 422
    assert thief.get("/")["Location"].startswith("/sign-in/")


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_what_changes_something_takes_a_form(admin, workspace, method):
    client = browser(admin)
    for address in ("members/invite", f"members/{public_id('usr', uuid7())}/remove", "keys/issue"):
        response = getattr(client, method)(f"/w/{workspace.slug}/{address}")
        # A reload of the address leads back to the page with its form; nothing is done on the way.
        leads_back = response.status_code == 302 and response.url.startswith(f"/w/{workspace.slug}/")
        assert response.status_code == 405 or (leads_back and method != "options")
    for address in ("/sign-out/", "/theme"):
        assert getattr(client, method)(address).status_code == 405


def test_pages_carry_the_strict_policy_even_when_they_refuse(admin, workspace):
    """ui.md 4.3: no unsafe-inline, no unsafe-eval, nothing from elsewhere."""
    for address in ("/sign-in/", "/no-such-page", f"/w/{workspace.slug}/keys/", "/healthz", "/api/v1/echo"):
        headers = browser(admin).get(address).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"


def test_pages_hold_nothing_that_the_policy_would_block(admin, workspace):
    client = browser(admin)
    for address in ("/sign-in/", f"/w/{workspace.slug}/keys/", f"/w/{workspace.slug}/members/", "/no-such-page"):
        body = client.get(address).content.decode()
        assert not re.search(r"<[^>]+\s(style|on\w+)=", body), address
        assert not re.search(r"<script(?![^>]*\ssrc=)", body), address


def test_a_path_cannot_write_into_the_log_or_the_page(viewer, workspace):
    """What a caller writes into an address is nowhere signed and nowhere markup."""
    response = browser(viewer).get(f"/w/{workspace.slug}/members/%3Cscript%3Ealert(1)%3C%2Fscript%3E/roles")
    assert b"<script>alert" not in response.content
    browser(viewer).post(f"/w/{workspace.slug}/members/%3Cscript%3E/remove")
    with enter(workspace.pk):
        [denied] = factories.events(Event.AUTHZ_DENIED)
    assert "script" not in denied.body


def test_a_body_beyond_the_limit_is_refused(admin):
    response = browser(admin).post("/theme", {"theme": "dark", "next": "/" + "a" * 1_100_000})
    assert response.status_code in {400, 413}
    assert User.objects.get(pk=admin.id).theme == ""
