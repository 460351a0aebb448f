"""A place that is asked once an hour or a day is asked so often, whatever restarts meanwhile (audit.md 4.5)."""

import threading
import time

import pytest

from audit.anchors import AnchorFailed, couriers
from audit.anchors.couriers import Courier
from tests import databases
from tests.audit import sealing
from tests.audit.published import ORIGIN, note, sizes

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = 3600.0


class Rare:
    name, where = "rare", "somewhere"

    def __init__(self, every_seconds=HOUR):
        self.every_seconds = every_seconds
        self.asked = []
        self.fails = False

    def carry(self, notes):
        self.asked.append(notes[ORIGIN])
        if self.fails:
            raise AnchorFailed("it takes nothing")


@pytest.fixture
def place(monkeypatch):
    monkeypatch.setattr(couriers, "LOOK_SECONDS", 0.01)
    return Rare()


def courier_of(place):
    return Courier(place, lambda: databases.login("sealer"), lambda *_: None)


def working(courier, size, until=lambda: False, seconds=0.5):
    """Offer a note of that size and let it work, until something holds or for so long."""
    stop = threading.Event()
    courier.offer(ORIGIN, note(size))
    thread = threading.Thread(target=courier.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + (60 if seconds is None else seconds)
    while not until() and time.monotonic() < deadline:
        stop.wait(0.01)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def first_asked(place, size=1):
    working(courier_of(place), size, lambda: len(place.asked) == 1, None)


def noted(ago):
    sealing.rows("UPDATE audit.status SET at = clock_timestamp() - make_interval(secs => %s) RETURNING 1", ago)


def test_what_comes_within_the_hour_waits(place):
    courier = courier_of(place)
    working(courier, 1, lambda: place.asked, None)
    working(courier, 2)
    assert sizes(place.asked) == [1]
    courier._due_at = time.monotonic()
    working(courier, 3, lambda: len(place.asked) == 2, None)
    assert sizes(place.asked) == [1, 3]


def test_a_restart_is_no_reason_to_ask_again(place):
    first_asked(place)
    working(courier_of(place), 2)
    assert sizes(place.asked) == [1]
    noted(HOUR + 1)
    working(courier_of(place), 3, lambda: len(place.asked) == 2, None)
    assert sizes(place.asked) == [1, 3]


def test_what_failed_is_tried_again_soon_and_at_once_after_a_restart(place):
    place.fails = True
    courier = courier_of(place)
    working(courier, 1, lambda: place.asked, None)
    assert 0 < courier._due_at - time.monotonic() <= couriers.AGAIN_SECONDS
    place.fails = False
    working(courier_of(place), 2, lambda: len(place.asked) == 2, None)
    assert sizes(place.asked) == [1, 2]


def test_a_time_from_the_future_puts_it_off_by_one_interval_at_most(place):
    first_asked(place)
    noted(-100 * HOUR)
    courier = courier_of(place)
    working(courier, 2)
    assert courier._due_at - time.monotonic() <= HOUR


def test_a_place_that_is_asked_often_is_asked_once_more_at_the_end():
    place = Rare(every_seconds=60.0)
    working(courier_of(place), 1, seconds=0.05)
    assert sizes(place.asked) == [1]
