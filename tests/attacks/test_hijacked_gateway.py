"""A gateway that runs an attacker's code writes into the log of the workspace in scope, and only under its own name."""

from dataclasses import replace

import pytest
from django.db import connection, transaction

from audit.envelope import ObjectFacts, build, storing
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import ActorKind
from provenance.ids import uuid7
from provenance.postgres.refusals import EventNotAccepted


def signed(process, actor, workspace, event=Event.RUN_STARTED, outcome="success"):
    return build(
        keys=KeyRing.from_settings(process),
        # What people do is told by web alone, so it speaks as a program.
        actor=replace(actor, kind=ActorKind.INTEGRATION),
        event=event,
        target=ObjectFacts(type="run", id=str(uuid7())),
        workspace_id=workspace.id if workspace else None,
        outcome=outcome,
    )


def store(*events):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(*storing(events))


def test_it_writes_its_own_events(admin, workspace, as_role, events):
    with as_role("gateway"):
        store(signed("gateway", admin, workspace))
    (event,) = events(Event.RUN_STARTED)
    assert event.kid == "gateway-1"


def test_it_writes_into_the_log_of_no_other_workspace(admin, other_workspace, as_role):
    with as_role("gateway"), pytest.raises(EventNotAccepted, match="tells no such thing"):
        store(signed("gateway", admin, other_workspace))


@pytest.mark.parametrize("event", [Event.USER_CREATED, Event.AUTH_LOGIN_FAILED, Event.AUTHZ_DENIED])
def test_of_no_workspace_it_tells_whom_it_turned_away_and_nothing_else(admin, as_role, event):
    with as_role("gateway"), pytest.raises(EventNotAccepted, match="tells no such thing"):
        store(signed("gateway", admin, None, event=event))


def test_of_no_workspace_it_reads_nothing(admin, as_role):
    with as_role("gateway"), connection.cursor() as cursor:
        store(signed("gateway", admin, None, event=Event.AUTHZ_DENIED, outcome="blocked"))
        cursor.execute("SELECT count(*) FROM audit.event WHERE workspace_id IS NULL")
        assert cursor.fetchone() == (0,)


def test_one_event_under_another_kid_refuses_the_batch(admin, workspace, as_role, events):
    """T01."""
    batch = [signed("gateway", admin, workspace), signed("web", admin, workspace)]
    with as_role("gateway"), pytest.raises(EventNotAccepted, match="web-1 is not registered"):
        store(*batch)
    assert not events(Event.RUN_STARTED)


def test_no_other_function_of_the_log_acts_with_more_rights_for_it(workspace):
    """T11, T12: a definer function goes round row security. The door, and what was told of a row, ask for the scope themselves."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace AND prosecdef
               AND has_function_privilege('prov_gateway', oid, 'EXECUTE')
            """
        )
        assert sorted(cursor.fetchall()) == [("store",), ("told_of_row",)]
