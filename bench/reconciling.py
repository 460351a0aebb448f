"""Goal 15: how fast governed rows are held against the log."""

import time

from agents.models import Agent
from audit.services import create_rows
from audit.taxonomy import Event
from audit.verifying.reconcile import governed_tables, reconcile
from bench.figures import Figure, Goal
from bench.ground import Ground
from provenance.actor import Actor, ActorKind
from provenance.db import enter
from provenance.ids import uuid7


def reconciling(ground: Ground, *, quick: bool) -> list[Figure]:
    """Goal 15: rows of a governed table against the log, revision and state."""
    workspace, count = ground.workspace(), 4_000 if quick else 40_000
    actor = Actor(kind=ActorKind.USER, id=str(uuid7()), label="Priya Raman", workspace_id=workspace, via="session")
    for first in range(0, count, 1000):
        rows = [
            Agent(workspace_id=workspace, slug=f"agent-{number}", title="Reads invoices", created_by=actor.id)
            for number in range(first, first + 1000)
        ]
        with enter(workspace):
            create_rows(actor=actor, event=Event.AGENT_CREATED, rows=rows)
    tables = [table for table in governed_tables() if table.object_type == "agent"]
    rates = []
    with ground.connect("postgres") as owner:
        owner.execute("ANALYZE")
        owner.execute("SET ROLE prov_owner")
        for _ in range(3):
            begun = time.monotonic()
            report = reconcile(owner, ground.keys("web"), tables=tables)
            if report.rows < count:
                raise RuntimeError(f"{report.rows} of {count} rows were compared")
            rates.append(report.rows / (time.monotonic() - begun))
    return [
        Figure(
            name="15 reconcile rows with the log",
            value=sorted(rates)[1],
            unit="/s",
            goal=Goal(kind="least", bound=20_000, of_value=True),
            note=f"{count:,} agents",
        )
    ]
