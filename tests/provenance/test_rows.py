"""The statements of one row's change, written down: they do what the ORM's would, and no more than was asked."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext

from agents.models import Agent, ModelProvider
from audit.services import record
from audit.taxonomy import Event
from gateway.models import DlpPolicy
from provenance import rows
from provenance.db import scope
from provenance.ids import uuid7
from provenance.postgres.connection import ScopedConnection
from tests import factories
from workflows.models import Workflow


@pytest.fixture(autouse=True, params=["sent whole", "ready"])
def _ready(request, monkeypatch):
    """Once as texts that are planned each time, and once as statements that the server knows by a name."""
    if request.param == "ready":
        monkeypatch.setattr(ScopedConnection, "ready", _ready_at_once)
    else:
        monkeypatch.setattr(ScopedConnection, "ready", lambda _driver, statement: statement)


_ready_later = ScopedConnection.ready


def _ready_at_once(driver, statement):
    while _ready_later(driver, statement) == statement:
        driver.statements.prepare(driver.pgconn)
    said = _ready_later(driver, statement)
    assert said.startswith("EXECUTE ")
    return said


@pytest.fixture
def agent(admin):
    return factories.make_agent(admin)


@pytest.fixture
def provider(admin):
    return factories.make_provider(admin, name="another")


def in_full(said):
    """A statement as it was planned, also where only its name is sent."""
    if not said.startswith("EXECUTE "):
        return said
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE name = %s", [said.split("(")[0].split()[1]])
        (planned,) = cursor.fetchone()
    return planned


def columns(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


class TestLocked:
    def test_it_is_the_row_as_the_orm_loads_it(self, admin, agent, provider):
        for row in (agent, provider):
            locked = type(row).locked(admin, pk=row.pk)
            plain = type(row).objects.get(pk=row.pk)
            assert columns(locked) == columns(plain)
            assert locked._loaded == plain._loaded
            assert locked._state.__dict__.keys() == plain._state.__dict__.keys()
        assert isinstance(locked.capabilities, dict)

    def test_it_is_found_by_any_column_of_its_key(self, admin, agent, provider):
        assert ModelProvider.locked(admin, name=provider.name).pk == provider.pk
        assert Agent.locked(admin, slug=agent.slug, pk=agent.pk).pk == agent.pk
        assert Agent.locked(admin, slug="no-such-agent") is None
        assert Agent.locked(admin, slug="x'; DROP TABLE agents_agent; --") is None
        assert Workflow.locked(admin, pk=uuid7()) is None

    def test_another_workspace_has_none(self, stranger, agent, other_workspace):
        assert Agent.locked(stranger, pk=agent.pk) is None
        with scope(other_workspace.id):
            assert Agent.locked(stranger, pk=agent.pk) is None

    def test_it_is_locked(self, admin, agent):
        with CaptureQueriesContext(connection) as captured:
            Agent.locked(admin, pk=agent.pk)
        [query] = captured
        assert in_full(query["sql"]).endswith("FOR UPDATE")


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_there_is_nothing_to_lock_with(workspace, admin):
    with pytest.raises(transaction.TransactionManagementError, match="inside a transaction"):
        Agent.locked(admin, pk=uuid7())


class TestUpdate:
    def test_every_kind_of_value_arrives_as_the_orm_sends_it(self, admin, provider):
        changes = {
            "base_url": "%s'; --\\ \u00fc",
            "capabilities": {"tools": True, "nested": ["'", None, 1.5]},
            "scripted": not provider.scripted,
            "created_at": provider.created_at.replace(year=2001),
        }
        for name, value in changes.items():
            setattr(provider, name, value)
        with CaptureQueriesContext(connection) as captured:
            provider.save(update_fields=list(changes))
        [statement] = [query["sql"] for query in captured]
        # The ORM names the table before each column: this is what tells that Django still asks our hook.
        assert 'WHERE "id" = ' in in_full(statement)
        record(actor=admin, event=Event.PROVIDER_UPDATED, target=provider)
        assert columns(provider.fresh()) == columns(provider)

    def test_arrays_and_nothing_arrive(self, admin, workspace):
        policy = DlpPolicy(workspace_id=workspace.id, name="p", fields=["a"])
        policy.save()
        record(actor=admin, event=Event.DLP_POLICY_CREATED, target=policy)
        policy.fields = ["b'c", '"', "{}", "NULL", ""]
        policy.save()
        record(actor=admin, event=Event.DLP_POLICY_UPDATED, target=policy)
        assert policy.fresh().fields == ["b'c", '"', "{}", "NULL", ""]

    def test_a_row_that_is_gone_was_not_updated(self, workspace, agent):
        agent.pk = uuid7()
        with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
            agent.save(update_fields=["title"])

    def test_a_row_of_another_workspace_was_not_updated(self, other_workspace, agent):
        with (
            pytest.raises(DatabaseError, match="did not affect any rows"),
            scope(other_workspace.id),
            transaction.atomic(),
        ):
            agent.save(update_fields=["title"])

    def test_an_expression_is_left_to_the_orm(self, agent):
        assert rows.update(Agent, {"pk": agent.pk}, [(Agent._meta.get_field("title"), None, Upper("title"))]) is None
        assert agent.fresh().title == agent.title
