"""Saves through our services, asked for line by line like `bench/peers/saves.py`: `python -m bench.saves`.

A line is a number of saves, or `bulk TABLE` for one change of 1,000 rows of a table that `bench.events` made.
"""

import json
import sys
import time
from collections.abc import Callable
from uuid import UUID

import django

django.setup()

from django.db import connection, models

from agents.services import create_agent, resume_agent, suspend_agent
from audit.governed import Governed
from audit.services import change_rows
from audit.taxonomy import Event
from bench.ground import cpu_seconds
from provenance.actor import Actor, ActorKind
from provenance.db import enter, scope
from provenance.ids import uuid7
from provenance.permissions import Permission

ROWS = 50


class Row(Governed):
    """A row of `bench_bulk` or `bench_unguarded`: the columns that the change is about."""

    title = models.CharField(max_length=200)
    status = models.CharField(max_length=10)

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
    """Update and events, and nothing that holds one against the other."""

    audit_type = "bench_unguarded"

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_unguarded"


def main(workspace_id: UUID) -> None:
    """Answer until standard input ends."""
    permissions = frozenset({Permission.AGENTS_WRITE, Permission.AGENTS_TRUST})
    actor = Actor(
        kind=ActorKind.USER,
        id=str(uuid7()),
        label="Priya Raman",
        workspace_id=workspace_id,
        permissions=permissions,
        via="session",
        ip="192.0.2.7",
        request_id="bench",
    )
    with enter(workspace_id):
        ids = [create_agent(actor=actor, slug=f"agent-{number}", title="Reads invoices").pk for number in range(ROWS)]
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    active = dict.fromkeys(ids, True)

    def save(number: int) -> None:
        agent_id = ids[number % ROWS]
        # The service opens the transaction, so that there is one, as around the peers' saves.
        with scope(workspace_id):
            change = suspend_agent if active[agent_id] else resume_agent
            change(actor=actor, agent_id=agent_id, reason="Asked for too much")
        active[agent_id] = not active[agent_id]

    def change(model: type[Row], number: int) -> None:
        with enter(workspace_id):
            rows = model.objects.for_workspace(workspace_id)
            change_rows(actor=actor, event=Event.AGENT_UPDATED, rows=rows, values={"title": f"Reads {number}"})

    for line in sys.stdin:
        word, _, table = line.strip().partition(" ")
        if word == "bulk":
            model = Guarded if table == "bench_bulk" else Unguarded
            _answer(1, lambda _number, model=model: change(model, time.monotonic_ns()))
        else:
            _answer(int(word), save)


def _answer(count: int, work: Callable[[int], None]) -> None:
    server = connection.connection.info.backend_pid
    begun, client, cpu = time.monotonic(), time.process_time(), cpu_seconds(server)
    for number in range(count):
        work(number)
    print(
        json.dumps(
            {
                "rate": count / (time.monotonic() - begun),
                "client_us": (time.process_time() - client) / count * 1e6,
                "server_us": (cpu_seconds(server) - cpu) / count * 1e6,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
