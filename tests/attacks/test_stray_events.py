"""A superuser stores events that no sealer will ever come by: the transaction they name was sealed long ago."""

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
