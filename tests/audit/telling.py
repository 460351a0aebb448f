"""Events of no consequence, so that a log has something in it."""

from uuid import UUID

from django.db import connection, transaction

from audit.envelope import storing
from audit.services import Target, record
from audit.taxonomy import Event
from bench.events import make_workspace
from provenance.actor import Actor
from provenance.db import enter
from tests import databases
from tests.attacks.log import told_by
from tests.audit.sealing import WORKSPACE


def system(workspace_id: UUID | None = WORKSPACE) -> Actor:
    """Who tells them."""
    return Actor.system("tests", workspace_id)


def tell(workspace_id: UUID = WORKSPACE, count: int = 1) -> list[UUID]:
    """Events of a workspace, each in a transaction of its own; their ids."""
    ids = []
    for number in range(count):
        with enter(workspace_id):
            made = record(actor=system(workspace_id), event=Event.RUN_STARTED, target=Target("run", str(number)))
        ids.append(made.id)
    return ids


def in_a_new_workspace() -> UUID:
    """One event of a workspace that had none; the workspace's id."""
    with databases.admin() as owner:
        workspace_id = make_workspace(owner)
    event = told_by("setup", system(workspace_id), Event.RUN_STARTED)
    with databases.login("web") as web, web.transaction():
        web.execute("SELECT set_config('app.workspace_id', %s, true)", [str(workspace_id)])
        web.execute(*storing([event]))
    return workspace_id


def tell_the_instance() -> UUID:
    """An event of the instance's log; its id."""
    with transaction.atomic():
        return record(actor=system(None), event=Event.AUTHZ_DENIED, target=Target("source", "x"), outcome="blocked").id


def many(count, workspace_id=WORKSPACE):
    """Events of one transaction: quick to make."""
    made = [told_by("worker", system(workspace_id), Event.RUN_STARTED) for _ in range(count)]
    with databases.login("worker") as worker, worker.transaction():
        worker.execute(f"SET LOCAL app.workspace_id = '{workspace_id}'")
        worker.execute(*storing(made))
    return [event.id for event in made]


def fill_the_month(auditor, count=3000):
    """So many events, most of another workspace, that it matters which index is taken. The test's rollback takes them."""
    role = databases.become(databases.administrator())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO audit.event (id, xid, workspace_id, object_type, object_id, rev, op, changed, action, actor_id,
                                     actor_type, outcome, risk, run_id, kid, mac, body)
            SELECT (left(audit.uuid_floor(now())::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, pg_current_xact_id(),
                   CASE n %% 20 WHEN 0 THEN %s ELSE gen_random_uuid() END,
                   'thing', 'o' || n, NULL, 'read', '{}', 'x.y' || n %% 50, 'a' || n, 'system', 'success',
                   'low', gen_random_uuid(), 'web-1', sha256(''), '{}'
            FROM generate_series(1, %s) AS n
            """,
            [auditor.workspace_id, count],
        )
        cursor.execute("ANALYZE audit.event")
    databases.become(role)
