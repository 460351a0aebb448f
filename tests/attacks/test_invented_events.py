"""A hijacked process tells of changes that it never made, and that Postgres would not let it make (T01, T06, T08).

Rows that grant power are held against their newest event: an invented one would lock people and keys out.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction

from audit.envelope import ObjectFacts, build, storing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.db import scope
from provenance.ids import uuid7, uuid7_floor
from provenance.postgres.refusals import EventNotAccepted
from tests.attacks.log import plant
from tests.attacks.walls import governed_tables, siege
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE, all_keys
from tests.audit.verifying import verify


def store(event):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(*storing([event]))


def invented(process, workspace_id, *, kind="membership", op="update", event=Event.MEMBER_ROLE_CHANGED, now=None):
    return build(
        keys=all_keys(process),
        actor=replace(Actor.system("engine", workspace_id), label=""),
        event=event,
        target=ObjectFacts(type=kind, id=str(uuid7()), rev=2, op=op, changed=("roles",), state="0" * 64),
        workspace_id=workspace_id,
        now=now,
    )


@pytest.mark.parametrize("process", ["worker", "gateway"])
@pytest.mark.parametrize("op", ["insert", "update", "delete"])
@pytest.mark.parametrize("kind", ["membership", "api_key", "agent_version", "control", "secret"])
def test_no_change_is_told_by_who_may_not_make_it(workspace, as_role, process, op, kind):
    """T06: whoever told it last would have the row's next loading refused."""
    with as_role(process), pytest.raises(EventNotAccepted, match=f"may not {op} rows of the type {kind}"):
        store(invented(process, workspace.id, kind=kind, op=op))


def test_the_tellers_are_those_whom_postgres_lets_write(django_db_setup):
    """The list follows from the guards and the rights, both ways: nothing on it that the catalog does not say."""
    with siege() as attack:
        told = set(attack.rows("SELECT of_table, db_role::text, object_type, op FROM audit.teller"))
        wanted = set()
        for wall in governed_tables():
            for role in ("web", "gateway", "worker", "sealer", "audit_read", "retention"):
                wanted |= {
                    (f"public.{wall.table}", f"prov_{role}", wall.object_type, verb.lower())
                    for verb in attack.writable_by(role, wall.table)
                }
        assert told == wanted


@pytest.mark.parametrize("process", ["web", "worker", "gateway"])
def test_no_log_is_made_up(workspace, as_role, process):
    """The sealer would open a log for a workspace that does not exist."""
    nowhere = uuid7()
    with as_role(process), scope(nowhere), pytest.raises(EventNotAccepted, match=f"there is no workspace {nowhere}"):
        store(invented(process, nowhere, kind="run", op="read", event=Event.RUN_STARTED))


def told_at_another_time(monkeypatch, workspace_id, minutes):
    """An event of this moment, give or take: its id so many minutes ago and its time as many ahead."""
    now = datetime.now(UTC)
    made = uuid7_floor(now - timedelta(minutes=minutes)).int | 0x7 << 76 | 0b10 << 62
    monkeypatch.setattr("audit.envelope.uuid7", lambda: UUID(int=made))
    at = now + timedelta(minutes=minutes)
    return invented("worker", workspace_id, kind="run", op="read", event=Event.RUN_STARTED, now=at)


@pytest.mark.parametrize("minutes", [4, -4])
def test_the_time_of_an_event_is_that_of_its_id(workspace, as_role, monkeypatch, minutes):
    """Each within five minutes of the clock and eight from each other: a verifier refuses every bundle that holds it."""
    event = told_at_another_time(monkeypatch, workspace.id, minutes)
    with as_role("worker"), pytest.raises(EventNotAccepted, match="more than 5 minutes from the time in its id"):
        store(event)


@pytest.mark.django_db(transaction=True)
@pytest.mark.workspaces(WORKSPACE)
def test_stored_past_the_check_it_is_sealed_told_and_found(monkeypatch):
    event = told_at_another_time(monkeypatch, WORKSPACE, 4)
    monkeypatch.undo()
    with transaction.atomic(), scope(WORKSPACE):
        plant(event)
    sealing.seal()
    assert sealing.rows("SELECT count(*) FROM audit.event WHERE action = %s", Event.AUDIT_VERIFICATION_FAILED) == [(1,)]
    found = [(flaw.index, flaw.problem) for log in verify().logs for flaw in log.flaws]
    assert found == [(0, "the time it tells is more than five minutes from the time in its id")]
