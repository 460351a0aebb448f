"""Agents: low at first, raised by people one level at a time, versions written once (M001, M004, M014-M017, M022, M081)."""

import threading
from dataclasses import replace
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction

from agents import selectors, services
from agents.definition import RequestedTool
from agents.diffs import prompt_digest, version_diff
from agents.errors import AgentExists, AgentNotActive, NothingChanged, ProviderExists
from agents.models import Agent, AgentVersion
from audit.models import AuditEvent
from audit.taxonomy import Event
from provenance.actor import ActorKind
from provenance.db import enter, scope
from provenance.egress import EgressRefused
from provenance.errors import Conflict, Invalid, NotFound, PermissionDenied
from tests import factories

JUSTIFICATION = "Twelve reviewed weeks without a refused call."


@pytest.fixture
def agent(editor):
    return factories.make_agent(editor)


def publish(actor, agent, **changes):
    return services.publish_version(
        actor=actor, agent_id=agent.pk, configuration=factories.agent_configuration(**changes)
    )


def paths(caught):
    return [error["path"] for error in caught.value.data["errors"]]


# --- Registering -----------------------------------------------------------------------------------------------------


def test_a_new_agent_is_low_and_can_do_nothing(editor, events):
    agent = services.create_agent(actor=editor, slug="ledger-ops", title="Ledger operations")
    assert (agent.trust_level, agent.status, agent.current_version) == ("low", "active", 0)
    (event,) = events(Event.AGENT_CREATED)
    assert event.object_id == str(agent.pk)


def test_a_slug_is_taken_once_in_a_workspace(editor, other_workspace, stranger):
    services.create_agent(actor=editor, slug="a", title="A")
    with pytest.raises(AgentExists):
        services.create_agent(actor=editor, slug="a", title="A")
    with scope(other_workspace.id):
        services.create_agent(actor=stranger, slug="a", title="A")


@pytest.mark.parametrize("slug", ["", "A", "a b", "-a", "a-", "a" * 61, "../x", "ä", "a\n"])
def test_slugs_are_plain(editor, slug):
    with pytest.raises(Invalid):
        services.create_agent(actor=editor, slug=slug, title="t")


@pytest.mark.parametrize(
    "act",
    [
        lambda actor, _: services.create_agent(actor=actor, slug="b", title="B"),
        lambda actor, agent: publish(actor, agent, max_turns=3),
        lambda actor, agent: services.raise_trust(
            actor=actor, agent_id=agent.pk, level="medium", justification=JUSTIFICATION
        ),
        lambda actor, agent: services.lower_trust(actor=actor, agent_id=agent.pk, level="low", reason="r"),
        lambda actor, agent: services.suspend_agent(actor=actor, agent_id=agent.pk, reason="r"),
        lambda actor, agent: services.resume_agent(actor=actor, agent_id=agent.pk, reason="r"),
        lambda actor, agent: services.retire_agent(actor=actor, agent_id=agent.pk, reason="r"),
        lambda actor, agent: services.view_prompt(actor=actor, agent_id=agent.pk, number=1),
        lambda actor, _: factories.make_provider(actor, "p"),
        lambda actor, _: services.move_provider(actor=actor, name="scripted", base_url="https://x.example", reason="r"),
    ],
)
def test_without_the_permission_nothing_happens(agent, viewer, act):
    before = AuditEvent.objects.count()
    with pytest.raises(PermissionDenied):
        act(viewer, agent)
    assert AuditEvent.objects.count() == before


def test_another_workspaces_agent_is_not_found(agent, other_workspace, stranger):
    with scope(other_workspace.id):
        for act in (services.suspend_agent, services.retire_agent):
            with pytest.raises(NotFound):
                act(actor=stranger, agent_id=agent.pk, reason="r")
        with pytest.raises(NotFound):
            selectors.agent_detail(stranger, agent.slug)
        with pytest.raises(NotFound):
            selectors.version_for_run(other_workspace.id, agent.slug)


# --- Trust -----------------------------------------------------------------------------------------------------------


def test_trust_is_raised_by_a_person_with_a_justification(agent, editor, events):
    services.raise_trust(actor=editor, agent_id=agent.pk, level="medium", justification=JUSTIFICATION)
    assert agent.fresh().trust_level == "medium"
    (event,) = events(Event.AGENT_TRUST_LEVEL_RAISED)
    assert (event.actor_id, event.risk) == (editor.id, "high")


def test_trust_is_raised_one_level_at_a_time(agent, editor):
    with pytest.raises(Conflict, match="one level at a time"):
        services.raise_trust(actor=editor, agent_id=agent.pk, level="high", justification=JUSTIFICATION)
    services.raise_trust(actor=editor, agent_id=agent.pk, level="medium", justification=JUSTIFICATION)
    services.raise_trust(actor=editor, agent_id=agent.pk, level="high", justification=JUSTIFICATION)
    assert agent.fresh().trust_level == "high"


@pytest.mark.parametrize("justification", ["", "because", " " * 30, "x" * 19])
def test_a_thin_justification_is_refused(agent, editor, justification):
    with pytest.raises(Invalid) as caught:
        services.raise_trust(actor=editor, agent_id=agent.pk, level="medium", justification=justification)
    assert paths(caught) == ["justification"]


@pytest.mark.parametrize("kind", [ActorKind.INTEGRATION, ActorKind.AGENT, ActorKind.SYSTEM])
def test_only_people_raise_trust_even_with_every_permission(agent, admin, kind):
    with pytest.raises(PermissionDenied):
        services.raise_trust(
            actor=replace(admin, kind=kind), agent_id=agent.pk, level="medium", justification=JUSTIFICATION
        )


@pytest.mark.parametrize("level", ["low", "", "LOW", "root"])
def test_a_level_that_is_not_higher_is_refused(agent, editor, level):
    with pytest.raises((Conflict, Invalid)):
        services.raise_trust(actor=editor, agent_id=agent.pk, level=level, justification=JUSTIFICATION)


def test_trust_is_lowered_at_once_by_any_number_of_levels(agent, editor, events):
    for level in ("medium", "high"):
        services.raise_trust(actor=editor, agent_id=agent.pk, level=level, justification=JUSTIFICATION)
    services.lower_trust(actor=editor, agent_id=agent.pk, level="low", reason="Asked for a forbidden tool.")
    assert agent.fresh().trust_level == "low"
    assert len(events(Event.AGENT_TRUST_LEVEL_LOWERED)) == 1
    with pytest.raises(Conflict):
        services.lower_trust(actor=editor, agent_id=agent.pk, level="medium", reason="r")


def test_the_database_knows_no_other_level(agent):
    with pytest.raises(DatabaseError, match="agents_agent_trust"), transaction.atomic():
        Agent.objects.filter(pk=agent.pk).update(trust_level="root")


# --- Versions --------------------------------------------------------------------------------------------------------


def test_a_version_is_published_and_is_in_force(agent, editor, events):
    version = publish(editor, agent, max_turns=3)
    assert (version.number, agent.fresh().current_version) == (2, 2)
    assert version.published_by == editor.id
    assert len(events(Event.AGENT_VERSION_PUBLISHED)) == 2
    assert events(Event.AGENT_UPDATED)


def test_a_key_publishes_in_the_name_of_its_owner(agent, editor):
    key = replace(editor, kind=ActorKind.INTEGRATION, id="key-1", on_behalf_of=editor.id)
    assert publish(key, agent, max_turns=3).published_by == editor.id


def test_another_model_is_a_new_version_and_an_event_of_its_own(agent, editor, events):
    publish(editor, agent, model="scripted-obeys-2026-11-01")
    assert len(events(Event.AGENT_MODEL_CHANGED)) == 1


def test_publishing_the_same_again_is_a_conflict(agent, editor):
    with pytest.raises(NothingChanged):
        publish(editor, agent)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"model": "gpt-4o-latest"}, "model"),
        ({"model": "gpt-4o"}, "model"),
        ({"provider": "nobody"}, "provider"),
        ({"system_prompt": "  "}, "system_prompt"),
        ({"system_prompt": "nul \0"}, "system_prompt"),
        ({"system_prompt": "x" * 100_001}, "system_prompt"),
        ({"requested_tools": [RequestedTool("erp.getVendor", "")]}, "requested_tools.0.reason"),
        ({"requested_tools": [RequestedTool("erp.getVendor", "reads it")]}, "requested_tools.0.reason"),
        ({"requested_tools": [RequestedTool("erp.*", "Reads whatever it finds there.")]}, "requested_tools.0.tool"),
        ({"requested_tools": [RequestedTool("*", "Reads whatever it finds there.")]}, "requested_tools.0.tool"),
        ({"requested_tools": [RequestedTool("getVendor", "Reads the terms in force.")]}, "requested_tools.0.tool"),
        (
            {"requested_tools": [RequestedTool("erp.get\u200bVendor", "Reads the terms in force.")]},
            "requested_tools.0.tool",
        ),
        ({"requested_tools": [RequestedTool("erp.a", "Reads the terms in force.")] * 2}, "requested_tools.1.tool"),
        ({"forbidden_tools": ["erp.getVendor"]}, "forbidden_tools.0"),
        ({"forbidden_tools": ["erp.*"]}, "forbidden_tools.0"),
        ({"forbidden_actions": [" "]}, "forbidden_actions.0"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_turns": 101}, "max_turns"),
        ({"token_budget": 0}, "token_budget"),
        ({"token_budget": 200_001}, "token_budget"),
    ],
)
def test_a_version_that_is_wrong_is_refused_with_its_path(agent, editor, changes, path):
    with pytest.raises(Invalid) as caught:
        publish(editor, agent, **changes)
    assert paths(caught) == [path]
    assert agent.fresh().current_version == 1


def test_everything_wrong_is_said_at_once(agent, editor):
    with pytest.raises(Invalid) as caught:
        publish(editor, agent, model="x", system_prompt="", max_turns=0)
    assert paths(caught) == ["model", "system_prompt", "max_turns"]


@pytest.mark.parametrize("act", ["update", "delete"])
def test_nobody_changes_a_published_version(agent, act):
    rows = AgentVersion.objects.filter(agent=agent)
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.update(system_prompt="Obey.") if act == "update" else rows.delete()


def test_a_diff_shows_prompts_as_digests_only(agent, editor):
    former = agent.versions.get(number=1)
    latter = publish(
        editor,
        agent,
        system_prompt="Other words.",
        requested_tools=[RequestedTool("erp.listInvoices", "Counts invoices.")],
    )
    changes = {change["field"]: change for change in version_diff(former, latter)}
    assert set(changes) == {"system_prompt", "requested_tools"}
    assert changes["system_prompt"]["after"] == prompt_digest("Other words.")
    assert changes["requested_tools"]["added"] == ["erp.listInvoices: Counts invoices."]
    assert "marzipan" not in repr(changes)


def test_no_event_holds_a_prompt(agent, editor):
    publish(editor, agent, system_prompt="The word of tomorrow is nougat.")
    services.view_prompt(actor=editor, agent_id=agent.pk, number=1)
    bodies = "".join(AuditEvent.objects.values_list("body", flat=True))
    assert "marzipan" not in bodies
    assert "nougat" not in bodies


def test_reading_a_prompt_is_an_event(agent, editor, events):
    assert "marzipan" in services.view_prompt(actor=editor, agent_id=agent.pk, number=1)
    (event,) = events(Event.AGENT_PROMPT_VIEWED)
    assert (event.actor_id, event.op) == (editor.id, "read")


def test_a_run_gets_the_version_in_force(workspace, agent, editor, as_role):
    publish(editor, agent, max_turns=3)
    with as_role("worker"):
        found = selectors.version_for_run(workspace.id, agent.slug)
        assert (found.version.number, found.provider.name, found.provider.scripted) == (2, "scripted", True)
        assert "marzipan" in found.version.system_prompt


@pytest.mark.parametrize("table", ["agents_agent", "agents_agentversion", "agents_modelprovider"])
@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_only_web_changes_agents(agent, as_role, role, table):
    with as_role(role), pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(f"UPDATE {table} SET audit_rev = audit_rev")


# --- Suspending ------------------------------------------------------------------------------------------------------


def test_a_suspended_agent_does_not_run_until_a_person_resumes_it(workspace, agent, editor, events):
    services.suspend_agent(actor=editor, agent_id=agent.pk, reason="Odd calls at night.")
    with pytest.raises(AgentNotActive):
        selectors.version_for_run(workspace.id, agent.slug)
    with pytest.raises(AgentNotActive):
        services.suspend_agent(actor=editor, agent_id=agent.pk, reason="again")
    services.resume_agent(actor=editor, agent_id=agent.pk, reason="Clock was wrong.")
    assert selectors.version_for_run(workspace.id, agent.slug)
    assert [len(events(e)) for e in (Event.AGENT_SUSPENDED, Event.AGENT_RESUMED)] == [1, 1]


def test_a_retired_agent_never_comes_back(agent, editor):
    services.retire_agent(actor=editor, agent_id=agent.pk, reason="Replaced.")
    for act in (services.resume_agent, services.suspend_agent, services.retire_agent):
        with pytest.raises(Conflict):
            act(actor=editor, agent_id=agent.pk, reason="r")
    with pytest.raises(AgentNotActive):
        publish(editor, agent, max_turns=3)


def test_stopping_needs_a_reason(agent, editor):
    with pytest.raises(Invalid):
        services.suspend_agent(actor=editor, agent_id=agent.pk, reason="  ")


# --- Providers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"), [({}, False), ({"private_network": True}, True), ({"scripted": True}, True)]
)
def test_a_provider_on_a_private_network_must_say_so(editor, changes, expected):
    provider = services.create_provider(actor=editor, name="p", base_url="https://models.example/v1", **changes)
    assert provider.private_network is expected


def test_a_provider_is_taken_once(editor, events):
    provider = factories.make_provider(editor)
    assert provider.origin == "http://127.0.0.1:8422"
    assert events(Event.PROVIDER_CREATED)
    with pytest.raises(ProviderExists):
        factories.make_provider(editor)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"base_url": "http://models.example/v1"}, Invalid),
        ({"base_url": "https://key@models.example/v1"}, EgressRefused),
        ({"base_url": "models.example"}, EgressRefused),
        ({"secret_name": "sk-live-A1"}, Invalid),
        ({"secret_name": "secret://x"}, Invalid),
        ({"input_price": "cheap"}, Invalid),
        ({"output_price": "-1"}, Invalid),
        ({"output_price": "NaN"}, Invalid),
        ({"output_price": "1E+9999"}, Invalid),
        ({"currency": "usd"}, Invalid),
        ({"name": "Open AI"}, Invalid),
    ],
)
def test_a_provider_that_is_wrong_is_refused(editor, changes, error):
    with pytest.raises(error):
        services.create_provider(
            actor=editor, **{"name": "p", "base_url": "https://models.example/v1", "secret_name": "k", **changes}
        )


def test_production_refuses_a_scripted_model_and_plain_http(editor, settings):
    settings.ENVIRONMENT = "production"
    with pytest.raises(Invalid):
        services.create_provider(actor=editor, name="p", base_url="https://models.example", scripted=True)
    with pytest.raises(Invalid):
        services.create_provider(actor=editor, name="p", base_url="http://127.0.0.1:1/v1")


def test_a_moved_provider_has_another_origin_and_its_key_stays_behind(editor, events):
    """T02: the key is bound to the old origin, so nothing is sent until a person binds it anew."""
    factories.make_provider(editor)
    moved = services.move_provider(
        actor=editor, name="scripted", base_url="https://elsewhere.example/v1/", reason="New contract."
    )
    assert (moved.base_url, moved.origin) == ("https://elsewhere.example/v1", "https://elsewhere.example:443")
    assert events(Event.PROVIDER_UPDATED)


# --- Twice at once ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_raises_at_once_raise_one_level():
    made = factories.make_workspace()
    with scope(made.id):
        actor = factories.make_member(made, roles={"editor"})
        with enter(made.id):
            agent_id: UUID = services.create_agent(actor=actor, slug="a", title="A").pk
    barrier, outcomes = threading.Barrier(2), []

    def raise_it():
        barrier.wait(60)
        try:
            with enter(made.id):
                services.raise_trust(actor=actor, agent_id=agent_id, level="medium", justification=JUSTIFICATION)
            outcomes.append("raised")
        except Conflict:
            outcomes.append("conflict")
        finally:
            connection.close()

    threads = [threading.Thread(target=raise_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "raised"]
