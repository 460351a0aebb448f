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


@pytest.fixture
def place():
    made = factories.make_workspace()
    with enter(made.id):
        factories.make_member(made, roles={"admin"})
    return made


@pytest.mark.parametrize(("moved", "words"), MOVED, ids=[moved for moved, _words in MOVED])
def test_it_is_found_by_the_events_that_the_checkpoint_holds_and_by_the_clock(place, moved, words):
    sealing.seal()
    assert verify().is_good
    sealing.tamper(f"UPDATE audit.checkpoint SET at = {moved} WHERE workspace_id = %s", place.id)
    found = [(flaw.kind, flaw.problem) for log in verify().logs for flaw in log.flaws]
    assert [kind for kind, _problem in found] == ["checkpoint"]
    assert words in found[0][1]


def test_a_checkpoint_that_is_said_to_be_younger_than_the_next_one_is_found(place):
    sealing.seal()
    with enter(place.id):
        factories.make_member(place, roles={"viewer"})
    sealing.seal()
    first, second = (checkpoint.size for checkpoint in sealing.checkpoints(place.id))
    # As if it were long ago, neither before the events nor in the time to come.
    for size, moved in ((first, "at + interval '8 minutes'"), (second, "at - interval '8 minutes'")):
        sealing.tamper(
            f"UPDATE audit.checkpoint SET at = {moved} WHERE workspace_id = %s AND size = %s", place.id, size
        )
    [(index, problem)] = [(flaw.index, flaw.problem) for log in verify().logs for flaw in log.flaws]
    assert index == first - 1
    assert "and the next one for" in problem
