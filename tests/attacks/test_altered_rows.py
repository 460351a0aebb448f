"""A database administrator changes rows that grant power, with the guards off: each opens nothing and is named (T06)."""

import pytest

from apikeys import keytext
from apikeys import services as keys
from approvals import services as approvals
from audit.attestation import RowAltered
from audit.models import AuditDetail
from audit.taxonomy import Event
from gateway import services
from gateway.contract import CallState
from provenance.db import enter
from secrets_vault import services as vault
from tests import databases, factories
from tests.browsing import browser, program
from tests.gateway.world import reread_policy, unguarded
from workspaces.services import change_roles, engage_halt, release_halt


def told(world):
    """The rows that the critical events of the log name: type, id and what is wrong."""
    with enter(world.workspace.id):
        found = factories.events(Event.AUDIT_ROW_ALTERED)
        assert all(event.risk == "critical" for event in found)
        details = AuditDetail.objects.in_bulk([event.id for event in found])
    return [(row["type"], row["id"], row["problem"]) for event in found for row in details[event.id].facts["rows"]]


def blocked(world, tool="up.echo", **arguments):
    reread_policy(world)
    response = world.call("helper", tool, **(arguments or {"text": "x"}))
    assert response.state is CallState.BLOCKED, response


def test_a_raised_trust_level_opens_nothing(echo, fake):
    echo.owner_does("UPDATE agents_agent SET trust_level = 'high'")
    blocked(echo)
    assert told(echo) == [
        ("agent", str(echo.agents["helper"].id), "its columns are not those that were signed with revision 2")
    ]
    assert not fake.calls


def test_a_snapshot_that_is_kept_notices_a_change_that_counts_its_revision_up(echo, fake):
    """With the revision the fingerprint differs, so the rows are loaded anew; without it the old snapshot stays right."""
    assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    echo.owner_does("UPDATE agents_agent SET trust_level = 'high', audit_rev = audit_rev + 1")
    blocked(echo)
    ((_type, _id, problem),) = told(echo)
    assert problem == "it is at revision 3 and the log at 2: a change has no event"


def test_an_edited_grant_and_one_that_is_slipped_in_give_nothing(echo, fake):
    echo.owner_does("UPDATE gateway_toolgrant SET expires_at = expires_at + interval '1 year'")
    blocked(echo)
    echo.owner_does("UPDATE gateway_toolgrant SET id = gen_random_uuid()")
    blocked(echo)
    assert [(type_, problem) for type_, _id, problem in told(echo)] == [
        ("tool_grant", "its columns are not those that were signed with revision 1"),
        ("tool_grant", "no signed event is about it"),
    ]
    assert not fake.calls


def test_a_grant_that_was_revoked_and_is_put_back_gives_nothing(echo, fake):
    with enter(echo.workspace.id):
        (granted,) = services.ToolGrant.objects.all()
    services.revoke_grant(actor=echo.admin, grant_id=granted.pk, reason="Not needed any more.")
    echo.owner_does("UPDATE gateway_toolgrant SET revoked_at = NULL, audit_rev = 1")
    blocked(echo)
    assert told(echo) == [("tool_grant", str(granted.pk), "it is at revision 1 and the log at 2: it was put back")]


def test_a_grant_that_is_said_to_have_ended_gives_nothing_whatever_its_day(echo, fake):
    """Closed grants are not held against the log, so they must not be able to give anything."""
    with databases.admin() as owner:
        owner.execute("ALTER TABLE gateway_toolgrant DROP CONSTRAINT gateway_grant_ended")
        try:
            echo.owner_does("UPDATE gateway_toolgrant SET ended_at = now() + interval '1 year'")
            blocked(echo)
        finally:
            echo.owner_does("UPDATE gateway_toolgrant SET ended_at = NULL")
            owner.execute(
                "ALTER TABLE gateway_toolgrant ADD CONSTRAINT gateway_grant_ended "
                "CHECK (ended_at IS NULL OR ended_at >= expires_at)"
            )
    assert not fake.calls


@pytest.mark.parametrize(
    ("statement", "type_"),
    [
        ("UPDATE gateway_tool SET pin = repeat('a', 64)", "tool"),
        ("UPDATE gateway_tool SET effect = 'read', data_tier = 2", "tool"),
        ("UPDATE gateway_mcpserver SET url = 'http://127.0.0.1:9/mcp'", "mcp_server"),
        ("UPDATE agents_agentversion SET requested_tools = '[]'", "agent_version"),
        # JSON as a string of the same letters, as the commitment writes them.
        ("UPDATE gateway_toolgrant SET constraints = to_jsonb('{}'::text)", "tool_grant"),
        ("UPDATE gateway_toolgrant SET constraints = '[1e400]'", "tool_grant"),
        ("UPDATE gateway_toolgrant SET constraints = '1.5'", "tool_grant"),
    ],
)
def test_a_swapped_pin_address_or_request_is_not_followed(echo, fake, statement, type_):
    echo.owner_does(statement)
    blocked(echo)
    assert [row[0] for row in told(echo)] == [type_]
    assert not fake.calls


def test_a_halt_that_is_made_to_look_released_halts_everything(echo, fake):
    engage_halt(actor=echo.admin, scope_kind="agent", scope_id="helper", mode="pause", reason="It looks odd.")
    echo.owner_does("UPDATE workspaces_control SET released_at = now()")
    blocked(echo)
    assert [row[0] for row in told(echo)] == ["control"]
    assert not fake.calls


def test_a_redaction_policy_that_is_switched_off_halts_everything(echo, fake):
    services.set_dlp_policy(actor=echo.admin, name="personal", fields=["name"], selector="up")
    echo.owner_does("UPDATE gateway_dlppolicy SET enabled = false")
    blocked(echo)
    assert [row[0] for row in told(echo)] == ["dlp_policy"]
    assert not fake.calls


@pytest.mark.parametrize("is_known", [True, False], ids=["by a gateway that knew it", "by a new one"])
def test_a_halt_that_is_deleted_halts_everything(echo, fake, is_known):
    halt = engage_halt(actor=echo.admin, scope_kind="agent", scope_id="helper", mode="pause", reason="It looks odd.")
    if is_known:
        blocked(echo)
    with unguarded("workspaces_control") as owner:
        owner.execute("DELETE FROM workspaces_control")
    blocked(echo)
    assert told(echo) == [("control", str(halt.pk), "it is not there")]
    assert not fake.calls


def test_so_does_a_redaction_policy_that_is_deleted(echo, fake):
    policy = services.set_dlp_policy(actor=echo.admin, name="personal", fields=["name"], selector="up")
    with unguarded("gateway_dlppolicy") as owner:
        owner.execute("DELETE FROM gateway_dlppolicy")
    blocked(echo)
    assert told(echo) == [("dlp_policy", str(policy.pk), "it is not there")]
    assert not fake.calls


def test_a_halt_that_was_released_by_a_person_leaves_nothing_behind(echo, fake):
    halt = engage_halt(actor=echo.admin, scope_kind="agent", scope_id="helper", mode="pause", reason="It looks odd.")
    release_halt(actor=echo.admin, control_id=halt.pk, reason="It was nothing.")
    reread_policy(echo)
    assert echo.call("helper", "up.echo", text="x").state is CallState.SUCCEEDED
    assert told(echo) == []


def test_an_altered_row_is_told_once_for_each_state_it_is_in(echo, fake):
    echo.owner_does("UPDATE agents_agent SET trust_level = 'high'")
    for _ in range(3):
        blocked(echo)
    assert len(told(echo)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "payload = jsonb_set(payload, '{vendor}', '\"V-666\"')",
        "risk = 'low', quorum = 1",
        "conflicted_user_ids = '{}', requested_by_id = 'somebody'",
        "due_at = due_at + interval '1 year'",
    ],
)
def test_nobody_decides_a_request_that_was_edited_on_its_way_to_them(world, erp, change):
    """The decision would sign it as it stands, and what nobody asked for would be approved."""
    waiting = world.call("ledger", "erp.setTerms", key="k", vendor="V-1", terms="NET60")
    world.owner_does(f"UPDATE approvals_approvalrequest SET {change}")
    with pytest.raises(RowAltered):
        approvals.decide(actor=world.approver, request_id=waiting.approval_id, verdict="approve", reason="Checked it.")
    assert not world.events(Event.APPROVAL_APPROVED)
    assert not erp.calls


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals_approvalrequest SET quorum = 1, conflicted_user_ids = '{}', risk = 'low'",
        "UPDATE approvals_approvaldecision SET reason = 'Whatever.'",
    ],
)
def test_a_decision_or_request_that_was_edited_starts_no_call(world, erp, statement):
    waiting = world.call("ledger", "erp.setTerms", key="k", vendor="V-1", terms="NET60")
    approvals.decide(
        actor=world.approver, request_id=waiting.approval_id, verdict="approve", reason="Checked the amendment."
    )
    world.owner_does(statement)
    answer = world.call(
        "ledger", "erp.setTerms", call_id=waiting.call_id, key="k", approval_id=waiting.approval_id,
        vendor="V-1", terms="NET60",
    )  # fmt: skip
    assert (answer.state, answer.rule) == (CallState.BLOCKED, "approval.not_as_signed")
    assert len(told(world)) == 1
    assert not erp.calls


# --- Doors -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tenant(transactional_db):
    """A workspace with an administrator, a viewer and a key of the administrator's."""

    class Tenant:
        workspace = factories.make_workspace()
        admin = factories.make_member(workspace, roles={"admin"})
        viewer = factories.make_member(workspace, roles={"viewer"})

    with enter(Tenant.workspace.id):
        Tenant.key, Tenant.text = keys.issue_key(actor=Tenant.admin, name="k", scopes=["runs:read"])
    return Tenant


def test_a_key_that_was_unrevoked_is_refused_and_named(tenant):
    client = program(tenant.text)
    assert client.get("/api/v1/runs").status_code == 200
    with enter(tenant.workspace.id):
        keys.revoke_key(actor=tenant.admin, key_id=tenant.key.pk, reason="It leaked.")
    with unguarded("apikeys_apikey") as owner:
        owner.execute("UPDATE apikeys_apikey SET revoked_at = NULL, revoked_reason = ''")
    for _ in range(2):
        response = client.get("/api/v1/runs")
        assert (response.status_code, response.json()["code"]) == (401, "key_altered")
    assert told(tenant) == [
        ("api_key", str(tenant.key.pk), "its columns are not those that were signed with revision 2")
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE apikeys_apikey SET scopes = '{audit:read}'",
        "UPDATE apikeys_apikey SET expires_at = expires_at + interval '1 day'",
        "UPDATE workspaces_membership SET roles = '{admin,approver}'",
    ],
)
def test_a_key_with_more_than_was_issued_is_refused(tenant, statement):
    with unguarded(statement.split()[1]) as owner:
        owner.execute(statement)
    assert program(tenant.text).get("/api/v1/runs").json()["code"] == "key_altered"
    assert told(tenant)


def test_a_key_whose_digest_is_swapped_for_one_that_is_known_is_refused(tenant):
    """The attacker writes the hash of a key of their own over an administrator's."""
    with enter(tenant.workspace.id):
        other, text = keys.issue_key(actor=tenant.admin, name="mine", scopes=["runs:read"])
    with unguarded("apikeys_apikey") as owner:
        owner.execute("DELETE FROM apikeys_apikey WHERE id = %s", [other.pk])
        owner.execute("UPDATE apikeys_apikey SET digest = %s, prefix = %s", [other.digest, other.prefix])
    assert program(text).get("/api/v1/runs").json()["code"] == "key_altered"


def test_what_is_wrong_with_a_key_is_said_only_to_whoever_has_the_whole_of_it(tenant):
    with unguarded("apikeys_apikey") as owner:
        owner.execute("UPDATE apikeys_apikey SET scopes = '{audit:read}'")
    body = f"prov_{tenant.key.prefix}_{'0' * 32}"
    guess = f"{body}_{keytext._checksum(body)}"
    assert program(guess).get("/api/v1/runs").json()["code"] == "key_unknown"
    assert not told(tenant)


def test_a_role_that_was_added_past_the_log_opens_no_page(tenant):
    address = f"/w/{tenant.workspace.slug}/members/"
    client = browser(tenant.viewer)
    assert client.get(address).status_code == 200
    with unguarded("workspaces_membership") as owner:
        owner.execute(
            "UPDATE workspaces_membership SET roles = '{admin}', audit_rev = audit_rev + 1 WHERE user_id = %s",
            [tenant.viewer.id],
        )
    response = client.get(address)
    assert response.status_code == 403
    assert "not what the log says" in response.content.decode()
    ((type_, _id, problem),) = told(tenant)
    assert (type_, problem) == ("membership", "it is at revision 2 and the log at 1: a change has no event")


def test_an_event_that_the_attacker_wrote_proves_nothing(tenant):
    """With a superuser's rights anything can be stored; it cannot be signed."""
    with unguarded("workspaces_membership", "audit.event") as owner:
        owner.execute(
            "UPDATE workspaces_membership SET roles = '{admin}', audit_rev = 2 WHERE user_id = %s", [tenant.viewer.id]
        )
        owner.execute(
            "INSERT INTO audit.event SELECT audit.uuid_floor(now()), xid, workspace_id, object_type, object_id, 2, op,"
            " changed, action, actor_id, actor_type, outcome, risk, run_id, kid, mac,"
            " replace(body, '\"rev\":1', '\"rev\":2') FROM audit.event WHERE object_id ="
            " (SELECT id::text FROM workspaces_membership WHERE user_id = %s)",
            [tenant.viewer.id],
        )
    assert browser(tenant.viewer).get(f"/w/{tenant.workspace.slug}/members/").status_code == 403
    ((_type, _id, problem),) = told(tenant)
    assert problem == "its newest event is not genuine: the signature does not hold"


def test_what_services_change_goes_on_working(tenant):
    """The control: keys, roles and pages after ordinary changes."""
    other = factories.make_member(tenant.workspace, roles={"admin"})
    with enter(tenant.workspace.id):
        change_roles(actor=other, user_id=tenant.admin.id, roles=["admin", "auditor"])
    assert program(tenant.text).get("/api/v1/runs").status_code == 200
    assert browser(tenant.admin).get(f"/w/{tenant.workspace.slug}/members/").status_code == 200
    assert not told(tenant)


# --- Secrets ---------------------------------------------------------------------------------------------------------


def dumped(table):
    """The one row of a table as an old dump holds it."""
    with databases.admin() as owner:
        found = owner.execute(f"SELECT * FROM {table}")
        return [column.name for column in found.description], found.fetchone()


def put_back(table, names, values):
    """What a service took away or emptied since."""
    with unguarded(table) as owner:
        owner.execute(f"DELETE FROM {table} WHERE id = %s", [values[names.index("id")]])
        owner.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})", values)


def test_a_place_that_was_taken_from_a_secret_and_is_put_back_is_sent_nothing(echo, fake):
    names, values = dumped("secrets_vault_secretbinding")
    place = dict(zip(names, values, strict=True))
    with enter(echo.workspace.id):
        vault.unbind_secret(actor=echo.admin, name="up-token", url=place["origin"], slot=place["slot"])
    put_back("secrets_vault_secretbinding", names, values)
    blocked(echo)
    assert told(echo) == [("secret_binding", str(place["id"]), "it was deleted with revision 2")]
    assert not fake.calls


def test_a_secret_that_is_set_back_to_its_former_value_is_not_sent(echo, fake):
    former = dumped("secrets_vault_secretversion")
    with enter(echo.workspace.id):
        vault.rotate_secret(actor=echo.admin, name="up-token", value="tok-of-the-second-year")
    put_back("secrets_vault_secretversion", *former)
    echo.owner_does("UPDATE secrets_vault_secret SET current_version = 1 WHERE name = 'up-token'")
    blocked(echo)
    ((type_, _id, problem),) = told(echo)
    assert (type_, problem) == ("secret", "its columns are not those that were signed with revision 2")
    assert not fake.calls
