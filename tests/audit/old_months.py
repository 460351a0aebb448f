"""Months of the log that are long over: events put there as they would have been, and what lets them go."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from audit import envelope
from audit.retention import services as retention
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.ids import uuid7, uuid7_floor
from tests import databases
from tests.audit import sealing
from tests.audit.planting import plant_rows

LONG_AGO = datetime(2018, 3, 14, 9, tzinfo=UTC)


def old_events(
    monkeypatch,
    at,
    *,
    workspace_id,
    count=3,
    event=Event.MODEL_CALLED,
    run_id=None,
    process="web",
    detail=None,
    **facts,
):
    """Sealed events of that moment, put there as they would have been."""
    at = at.replace(microsecond=0)
    ids = (
        uuid7_floor(at).int + (0x7 << 76) + (0b10 << 62) + number for number in itertools.count(uuid7().int & 0xFFFFFF)
    )
    monkeypatch.setattr(envelope, "uuid7", lambda: type(uuid7())(int=next(ids)))
    made = [
        envelope.build(
            keys=sealing.all_keys(process),
            actor=Actor.system("tests", workspace_id),
            event=event,
            target=envelope.ObjectFacts(**{"type": "model", "id": "m", **facts}),
            workspace_id=workspace_id,
            detail=detail or {"prompt": f"What is {number}?"},
            context=envelope.EventContext(run_id=run_id),
            now=at,
        )
        for number in range(count)
    ]
    monkeypatch.undo()
    month = f"{at:%Y_%m}"
    begin = at.replace(day=1, hour=0, minute=0, second=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    with databases.admin() as owner, owner.transaction():
        for parent in ("event", "detail"):
            owner.execute("SET LOCAL ROLE prov_owner")
            owner.execute(
                f"CREATE TABLE IF NOT EXISTS audit.{parent}_{month} PARTITION OF audit.{parent} "
                f"FOR VALUES FROM ('{uuid7_floor(begin)}') TO ('{uuid7_floor(end)}')"
            )
            owner.execute("RESET ROLE")
        # The sealer does not look for ids from before the server's start.
        owner.execute("UPDATE audit.sealer SET sealed_before = '00000000-0000-0000-0000-000000000000'")
        plant_rows(owner, made)
    sealing.seal()
    return made


@pytest.fixture
def drop_months():
    """Takes away the months that a test made."""
    yield
    with databases.admin() as owner:
        for (name,) in owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relispartition AND relkind = 'r'"
            " AND right(relname, 7) < to_char(now() - interval '1 month', 'YYYY_MM')"
        ).fetchall():
            owner.execute(f"DROP TABLE audit.{name}")


def sweep(as_role):
    retention._swept.cache_clear()
    with as_role("worker"):
        retention.erase_due(datetime.now(UTC))


def expire(as_role, month="event_2018_03"):
    with as_role("retention"):
        return retention.expire_month(month)
