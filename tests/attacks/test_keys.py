"""Ways to use a key that one should not have, or to get more out of one that one has."""

import pytest
from django.test import Client

from apikeys import keytext, services
from apikeys.models import ApiKey
from audit.taxonomy import Event
from provenance.db import enter
from provenance.permissions import SCOPES
from tests import factories
from tests.browsing import browser, program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.workspaces.door_urls")]


@pytest.fixture
def workspace(db):
    """Not in scope: the doors alone must bring it there."""
    return factories.make_workspace()


@pytest.fixture
def key(admin, workspace):
    with enter(workspace.pk):
        return services.issue_key(actor=admin, name="k", scopes=["runs:read"])


def test_the_secret_of_one_key_does_not_fit_the_prefix_of_another(key):
    own = keytext.new_key()
    body = f"prov_{key[0].prefix}_{own.split('_')[2]}"
    forged = f"{body}_{keytext._checksum(body)}"
    assert keytext.prefix_of(forged) == key[0].prefix
    response = program(forged).get("/api/v1/echo")
    assert (response.status_code, response.json()["code"]) == (401, "key_unknown")


def test_a_revoked_key_and_a_wrong_secret_cannot_be_told_apart_without_the_secret(key, admin, workspace):
    body = f"prov_{key[0].prefix}_{'0' * 32}"
    guess = f"{body}_{keytext._checksum(body)}"
    before = program(guess).get("/api/v1/echo").json()
    with enter(workspace.pk):
        services.revoke_key(actor=admin, key_id=key[0].pk, reason="Leaked.")
    after = program(guess).get("/api/v1/echo").json()
    assert {**before, "request_id": ""} == {**after, "request_id": ""}


def test_a_key_reaches_only_its_own_workspace(key, workspace, other_workspace):
    """Whatever the request says about workspaces: the key alone decides."""
    for headers in ({"X-Workspace": other_workspace.slug}, {"X-Workspace-Id": str(other_workspace.pk)}):
        client = program(key[1], **headers)
        shown = client.get(f"/api/v1/workspaces?workspace={other_workspace.slug}").json()
        assert shown["items"] == [workspace.slug]


def test_a_session_adds_nothing_to_a_key(key, admin):
    """An administrator's cookie beside a weak key: the key counts, and its missing scope is missing."""
    client = browser(admin)
    response = client.post(
        "/api/v1/echo", {"name": "x"}, content_type="application/json", headers={"X-API-Key": key[1]}
    )
    assert (response.status_code, response.json()["missing_scope"]) == (403, "runs:write")


def test_a_key_elsewhere_than_in_its_header_is_no_key(key):
    """Addresses stand in logs of proxies, so a key in one must not even work."""
    text = key[1]
    for ask in (
        lambda: Client().get(f"/api/v1/echo?api_key={text}&X-API-Key={text}"),
        lambda: Client(headers={"Authorization": f"Bearer {text}"}).get("/api/v1/echo"),
        lambda: Client(headers={"Cookie": f"X-API-Key={text}"}).get("/api/v1/echo"),
    ):
        assert ask().json()["code"] == "key_missing"


@pytest.mark.parametrize(
    "smuggled", ["{good},{bad}", "{bad},{good}", "{good}, {good}", " {good}", "{good}\t", "{good}\x00"]
)
def test_two_keys_in_one_header_are_none(key, smuggled):
    """Proxies and servers join repeated headers (also `X_API_Key` beside `X-API-Key`) with a comma."""
    header = smuggled.format(good=key[1], bad=keytext.new_key())
    response = Client().get("/api/v1/echo", HTTP_X_API_KEY=header)
    assert (response.status_code, response.json()["code"]) == (401, "key_not_whole")


@pytest.mark.parametrize(
    "text", ["prov_'; DROP TABLE apikeys_apikey; --", "prov_%_%_%", "A" * 100_000, "prov_" + "é" * 8]
)
def test_a_hostile_header_is_just_no_key(workspace, text):
    response = Client().get("/api/v1/echo", HTTP_X_API_KEY=text)
    assert (response.status_code, response.json()["code"]) == (401, "key_not_whole")
    assert text[:20] not in response.content.decode()


def test_no_refusal_repeats_the_key_and_no_log_line_holds_it(key, capfd, admin, workspace):
    with enter(workspace.pk):
        services.revoke_key(actor=admin, key_id=key[0].pk, reason="Leaked.")
    response = program(key[1]).get("/api/v1/echo")
    assert key[1].split("_")[2] not in response.content.decode()
    program(key[1]).get("/api/v1/break")
    captured = capfd.readouterr()
    assert key[1].split("_")[2] not in captured.out + captured.err


def test_guessing_keys_does_not_fill_the_log(instance_events, db):
    """T26: refusals before authentication are aggregated per source and minute."""
    for _ in range(12):
        program(keytext.new_key()).get("/api/v1/echo")
    assert 1 <= len(instance_events(Event.AUTHZ_DENIED)) <= 4


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_no_scope_lets_a_key_decide_reveal_raise_or_release(admin, workspace, scope):
    from apikeys.authentication import actor_for_key
    from provenance.permissions import Permission

    with enter(workspace.pk):
        _key, text = services.issue_key(actor=admin, name="k", scopes=[scope])
    forbidden = {
        Permission.APPROVALS_DECIDE,
        Permission.SECRETS_REVEAL,
        Permission.AGENTS_TRUST,
        Permission.AGENTS_PROMPT,
        Permission.HALTS_RELEASE,
        Permission.API_KEYS_WRITE,
        Permission.MEMBERS_WRITE,
    }
    assert not actor_for_key(text).permissions & forbidden


def test_scopes_written_into_the_table_past_the_log_do_not_commit(key, workspace):
    """T08: power is given with an event or not at all."""
    from django.db import connection, transaction

    from provenance.postgres.refusals import UnauditedChange

    def widen():
        with enter(workspace.pk), connection.cursor() as cursor:
            cursor.execute("UPDATE apikeys_apikey SET scopes = '{runs:read,agents:write}' WHERE id = %s", [key[0].pk])

    with pytest.raises(UnauditedChange):
        widen()
    with enter(workspace.pk):
        assert ApiKey.objects.get().scopes == ["runs:read"]
    assert not transaction.get_connection().in_atomic_block


def test_a_key_is_no_sign_in(key, admin):
    from workspaces.models import User

    response = browser().post("/sign-in/", {"login": User.objects.get(pk=admin.id).email, "password": key[1]})
    assert response.status_code == 200
