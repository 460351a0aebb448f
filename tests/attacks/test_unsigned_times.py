"""A superuser moves the time that stands beside a checkpoint: nobody signed it, and pages show it."""

import pytest

from provenance.db import enter
from tests import factories
from tests.audit import sealing
from tests.audit.verifying import verify

pytestmark = pytest.mark.django_db(transaction=True)

MOVED = [
    ("at - interval '1 hour'", "and holds the event"),
    ("'-infinity'", "is noted for 2000-01-01 00:00:00 UTC, and holds the event"),
    ("at + interval '1 hour'", "is noted for"),
    ("'infinity'", "is noted for 9000-01-01 00:00:00 UTC"),
]


@pytest.mark.parametrize(("moved", "words"), MOVED, ids=[moved for moved, _words in MOVED])
def test_it_is_found_by_the_events_that_the_checkpoint_holds_and_by_the_clock(moved, words):
    place = factories.make_workspace()
    with enter(place.id):
        factories.make_member(place, roles={"admin"})
    sealing.seal()
    assert verify().is_good
    sealing.tamper(f"UPDATE audit.checkpoint SET at = {moved} WHERE workspace_id = %s", place.id)
    found = [(flaw.kind, flaw.problem) for log in verify().logs for flaw in log.flaws]
    assert [kind for kind, _problem in found] == ["checkpoint"]
    assert words in found[0][1]
