"""A service happens whole or not at all: alone, inside another one, and inside the transaction of a door."""

from contextlib import suppress

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from agents import services as agents
from agents.models import Agent
from audit.taxonomy import Event
from provenance.db import CaughtRefusal, enter, scope, service
from provenance.errors import Conflict, InternalError, Unavailable
from tests import factories
from workspaces import doors


@service
def suspend(actor, agent_id, *, then=None):
    agents.suspend_agent(actor=actor, agent_id=agent_id, reason="Asked for too much")
    if then:
        raise then


@service
def suspend_in_spite(actor, agent_id):
    """Catches the refusal of a part of it, and goes on as if nothing were."""
    with suppress(Conflict):
        suspend(actor, agent_id, then=Conflict("Not like this."))


@pytest.fixture
def workspace(db):
    """Not in scope, unlike elsewhere: a door brings it there."""
    return factories.make_workspace()


@pytest.fixture
def agent_id(workspace, admin):
    with enter(workspace.id):
        return factories.make_agent(admin).pk


@pytest.fixture
def stored(workspace, agent_id):
    """The agent's status, and how often the log says that it was suspended."""

    def look():
        with enter(workspace.id):
            return Agent.objects.get(pk=agent_id).status, len(factories.events(Event.AGENT_SUSPENDED))

    return look


def savepoints(captured):
    return [query["sql"] for query in captured if "SAVEPOINT" in query["sql"]]


@pytest.mark.django_db(transaction=True)
class TestInsideADoor:
    def test_a_service_of_services_takes_no_savepoint(self, workspace, admin, agent_id, stored):
        with CaptureQueriesContext(connection) as captured:
            doors.answer(workspace.id, lambda: suspend(admin, agent_id) or HttpResponse("done"))
        assert savepoints(captured) == []
        assert stored() == ("suspended", 1)

    def test_a_change_and_its_event_are_two_round_trips(self, workspace, admin, agent_id, stored, round_trips):
        with round_trips() as sent:
            doors.answer(workspace.id, lambda: suspend(admin, agent_id) or HttpResponse("done"))
        begun, ended = sent
        assert begun.startswith("BEGIN; SET LOCAL app.workspace_id = ")
        assert begun.endswith("FOR UPDATE")
        assert ended.startswith("UPDATE ")
        assert "; SELECT audit.store(" in ended
        assert ended.endswith("; COMMIT")
        assert stored() == ("suspended", 1)

    def test_without_its_event_there_is_no_change(self, workspace, admin, agent_id, stored, settings):
        """The event travels with COMMIT: what the log refuses is refused there, and answered as a failure."""
        settings.AUDIT_SIGNS_AS = "worker"
        with pytest.raises(Unavailable):
            doors.answer(workspace.id, lambda: suspend(admin, agent_id) or HttpResponse("done"))
        assert stored() == ("active", 0)

    def test_a_refusal_takes_back_what_came_before_it(self, workspace, admin, agent_id, stored):
        def view():
            suspend(admin, agent_id)
            suspend(admin, agent_id)  # suspended already

        with pytest.raises(Conflict):
            doors.answer(workspace.id, view)
        assert stored() == ("active", 0)

    def test_who_goes_on_after_a_refusal_keeps_what_came_before_and_nothing_of_it(
        self, workspace, admin, agent_id, stored
    ):
        def view():
            with pytest.raises(Conflict), transaction.atomic():
                suspend(admin, agent_id, then=Conflict("Not like this."))
            # The page about the refusal reads, and what it does besides is kept.
            assert Agent.objects.get(pk=agent_id).status == "active"
            agents.retire_agent(actor=admin, agent_id=agent_id, reason="Not needed")
            return HttpResponse("refused", status=409)

        assert doors.answer(workspace.id, view).status_code == 409
        assert stored() == ("retired", 0)

    def test_a_refusal_that_is_only_caught_is_never_answered_as_a_success(self, workspace, admin, agent_id, stored):
        def view():
            try:
                suspend(admin, agent_id, then=Conflict("Not like this."))
            except Conflict:
                return HttpResponse("all is well")

        with pytest.raises(InternalError):
            doors.answer(workspace.id, view)
        assert stored() == ("active", 0)

    def test_after_a_refusal_that_is_only_caught_nothing_more_is_asked(self, workspace, admin, agent_id):
        def view():
            try:
                suspend(admin, agent_id, then=Conflict("Not like this."))
            except Conflict:
                return HttpResponse(Agent.objects.get(pk=agent_id).title)

        with pytest.raises(InternalError):
            doors.answer(workspace.id, view)


@pytest.mark.django_db(transaction=True)
class TestAlone:
    def test_a_service_opens_a_transaction(self, workspace, admin, agent_id, stored):
        with pytest.raises(Conflict), scope(workspace.id):
            suspend(admin, agent_id, then=Conflict("Not like this."))
        assert stored() == ("active", 0)

    def test_a_caught_refusal_of_a_part_is_no_silent_loss_of_the_whole(self, workspace, admin, agent_id, stored):
        with pytest.raises(CaughtRefusal, match=r"transaction\.atomic\(\)"), scope(workspace.id):
            suspend_in_spite(admin, agent_id)
        assert stored() == ("active", 0)


def test_in_a_transaction_that_nobody_calls_whole_a_service_takes_back_itself_alone(workspace, admin, agent_id, stored):
    with scope(workspace.id):
        suspend(admin, agent_id)
        with pytest.raises(Conflict):
            suspend(admin, agent_id)
        assert stored() == ("suspended", 1)
