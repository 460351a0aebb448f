"""A superuser moves the time that stands beside a checkpoint: nobody signed it, and pages show it."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.verifying.ranges import noted_wrongly
from provenance.db import enter
from provenance.ids import uuid7_floor
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


class TestClocksThatWerePutRight:
    """Whose clock was ahead for a while has a log that tells so, and no alarm for ever."""

    NOON = datetime.now(UTC) - timedelta(days=3)

    def wrong(self, *checkpoints):
        """Each a time in minutes from noon, and those of the events since the one before."""
        noted, ids = [], []
        for at, events in checkpoints:
            ids += [str(uuid7_floor(self.NOON + timedelta(minutes=minute))) for minute in events]
            noted.append((len(ids), self.NOON + timedelta(minutes=at)))
        return sorted(noted_wrongly(noted, ids, 0))

    def test_an_hour_ahead_and_back(self):
        assert self.wrong((0, [0]), (60, [59, 60]), (61, [61]), (2, [2]), (30, [20, 30]), (70, [70])) == []

    def test_events_of_both_sides_in_one_checkpoint(self):
        assert self.wrong((60, [60]), (1, [60, 1, 61]), (2, [2])) == []

    def test_while_it_is_still_ahead(self, monkeypatch):
        monkeypatch.setattr(self.__class__, "NOON", datetime.now(UTC))
        assert self.wrong((60, [60]), (1, [1])) == []

    def test_a_time_before_its_events_or_after_the_next_checkpoint_is_found(self):
        assert self.wrong((0, [0]), (60, [1]), (2, [2])) == [2]
        assert self.wrong((0, [0]), (-60, [1]), (2, [2])) == [2]
