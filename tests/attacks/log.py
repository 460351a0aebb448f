"""Events as an attacker makes them, and a log that took one of them while its own check was away."""

import orjson
from django.db import connection

from audit.envelope import EventContext, ObjectFacts, SignedEvent, build, storing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7
from tests import databases
from tests.audit import sealing
from tests.audit.planting import plant_rows
from tests.audit.sealing import all_keys


def told_by(
    process: str, actor: Actor, event: Event = Event.APPROVAL_APPROVED, object_id: str = "", digest: str = ""
) -> SignedEvent:
    """What a process with that key can sign about an approval."""
    return build(
        keys=all_keys(process),
        actor=actor,
        event=event,
        target=ObjectFacts(type="approval", id=object_id or str(uuid7())),
        workspace_id=actor.workspace_id,
        context=EventContext(action_digest=digest),
    )


def send(event: SignedEvent) -> None:
    """Store an event as the process does whose key signed it, and seal it."""
    with databases.login(orjson.loads(event.body)["kid"].partition("-")[0]) as process, process.transaction():
        process.execute(f"SET LOCAL app.workspace_id = '{event.workspace_id}'")
        process.execute(*storing([event]))
    sealing.seal()


def plant(event: SignedEvent) -> None:
    """Store an event that the database would refuse."""
    role = databases.become("postgres")
    with connection.cursor() as cursor:
        plant_rows(cursor, [event])
    databases.become(role)
