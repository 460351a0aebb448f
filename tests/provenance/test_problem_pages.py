"""What people see when they are refused: inside their workspace, without a word on what others have."""

import re

import pytest

from provenance.db import enter
from provenance.ids import public_id, uuid7
from tests import factories
from tests.browsing import browser

pytestmark = pytest.mark.django_db(transaction=True)

NAVIGATION = 'aria-label="Main"'


@pytest.fixture
def home(workspace):
    return f"/w/{workspace.slug}"


def seen(response):
    """The page without what differs between any two answers."""
    return re.sub(r"req_\w+|csrfmiddlewaretoken\" value=\"\w+|/w/[^\"]*/|apr_\w+", "", response.text)


def test_a_member_who_is_refused_keeps_the_navigation(viewer, home):
    response = browser(viewer).get(f"{home}/keys/")
    assert response.status_code == 403
    assert NAVIGATION in response.text
    assert f"{home}/runs/" in response.text
    assert "api_keys:write" in response.text


@pytest.mark.parametrize("rest", ["nowhere/", "runs/nonsense/", "a/b/c/"])
def test_an_address_that_is_no_page_is_said_inside_the_workspace(viewer, home, rest):
    response = browser(viewer).get(f"{home}/{rest}")
    assert response.status_code == 404
    assert NAVIGATION in response.text


def test_the_navigation_around_a_refusal_counts_what_waits(approver, workspace, home):
    factories.make_approval(workspace)
    assert 'class="count">1<' in browser(approver).get(f"{home}/nowhere/").text


def test_what_another_tenant_has_looks_like_what_nobody_has(approver, home, other_workspace):
    with enter(other_workspace.pk):
        foreign = factories.make_approval(other_workspace)
    client = browser(approver)
    theirs = client.get(f"{home}/approvals/{foreign.public_id}/")
    nobodys = client.get(f"{home}/approvals/{public_id('apr', uuid7())}/")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert seen(theirs) == seen(nobodys)


def test_a_workspace_of_others_shows_no_navigation_at_all(stranger, home):
    foreign, invented = browser(stranger).get(f"{home}/nowhere/"), browser(stranger).get("/w/no-such-place/nowhere/")
    assert (foreign.status_code, invented.status_code) == (404, 404)
    assert NAVIGATION not in foreign.text
    assert seen(foreign) == seen(invented)


def test_a_forgotten_slash_is_still_added(viewer, home):
    assert browser(viewer).get(f"{home}/runs")["Location"] == f"{home}/runs/"


def test_who_is_not_signed_in_is_sent_to_sign_in(home):
    assert browser().get(f"{home}/nowhere/")["Location"].startswith("/sign-in/")


def test_htmx_gets_the_words_and_no_second_page(viewer, home):
    response = browser(viewer).get(f"{home}/runs/nonsense/", headers={"HX-Request": "true"})
    assert response.status_code == 404
    assert "Not found" in response.text
    assert "<html" not in response.text
    assert NAVIGATION not in response.text


@pytest.mark.parametrize(
    ("rest", "page"),
    [
        ("keys/issue", "keys/"),
        ("members/invite", "members/"),
        ("members/usr_x/roles", "members/"),
        ("members/usr_x/remove", "members/"),
        ("keys/key_x/revoke", "keys/"),
    ],
)
def test_the_address_of_a_form_leads_back_to_the_form(admin, home, rest, page):
    response = browser(admin).get(f"{home}/{rest}")
    assert (response.status_code, response["Location"]) == (302, f"{home}/{page}")
    assert browser(admin).put(f"{home}/{rest}").status_code == 405
