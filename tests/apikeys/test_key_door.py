"""The door of keys, through HTTP."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import keytext, services
from audit.taxonomy import Event
from provenance.db import enter
from tests import databases, factories
from tests.browsing import browser, program
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.workspaces.door_urls")]


@pytest.fixture
def workspace(db):
    """Not in scope, unlike elsewhere: the door alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def issue(admin, workspace):
    def make(*scopes):
        with enter(workspace.pk):
            return services.issue_key(actor=admin, name="integration", scopes=scopes or ["runs:read", "runs:write"])

    return make


def problem(response):
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["request_id"] == response["X-Request-Id"]
    assert body["status"] == response.status_code
    return body


def test_a_key_opens_an_endpoint_in_its_workspace(issue, admin):
    key, text = issue()
    assert program(text).get("/api/v1/echo").json() == {
        "actor": str(key.pk),
        "kind": "integration",
        "on_behalf_of": admin.id,
    }


def test_an_endpoint_sees_only_the_workspace_of_the_key(issue, workspace, other_workspace):
    _key, text = issue()
    assert program(text).get("/api/v1/workspaces").json() == {"items": [workspace.slug], "next": None}


def test_without_a_key_nothing_opens_not_even_for_a_signed_in_administrator(admin, instance_events):
    response = browser(admin).get("/api/v1/echo")
    assert (response.status_code, problem(response)["code"]) == (401, "key_missing")
    assert response["WWW-Authenticate"].startswith("ApiKey")
    assert instance_events(Event.AUTHZ_DENIED)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "options", "head"])
def test_no_method_is_open_without_a_key(db, method):
    assert getattr(browser(), method)("/api/v1/echo").status_code == 401


def test_a_key_opens_no_pages(issue, workspace):
    _key, text = issue()
    assert program(text).get(f"/w/{workspace.slug}/whoami").status_code == 302


def test_a_missing_scope_is_named_and_recorded(issue, workspace):
    """M143, M147."""
    key, text = issue("runs:read")
    response = program(text).post("/api/v1/echo", {"name": "x"}, content_type="application/json")
    body = problem(response)
    assert (response.status_code, body["code"], body["missing_scope"]) == (403, "permission_denied", "runs:write")
    with enter(workspace.pk):
        [denied] = factories.events(Event.AUTHZ_DENIED)
    assert (denied.actor_id, denied.outcome, denied.object_id) == (str(key.pk), "blocked", "echo")


def test_a_revoked_key_stops_with_the_next_request(issue, admin, workspace):
    key, text = issue()
    assert program(text).get("/api/v1/echo").status_code == 200
    with enter(workspace.pk):
        services.revoke_key(actor=admin, key_id=key.pk, reason="Leaked.")
    assert problem(program(text).get("/api/v1/echo"))["code"] == "key_revoked"


def test_a_revoked_key_is_told_by_its_prefix_even_among_wrong_guesses(issue, admin, workspace, instance_events):
    """T26: guesses from one address are counted together, and must not drown the one key that somebody still has."""
    key, text = issue()
    with enter(workspace.pk):
        services.revoke_key(actor=admin, key_id=key.pk, reason="Leaked.")
    for presented in (text[:-1], text[:-2], text):
        answer = problem(program(presented).get("/api/v1/echo"))
    assert answer["detail"] == "This key was revoked. Ask its owner for a new one."
    events = [event.pk for event in instance_events(Event.AUTHZ_DENIED)]
    with databases.admin() as owner:
        rows = owner.execute("SELECT body FROM audit.detail WHERE event_id = ANY(%s) ORDER BY event_id", [events])
        told = [json.loads(bytes(body)) for (body,) in rows]
    assert {(facts["source"], facts["code"]) for facts in told if "code" in facts} == {
        ("127.0.0.1", "key_not_whole"),
        (f"key {key.prefix}", "key_revoked"),
    }
    # Two; should the minute turn, one more.
    assert len(told) <= 3
    assert text not in str(told)


def test_an_expired_key_says_so(issue, workspace, monkeypatch):
    _key, text = issue()
    later = timezone.now() + timedelta(days=91)
    monkeypatch.setattr("apikeys.authentication.timezone.now", lambda: later)
    assert problem(program(text).get("/api/v1/echo"))["code"] == "key_expired"


def test_a_truncated_key_is_told_apart_from_an_unknown_one(issue):
    _key, text = issue()
    assert problem(program(text[:-1]).get("/api/v1/echo"))["code"] == "key_not_whole"
    assert problem(program(keytext.new_key()).get("/api/v1/echo"))["code"] == "key_unknown"


@pytest.mark.parametrize("address", ["rename", "unaudited"])
def test_a_failed_request_leaves_nothing_behind(issue, workspace, address):
    """What COMMIT refuses is a problem, not a 201."""
    _key, text = issue()
    response = program(text).post(f"/api/v1/{address}", {}, content_type="application/json")
    assert (response.status_code, problem(response)["code"]) in {(409, "conflict"), (500, "internal_error")}
    with enter(workspace.pk):
        assert Workspace.objects.get().name == workspace.name
        assert not factories.events(Event.WORKSPACE_SETTINGS_CHANGED)


def test_an_internal_error_says_nothing_of_its_cause(issue):
    _key, text = issue()
    response = program(text).get("/api/v1/break")
    assert problem(response)["code"] == "internal_error"
    assert "hunter2" not in response.content.decode()


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b'{"name": "a", "name": "b"}', "application/json", 422, "invalid"),
        (b'{"name": NaN}', "application/json", 422, "invalid"),
        (b'{"name": "a"', "application/json", 422, "invalid"),
        (b'{"name": "\xff"}', "application/json", 422, "invalid"),
        (b'["name"]', "application/json", 422, "invalid"),
        (b'{"nome": "a"}', "application/json", 422, "invalid"),
        (b'{"name": "' + b"a" * 21 + b'"}', "application/json", 422, "invalid"),
        (b"[" * 100_000, "application/json", 422, "invalid"),
        (b'{"name": ' + b"9" * 5000 + b"}", "application/json", 422, "invalid"),
        (b"name=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"name": "' + b"a" * 1_100_000 + b'"}', "application/json", 413, "too_large"),
    ],
)
def test_a_bad_body_is_refused_with_what_is_wrong(issue, body, kind, status, code):
    _key, text = issue()
    response = program(text).post("/api/v1/echo", body, content_type=kind)
    assert (response.status_code, problem(response)["code"]) == (status, code)


def test_every_wrong_field_is_listed(issue):
    _key, text = issue()
    response = program(text).post("/api/v1/echo", {"nome": "a"}, content_type="application/json")
    assert {error["path"] for error in problem(response)["errors"]} == {"name", "nome"}


def test_unknown_methods_and_addresses_are_problems_too(issue):
    _key, text = issue()
    assert problem(program(text).delete("/api/v1/echo"))["status"] == 405
    assert problem(program(text).get("/api/v1/nothing-here"))["code"] == "not_found"


def test_an_idempotency_key_must_be_plain(issue):
    _key, text = issue()
    ask = {"path": "/api/v1/echo", "data": {"name": "a"}, "content_type": "application/json"}
    assert program(text, **{"Idempotency-Key": "run-42"}).post(**ask).json()["key"] == "run-42"
    assert program(text, **{"Idempotency-Key": ""}).post(**ask).status_code == 422
    assert program(text, **{"Idempotency-Key": "a" * 256}).post(**ask).status_code == 422


def test_a_key_learns_about_itself_and_can_end_itself(issue, workspace):
    key, text = issue("runs:read", "audit:read")
    about = program(text).get("/api/v1/key").json()
    assert (about["prefix"], about["permissions"], about["revoked_at"]) == (
        key.prefix,
        ["audit:read", "runs:read"],
        None,
    )
    assert text not in str(about)
    ended = program(text).post("/api/v1/key/revoke", {"reason": "Found on a wiki."}, content_type="application/json")
    assert ended.status_code == 200
    assert program(text).get("/api/v1/key").status_code == 401
    with enter(workspace.pk):
        assert [event.actor_id for event in factories.events(Event.API_KEY_REVOKED)] == [str(key.pk)]


def test_the_page_shows_a_new_key_once(admin, workspace):
    client = browser(admin)
    form = {"name": "nightly", "scopes": ["runs:read"], "environment": "production", "expires_in_days": 30}
    shown = client.post(f"/w/{workspace.slug}/keys/issue", form)
    text = keytext.KEY_PATTERN.search(shown.content.decode()).group(0)
    assert shown["Cache-Control"] == "no-store"
    assert "/api/v1/schema" in shown.content.decode()
    assert program(text).get("/api/v1/echo").status_code == 200
    listed = client.get(f"/w/{workspace.slug}/keys/").content.decode()
    assert keytext.prefix_of(text) in listed
    assert text not in listed


def test_the_page_revokes(admin, workspace, issue):
    from provenance.ids import public_id

    key, text = issue()
    address = f"/w/{workspace.slug}/keys/{public_id('key', key.pk)}/revoke"
    assert browser(admin).post(address, {"reason": "Leaked."}).status_code == 302
    assert program(text).get("/api/v1/echo").status_code == 401
    assert browser(admin).post(address, {"reason": "Leaked."}).status_code == 409
