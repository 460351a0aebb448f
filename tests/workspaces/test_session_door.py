"""The door of sessions: who gets in, as whom, and what is left behind when a view fails."""

import pytest

from audit.taxonomy import Event
from provenance.db import enter
from tests import factories
from tests.browsing import browser
from workspaces import services
from workspaces.models import Workspace
from workspaces.roles import permissions_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.workspaces.door_urls")]


@pytest.fixture
def workspace(db):
    """Not in scope, unlike elsewhere: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def stored(workspace):
    """What the database holds after a request: the workspace's name, and how often it was changed on the record."""

    def look():
        with enter(workspace.pk):
            return Workspace.objects.get().name, len(factories.events(Event.WORKSPACE_SETTINGS_CHANGED))

    return look


@pytest.fixture
def home(workspace):
    return f"/w/{workspace.slug}"


def test_a_member_acts_with_the_permissions_of_their_roles(workspace, home):
    actor = factories.make_member(workspace, roles={"approver", "viewer"})
    response = browser(actor).get(f"{home}/whoami")
    assert response.content.decode() == ",".join(sorted(permissions_of(["approver", "viewer"])))


def test_a_view_sees_only_the_workspace_of_its_address(admin, other_workspace, home, workspace):
    assert browser(admin).get(f"{home}/lazy").content.decode() == workspace.name


def test_an_anonymous_person_is_sent_to_sign_in_and_back(home):
    response = browser().get(f"{home}/whoami?x=1")
    assert response.status_code == 302
    assert response["Location"] == f"/sign-in/?next=%2Fw%2F{home.rpartition('/')[2]}%2Fwhoami%3Fx%3D1"


def test_an_anonymous_fragment_request_loads_the_sign_in_page_instead_of_embedding_it(home):
    response = browser().get(f"{home}/whoami", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Redirect"]) == (401, "/sign-in/")


def test_another_workspace_looks_like_none_at_all(stranger, home):
    foreign, invented = browser(stranger).get(f"{home}/whoami"), browser(stranger).get("/w/no-such-place/whoami")
    assert (foreign.status_code, invented.status_code) == (404, 404)
    assert _without_request_id(foreign) == _without_request_id(invented)


def test_a_missing_permission_is_named_and_recorded(viewer, home, workspace, stored):
    response = browser(viewer).post(f"{home}/rename")
    assert response.status_code == 403
    assert "workspace:write" in response.content.decode()
    with enter(workspace.pk):
        [denied] = factories.events(Event.AUTHZ_DENIED)
    assert (denied.actor_id, denied.outcome) == (viewer.id, "blocked")
    assert stored() == (workspace.name, 0)


def test_a_removed_member_is_out_at_the_next_request(admin, viewer, home):
    client = browser(viewer)
    assert client.get(f"{home}/whoami").status_code == 200
    with enter(admin.workspace_id):
        services.remove_member(actor=admin, user_id=viewer.id, reason="Left the company.")
    assert client.get(f"{home}/whoami").status_code == 404


def test_a_view_that_declares_nothing_is_served_to_nobody(admin):
    assert browser(admin).get("/undeclared").status_code == 404


def test_a_change_is_kept_with_its_event(admin, home, stored):
    assert browser(admin).post(f"{home}/rename").status_code == 200
    assert stored() == ("renamed", 1)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("rename-then-refuse", 409),
        ("rename-then-break", 500),
        ("rename-then-answer-500", 503),
        ("rename-without-event", 500),
        ("rename-stale", 409),
        ("missing", 404),
    ],
)
def test_a_failed_request_leaves_nothing_behind(admin, home, stored, address, status):
    """COMMIT-time refusals (no event, stale revision) included: they are never answered as successes (walls.md)."""
    before = stored()
    response = browser(admin).post(f"{home}/{address}")
    assert response.status_code == status
    assert stored() == before


def test_an_internal_error_says_nothing_of_its_cause(admin, home):
    body = browser(admin).post(f"{home}/rename-then-break").content.decode()
    assert "hunter2" not in body
    assert "ZeroDivision" not in body
    assert "req_" in body


def test_what_the_walls_refuse_is_not_told_to_the_browser(admin, home):
    assert "workspaces_workspace" not in browser(admin).post(f"{home}/rename-without-event").content.decode()


def test_a_template_is_rendered_inside_the_transaction(admin, home, workspace):
    """Lazy rows of a template would find no workspace outside (walls.md: an empty page with status 200)."""
    assert workspace.name in browser(admin).get(f"{home}/lazy").content.decode()


def test_home_leads_to_the_first_page_a_member_may_see(approver, home):
    response = browser(approver).get(f"{home}/")
    assert response.status_code == 302
    assert response["Location"].startswith(f"{home}/")


def test_with_one_workspace_the_start_page_leads_into_it(admin, home):
    assert browser(admin).get("/")["Location"] == f"{home}/"


def test_with_several_workspaces_the_start_page_lists_exactly_ones_own(admin, workspace, other_workspace):
    third = factories.make_workspace(name="Third one")
    with enter(third.pk):
        services.add_member(actor=factories.system_of(third), user_id=admin.id, roles=["viewer"])
    body = browser(admin).get("/").content.decode()
    assert workspace.name in body
    assert "Third one" in body
    assert other_workspace.name not in body


def test_the_theme_is_kept_and_leads_back_only_to_paths_of_ours(admin, instance_events):
    client = browser(admin)
    assert client.post("/theme", {"theme": "dark", "next": "/w/x/"})["Location"] == "/w/x/"
    assert client.post("/theme", {"theme": "", "next": "https://evil.example/"})["Location"] == "/"
    assert client.post("/theme", {"theme": "", "next": "//evil.example/"})["Location"] == "/"
    assert len(instance_events(Event.USER_UPDATED)) == 2


def _without_request_id(response):
    return response.content.replace(response["X-Request-Id"].encode(), b"")
