"""What people say of servers, tools, grants and policies: allowed to, of what they looked at, once, and written down."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from agents import services as agents
from audit.taxonomy import Event
from gateway import pins, services
from gateway.errors import PinChanged, ToolNotRequested, ToolNotReviewed
from gateway.models import McpServer, ToolGrant
from provenance.db import scope
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from provenance.permissions import Permission
from tests import factories
from tests.fakes.mcp_server import tool as definition
from tests.gateway.world import detail

REASON = "It needs this for the tests."
GET_VENDOR = definition("getVendor", {"vendor": {"type": "string"}})
URL = "https://erp.example.com/mcp"


@pytest.fixture
def server(admin):
    return services.register_server(actor=admin, slug="erp", title="ERP", url=URL)


@pytest.fixture
def tool(admin, server):
    """`erp.getVendor` as the server gave it, seen by nobody."""
    return record(admin, server)[0]


@pytest.fixture
def reviewed(admin, tool):
    return review(admin, tool)


@pytest.fixture
def agent(admin):
    """`ledger-ops`, whose version requests `erp.getVendor`."""
    return factories.make_agent(admin)


def record(actor, server, *listing):
    return services.record_listing(actor=actor, server_id=server.pk, listing=listing or [GET_VENDOR])


def review(actor, tool, **changes):
    values = {"pin": tool.pin, "effect": "read", "retry_class": "read", "data_tier": 2, **changes}
    return services.review_tool(actor=actor, tool_id=tool.pk, **values)


def grant(actor, agent, tool, **changes):
    return services.grant_tool(actor=actor, agent_id=agent.pk, tool_id=tool.pk, **{"reason": REASON, **changes})


# --- Servers -----------------------------------------------------------------------------------------------------------


def test_a_registered_server_waits_for_its_review(server, events):
    assert (server.fresh().status, server.origin) == ("pending_review", "https://erp.example.com:443")
    assert [event.object_id for event in events(Event.MCP_SERVER_REGISTERED)] == [str(server.pk)]


@pytest.mark.parametrize("wrong", [{"slug": "ERP"}, {"slug": ""}, {"slot": "query:key"}])
def test_a_server_with_a_name_or_slot_that_cannot_be_is_refused(admin, wrong):
    with pytest.raises(Invalid):
        services.register_server(actor=admin, **{"slug": "erp", "title": "ERP", "url": URL, **wrong})
    assert not McpServer.objects.for_actor(admin).exists()


def test_two_servers_do_not_share_a_name(admin, server):
    with pytest.raises(Conflict):
        services.register_server(actor=admin, slug="erp", title="Another", url=URL)


def test_a_server_is_approved_disabled_and_approved_again_each_once(admin, server, events):
    for _ in range(2):
        services.approve_server(actor=admin, server_id=server.pk, reason=REASON)
        with pytest.raises(Conflict):
            services.approve_server(actor=admin, server_id=server.pk, reason=REASON)
        assert services.disable_server(actor=admin, server_id=server.pk, reason=REASON).status == "disabled"
        with pytest.raises(Conflict):
            services.disable_server(actor=admin, server_id=server.pk, reason=REASON)
    assert server.fresh().status == "disabled"
    assert len(events(Event.MCP_SERVER_REVIEWED)) == len(events(Event.MCP_SERVER_DISABLED)) == 2


def test_a_disabled_server_keeps_its_tools_and_grants(admin, server, reviewed, agent):
    granted = grant(admin, agent, reviewed)
    services.disable_server(actor=admin, server_id=server.pk, reason=REASON)
    assert reviewed.fresh().status == "approved"
    assert granted.fresh().revoked_at is None


# --- Tools -------------------------------------------------------------------------------------------------------------


def test_what_a_server_offers_is_stored_as_unreviewed_and_at_its_most_dangerous(admin, server, events):
    (tool,) = record(admin, server)
    assert (tool.status, tool.effect, tool.retry_class, tool.data_tier) == ("pending", "destructive", "once", 4)
    assert tool.pin == pins.pin(GET_VENDOR)
    (event,) = events(Event.MCP_TOOL_DISCOVERED)
    assert detail(event)["definition"] == GET_VENDOR


def test_the_same_listing_again_changes_nothing(admin, server, reviewed, events):
    record(admin, server)
    assert reviewed.fresh().status == "approved"
    assert len(events(Event.MCP_TOOL_DISCOVERED)) == 1
    assert not events(Event.MCP_TOOL_DEFINITION_CHANGED)


def test_a_definition_that_differs_from_the_reviewed_one_is_quarantined(admin, server, reviewed, events):
    """gateway.md 5, row 2: a rug pull."""
    (tool,) = record(admin, server, {**GET_VENDOR, "description": "Now does more."})
    assert (tool.pk, tool.status) == (reviewed.pk, "quarantined")
    assert tool.pin != reviewed.pin
    assert len(events(Event.MCP_TOOL_DEFINITION_CHANGED)) == 1
    with pytest.raises(PinChanged):
        review(admin, reviewed)
    assert review(admin, tool).status == "approved"


def test_a_definition_that_changed_before_its_review_only_waits_on(admin, server, tool):
    (seen,) = record(admin, server, {**GET_VENDOR, "description": "Better said."})
    assert (seen.pk, seen.status) == (tool.pk, "pending")


def test_names_that_could_pass_for_another_are_left_out_or_refused(admin, server):
    """gateway.md 5, row 3."""
    cyrillic = {**GET_VENDOR, "name": "gеtVendor"}  # noqa: RUF001  the look-alike is what the test is about
    assert [tool.name for tool in record(admin, server, GET_VENDOR, cyrillic)] == ["getVendor"]
    with pytest.raises(Invalid, match="two tools of the same name"):
        record(admin, server, GET_VENDOR, {**GET_VENDOR, "description": "The other."})


def test_a_review_is_of_the_definition_that_was_looked_at(admin, tool, events):
    """A server that changes its tool between the look and the click is not reviewed."""
    with pytest.raises(PinChanged):
        review(admin, tool, pin="0" * 64)
    assert tool.fresh().status == "pending"
    assert review(admin, tool).status == "approved"
    (event,) = events(Event.MCP_TOOL_REVIEWED)
    assert detail(event)["pin"] == tool.pin


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"effect": "harmless", "retry_class": "once"}, "effect"),
        ({"retry_class": "sometimes"}, "retry_class"),
        ({"effect": "write", "retry_class": "read"}, "retry_class"),
        ({"data_tier": 0}, "data_tier"),
        ({"data_tier": 5}, "data_tier"),
        ({"retry_class": "idempotent", "idempotency_argument": "key"}, "idempotency_argument"),
        ({"verify_tool": "nowhere"}, "verify_tool"),
    ],
)
def test_a_review_that_does_not_fit_the_definition_is_refused(admin, tool, wrong, path):
    with pytest.raises(Invalid) as refused:
        review(admin, tool, **wrong)
    assert [error["path"] for error in refused.value.data["errors"]] == [path]
    assert tool.fresh().status == "pending"


def test_a_quarantine_is_recorded_once_with_both_pins(admin, reviewed, events):
    changed = {**GET_VENDOR, "description": "Now does more."}
    for _ in range(2):
        assert services.quarantine_tool(actor=admin, tool_id=reviewed.pk, observed=changed).status == "quarantined"
    (event,) = events(Event.MCP_TOOL_QUARANTINED)
    assert detail(event)["reviewed_pin"] == reviewed.pin
    assert detail(event)["observed_pin"] == pins.pin(changed)
    assert len(events(Event.MCP_TOOL_DEFINITION_CHANGED)) == 1


def test_a_tool_that_is_gone_is_quarantined_without_another_pin(admin, reviewed, events):
    services.quarantine_tool(actor=admin, tool_id=reviewed.pk, observed=None)
    (event,) = events(Event.MCP_TOOL_QUARANTINED)
    assert detail(event)["observed_pin"] is None


# --- Grants ------------------------------------------------------------------------------------------------------------


def test_a_grant_lasts_ninety_days_when_nobody_says_otherwise(admin, agent, reviewed, events):
    granted = grant(admin, agent, reviewed)
    left = granted.expires_at - timezone.now()
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert granted.granted_by == admin.id
    (event,) = events(Event.AGENT_TOOL_GRANTED)
    assert detail(event)["tool"] == "erp.getVendor"


@pytest.mark.parametrize("days", [-1, 0, 366])
def test_a_grant_ends_in_the_future_and_within_a_year(admin, agent, reviewed, days):
    """M015, M045."""
    with pytest.raises(Invalid, match="within 365 days"):
        grant(admin, agent, reviewed, expires_at=timezone.now() + timedelta(days=days))
    assert grant(admin, agent, reviewed, expires_at=timezone.now() + timedelta(days=364))


def test_an_agent_gets_only_what_its_version_in_force_requests(admin, agent, reviewed):
    """M035: what it requested once, and no longer does, it does not get."""
    elsewhere = factories.agent_configuration(requested_tools=[agents.RequestedTool("erp.other", "To look at it.")])
    agents.publish_version(actor=admin, agent_id=agent.pk, configuration=elsewhere)
    with pytest.raises(ToolNotRequested):
        grant(admin, agent, reviewed)
    assert not ToolGrant.objects.for_actor(admin).exists()


@pytest.mark.parametrize("status", ["pending", "quarantined"])
def test_a_tool_that_nobody_reviewed_is_not_granted(admin, agent, tool, status):
    if status == "quarantined":
        services.quarantine_tool(actor=admin, tool_id=tool.pk, observed=None)
    with pytest.raises(ToolNotReviewed):
        grant(admin, agent, tool)


def test_a_grant_says_why(admin, agent, reviewed):
    with pytest.raises(Invalid, match="at least 10 characters"):
        grant(admin, agent, reviewed, reason="  because  ")


def test_constraints_have_to_be_a_schema(admin, agent, reviewed):
    with pytest.raises(Invalid, match="not a usable JSON Schema"):
        grant(admin, agent, reviewed, constraints={"type": "nonsense"})


def test_a_tool_is_granted_once_at_a_time(admin, agent, reviewed, events):
    first = grant(admin, agent, reviewed)
    with pytest.raises(Conflict):
        grant(admin, agent, reviewed)
    services.revoke_grant(actor=admin, grant_id=first.pk, reason=REASON)
    with pytest.raises(Conflict):
        services.revoke_grant(actor=admin, grant_id=first.pk, reason=REASON)
    assert grant(admin, agent, reviewed).pk != first.pk
    assert len(events(Event.AGENT_TOOL_REVOKED)) == 1


# --- Redaction policies ------------------------------------------------------------------------------------------------


def test_a_policy_is_created_and_then_changed_under_its_name(admin, events):
    made = services.set_dlp_policy(actor=admin, name="personal", fields=["iban", "iban"])
    again = services.set_dlp_policy(actor=admin, name="personal", fields=["card"], action="block")
    assert made.pk == again.pk
    assert (again.fields, again.action) == (["card"], "block")
    assert len(events(Event.DLP_POLICY_CREATED)) == len(events(Event.DLP_POLICY_UPDATED)) == 1


@pytest.mark.parametrize(
    "wrong", [{"name": " "}, {"fields": []}, {"fields": ["--"]}, {"direction": "up"}, {"action": "shout"}]
)
def test_a_policy_that_withholds_nothing_is_refused(admin, wrong):
    with pytest.raises(Invalid):
        services.set_dlp_policy(actor=admin, **{"name": "personal", "fields": ["iban"], **wrong})


# --- Who may -----------------------------------------------------------------------------------------------------------

WRITES = {
    "register_server": lambda actor, _on: services.register_server(actor=actor, slug="crm", title="CRM", url=URL),
    "record_listing": lambda actor, on: record(actor, on.server),
    "review_tool": lambda actor, on: review(actor, on.tool),
    "approve_server": lambda actor, on: services.approve_server(actor=actor, server_id=on.server.pk, reason=REASON),
    "disable_server": lambda actor, on: services.disable_server(actor=actor, server_id=on.server.pk, reason=REASON),
    "quarantine_tool": lambda actor, on: services.quarantine_tool(actor=actor, tool_id=on.tool.pk, observed=None),
    "grant_tool": lambda actor, on: grant(actor, on.agent, on.free),
    "revoke_grant": lambda actor, on: services.revoke_grant(actor=actor, grant_id=on.grant.pk, reason=REASON),
    "end_grant": lambda actor, on: services.end_grant(
        actor=actor, grant_id=on.grant.pk, now=timezone.now() + timedelta(days=400)
    ),
    "set_dlp_policy": lambda actor, _on: services.set_dlp_policy(actor=actor, name="personal", fields=["iban"]),
}
ABOUT_NOTHING = {"register_server", "set_dlp_policy"}


@pytest.fixture
def on(admin, server):
    """One of each thing that can be written about: a granted tool, and `free`, which is reviewed and not granted."""
    tool, free = record(admin, server, GET_VENDOR, {**GET_VENDOR, "name": "other"})
    review(admin, tool)
    review(admin, free)
    requested = [agents.RequestedTool(f"erp.{name}", "To look at it.") for name in ("getVendor", "other")]
    agent = factories.make_agent(admin, requested_tools=requested)
    granted = grant(admin, agent, tool)

    class On:
        pass

    On.server, On.tool, On.free, On.agent, On.grant = server, tool, free, agent, granted
    return On


@pytest.mark.parametrize("write", WRITES)
def test_whoever_may_not_write_the_gateway_writes_nothing_of_it(admin, on, events, write):
    before = len(events())
    bare = replace(admin, permissions=frozenset(Permission) - {Permission.GATEWAY_WRITE})
    with pytest.raises(PermissionDenied) as refused:
        WRITES[write](bare, on)
    assert refused.value.permission is Permission.GATEWAY_WRITE
    assert len(events()) == before
    WRITES[write](admin, on)


def test_granting_takes_the_permission_to_change_agents_too(admin, on):
    bare = replace(admin, permissions=frozenset(Permission) - {Permission.AGENTS_WRITE})
    with pytest.raises(PermissionDenied) as refused:
        grant(bare, on.agent, on.free)
    assert refused.value.permission is Permission.AGENTS_WRITE


@pytest.mark.parametrize("write", sorted(set(WRITES) - ABOUT_NOTHING - {"end_grant"}))
def test_what_is_another_tenants_is_not_found(on, stranger, other_workspace, write):
    with scope(other_workspace.id), pytest.raises(NotFound):
        WRITES[write](stranger, on)


def test_another_tenants_grant_is_not_ended(on, stranger, other_workspace):
    with scope(other_workspace.id):
        assert WRITES["end_grant"](stranger, on) is False


def test_an_agent_of_another_tenant_gets_no_tool_of_this_one(admin, on, stranger, other_workspace):
    with scope(other_workspace.id):
        theirs = factories.make_agent(stranger)
    with pytest.raises(NotFound):
        grant(admin, theirs, on.free)


def test_every_write_of_the_services_is_on_the_list_above():
    """A new service joins the tests of who may."""
    public = {
        name
        for name, made in vars(services).items()
        if callable(made) and getattr(made, "__module__", "") == services.__name__ and not name.startswith("_")
    }
    assert public - {"grant_keeper"} == set(WRITES)
