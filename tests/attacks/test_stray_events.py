"""A superuser stores events that no sealer will ever come by: the transaction they name was sealed long ago."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from audit.verifying.fsck import Fsck
from provenance.db import enter
from provenance.ids import uuid7, uuid7_floor
from tests import databases, factories
from tests.audit import sealing
from tests.audit.verifying import verify

pytestmark = pytest.mark.django_db(transaction=True)

STORED = """
INSERT INTO audit.event SELECT %s, '3'::xid8, workspace_id, object_type, object_id, rev, 'read', changed, action, actor_id,
  actor_type, outcome, risk, run_id, kid, mac, body FROM audit.event WHERE workspace_id = %s LIMIT 1
"""


@pytest.mark.parametrize("ahead", [timedelta(hours=-2), timedelta(hours=1), timedelta(days=33)])
def test_an_event_beside_the_log_is_found_whatever_its_time(ahead):
    """One whose time is to come would stand before all others on the page, and its time never comes."""
    place = factories.make_workspace()
    with enter(place.id):
        factories.make_member(place, roles={"admin"})
    sealing.seal()
    made = UUID(int=uuid7_floor(datetime.now(UTC) + ahead).int | uuid7().int & (1 << 80) - 1)
    sealing.tamper(STORED, made, place.id)
    assert f"The event {made} is not in the log of workspace {place.id}" in verify().problems
    with databases.login("sealer") as connection:
        found = [defect.problem for defect in Fsck(connection).run(60)]
    assert found == [f"the event {made} has no leaf in this log"]


def test_a_genuine_event_that_stands_again_in_another_month_is_found():
    """A list would show it twice, and who asks for it by its id sees one."""
    place = factories.make_workspace()
    with enter(place.id):
        factories.make_member(place, roles={"admin"})
    sealing.seal()
    ((event_id, here),) = sealing.rows(
        "SELECT id, tableoid::regclass::text FROM audit.event WHERE workspace_id = %s LIMIT 1", place.id
    )
    ((other, bounds),) = sealing.rows(_ANOTHER_MONTH, here)
    low, high = re.findall("'(.*?)'", bounds)
    with databases.admin() as owner:
        owner.execute(f"ALTER TABLE audit.event DETACH PARTITION {other}")
        try:
            owner.execute(f"INSERT INTO {other} SELECT * FROM audit.event WHERE id = %s", [event_id])
            # ATTACH looks at no rows of which a constraint says that they fit.
            fits = f"id IS NOT NULL AND id >= '{low}' AND id < '{high}'"
            owner.execute(f"ALTER TABLE {other} ADD CONSTRAINT fits CHECK ({fits}) NOT VALID")
            owner.execute("UPDATE pg_constraint SET convalidated = true WHERE conname = 'fits'")
        finally:
            owner.execute(f"ALTER TABLE audit.event ATTACH PARTITION {other} {bounds}")
            owner.execute(f"ALTER TABLE {other} DROP CONSTRAINT IF EXISTS fits")
    assert f"The event {event_id} lies in {other}, which is not its month" in verify().problems


_ANOTHER_MONTH = """
SELECT oid::regclass::text, pg_get_expr(relpartbound, oid) FROM pg_class JOIN pg_inherits ON inhrelid = oid
WHERE inhparent = 'audit.event'::regclass AND oid <> %s::regclass ORDER BY 1 DESC LIMIT 1
"""
