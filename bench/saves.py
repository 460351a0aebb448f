"""Saves through our services, asked for line by line like `bench/peers/saves.py`: `python -m bench.saves WORKSPACE`.

A line is a number of saves, `least` and a number of the same by hand, or `bulk TABLE` for one change of all rows of a
table that `bench.events` made: with the guards through `change_rows`, without them by hand.
"""

import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import django

django.setup()

from django.db import connection, models

from agents.models import Agent
from agents.services import create_agent, resume_agent, suspend_agent
from audit.envelope import ObjectFacts, SignedEvent, build, storing
from audit.governed import Governed
from audit.services import Entry, RowChange, change_rows, create_rows, record_all, verifying_keys
from audit.taxonomy import Event
from bench.peers.answering import answer, questions
from provenance.actor import Actor, ActorKind
from provenance.db import ask, enter, workspace_of
from provenance.ids import uuid7
from provenance.permissions import Permission

ROWS = 50
BULK_ROWS = 1000
READY = 3
"""So many transactions must say a statement until the server has planned it for good."""
REASON = "Asked for too much"
CHANGED = ("status", "suspended_reason")
COLUMNS = ", ".join(field.column for field in Agent._meta.concrete_fields)
LOCK = f"SELECT {COLUMNS} FROM agents_agent WHERE id = %s FOR UPDATE"  # noqa: S608  the model's own
UPDATE = "UPDATE agents_agent SET status = %s, suspended_reason = %s, audit_rev = %s WHERE id = %s"


class Row(Governed):
    """A row of `bench_bulk` or `bench_unguarded`, which have the columns of an agent."""

    slug = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    status = models.CharField(max_length=10, default="active")
    trust_level = models.CharField(max_length=10, default="low")
    current_version = models.PositiveIntegerField(default=3)
    suspended_reason = models.TextField(default="")
    created_by = models.CharField(max_length=100, default="nobody")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bench"
        abstract = True


class Guarded(Row):
    """With every guard."""

    audit_type = "bench_bulk"

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_bulk"


class Unguarded(Row):
    """Without any."""

    audit_type = "bench_unguarded"

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_unguarded"


def main(workspace_id: UUID) -> None:
    """Answer until standard input ends."""
    actor = Actor(
        kind=ActorKind.USER,
        id=str(uuid7()),
        label="Priya Raman",
        workspace_id=workspace_id,
        permissions=frozenset({Permission.AGENTS_WRITE, Permission.AGENTS_TRUST}),
        via="session",
        ip="192.0.2.7",
        request_id="bench",
    )
    saved, by_hand = _agents(actor), _agents(actor)
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    server = connection.connection.info.backend_pid
    is_active = dict.fromkeys(saved, True)

    def save(number: int) -> None:
        agent_id = saved[number % ROWS]
        change = suspend_agent if is_active[agent_id] else resume_agent
        # What a door does around a service; the peers' saves have a transaction around them as well.
        with enter(workspace_of(actor)):
            change(actor=actor, agent_id=agent_id, reason=REASON)
        is_active[agent_id] = not is_active[agent_id]

    _fill(actor)
    bulk = {"bench_bulk": _change_all, "bench_unguarded": _change_all_by_hand}
    for words in questions():
        match words:
            case ["bulk", table]:
                answer(1, lambda _number, change=bulk[table]: change(actor), server)
            case ["least", count]:
                answer(int(count), _least(actor, by_hand, int(count)), server)
            case [count]:
                answer(int(count), save, server)


def _fill(actor: Actor) -> None:
    with enter(workspace_of(actor)):
        for model in (Guarded, Unguarded):
            rows = [
                model(workspace_id=actor.workspace_id, slug=f"agent-{number}", title="Reads invoices and asks")
                for number in range(BULK_ROWS)
            ]
            create_rows(actor=actor, event=Event.AGENT_CREATED, rows=rows)
        # No trigger counts here, and the events say that this is the first revision.
        Unguarded.objects.for_actor(actor).update(audit_rev=1)


def _change_all(actor: Actor) -> None:
    with enter(workspace_of(actor)):
        rows = Guarded.objects.for_actor(actor)
        change_rows(actor=actor, event=Event.AGENT_UPDATED, rows=rows, values={"title": _title()})


def _change_all_by_hand(actor: Actor) -> None:
    """The same update and events, and nothing that holds one against the other."""
    with enter(workspace_of(actor)):
        rows, title = Unguarded.objects.for_actor(actor), _title()
        locked = list(rows.select_for_update())
        rows.filter(pk__in=[row.pk for row in locked]).update(title=title, audit_rev=models.F("audit_rev") + 1)
        changes = []
        for row in locked:
            row.title, row.audit_rev = title, row.audit_rev + 1
            changes.append(
                RowChange(
                    type=row.object_type(),
                    id=str(row.pk),
                    rev=row.audit_rev,
                    op="update",
                    changed=("title",),
                    state=row.state(),
                    label=title,
                )
            )
        record_all(actor=actor, entries=[Entry(event=Event.AGENT_UPDATED, target=change) for change in changes])


def _title() -> str:
    return f"Reads {time.monotonic_ns()}"


def _agents(actor: Actor) -> list[UUID]:
    with enter(workspace_of(actor)):
        return [create_agent(actor=actor, slug=f"a-{uuid7().hex}", title="Reads invoices").pk for _ in range(ROWS)]


def _least(actor: Actor, agent_ids: list[UUID], count: int) -> Callable[[int], None]:
    """The least that anybody pays for the same promise: statements planned once, an event made before, in two messages.

    The transaction locks the row, changes it, tells it, and passes the guards; no ORM, no service, and nothing is signed
    while the clock runs.
    """
    for _ in range(READY):
        with enter(workspace_of(actor)):
            for statement in (LOCK, UPDATE, storing([_told(actor, agent_ids[0], 1, "active")])[0]):
                connection.connection.ready(statement)
            ask("SELECT 1")
    with enter(workspace_of(actor)):
        found = Agent.objects.filter(pk__in=agent_ids).values_list("pk", "audit_rev", "status")
        state = {agent_id: (rev, status) for agent_id, rev, status in found}
    messages = []
    for number in range(count):
        agent_id = agent_ids[number % ROWS]
        rev, status = state[agent_id]
        state[agent_id] = (rev + 1, "active" if status == "suspended" else "suspended")
        messages.append(_messages(actor, agent_id, rev, state[agent_id][1]))
    driver = connection.connection

    def change(number: int) -> None:
        begun, ended = messages[number]
        driver.execute(begun)
        driver.execute(ended)

    return change


def _messages(actor: Actor, agent_id: UUID, rev: int, status: str) -> tuple[str, str]:
    written = [status, REASON if status == "suspended" else "", rev, str(agent_id)]
    stores, event = storing([_told(actor, agent_id, rev, status)])
    with connection.cursor() as cursor:

        def said(statement: str, parameters: list[Any]) -> str:
            return cursor.mogrify(connection.connection.ready(statement), parameters)

        locks, changes, tells = said(LOCK, [str(agent_id)]), said(UPDATE, written), said(stores, event)
    return f"BEGIN; SET LOCAL app.workspace_id = '{actor.workspace_id}'; {locks}", f"{changes}; {tells}; COMMIT"


def _told(actor: Actor, agent_id: UUID, rev: int, status: str) -> SignedEvent:
    slug = f"a-{agent_id.hex}"
    return build(
        keys=verifying_keys(),
        actor=actor,
        event=Event.AGENT_SUSPENDED if status == "suspended" else Event.AGENT_RESUMED,
        target=ObjectFacts(
            type="agent", id=str(agent_id), rev=rev + 1, op="update", changed=CHANGED, state="0" * 64, label=slug
        ),
        workspace_id=actor.workspace_id,
        reason=REASON,
        detail={"slug": slug},
    )


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
