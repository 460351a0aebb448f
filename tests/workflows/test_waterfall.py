"""The geometry of the timeline: work to scale, waiting apart."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.waterfall import TICK_ROOM, WAIT_SHARE, Axis, Span, tick_words, words

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def span(start, end):
    return Span(START + timedelta(seconds=start), START + timedelta(seconds=end))


def test_without_waiting_everything_is_to_scale():
    axis = Axis(span(0, 40))
    assert [axis.at(START + timedelta(seconds=s)) for s in (0, 10, 40)] == [0, 25, 100]


def test_three_hours_of_waiting_leave_room_for_twenty_seconds_of_work():
    axis = Axis(span(0, 10_820), [span(10, 10_810)])
    assert axis.active_seconds == 20
    assert axis.waiting_seconds == 10_800
    assert axis.bar(span(10, 10_810)).width == WAIT_SHARE
    assert axis.bar(span(0, 10)).width == pytest.approx(axis.bar(span(10_810, 10_820)).width)


def test_overlapping_waits_count_once():
    assert Axis(span(0, 100), [span(10, 50), span(40, 60)]).waiting_seconds == 50


def test_a_run_that_only_waits_is_drawn():
    assert Axis(span(0, 60), [span(0, 60)]).bar(span(0, 60)).width == 100


moments = st.integers(min_value=0, max_value=100_000)
spans = st.tuples(moments, moments).map(lambda pair: span(min(pair), max(pair)))


@given(whole=spans, waits=st.lists(spans, max_size=12), bars=st.lists(spans, max_size=8))
def test_time_never_runs_backwards_and_no_bar_leaves_the_lane(whole, waits, bars):
    axis = Axis(whole, waits)
    places = [axis.at(START + timedelta(seconds=s)) for s in range(0, 100_000, 4_999)]
    assert places == sorted(places)
    for bar in map(axis.bar, bars):
        assert bar.width > 0
        assert bar.x >= -0.01
        assert bar.x + bar.width <= 100.02


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.004, "4 ms"), (1.7, "1.7 s"), (61, "1 min"), (2820, "47 min"), (11_100, "3 h 5 min")],
)
def test_durations_are_words(seconds, text):
    assert words(seconds) == text


def test_ticks_stand_at_round_moments_of_work_and_skip_the_wait():
    wait = span(4, 604)
    axis = Axis(span(0, 610), [wait])
    ticks = axis.ticks()
    assert [label for _, label in ticks] == ["0 s", "2 s", "4 s", "6 s", "8 s"]
    positions = {label: x for x, label in ticks}
    assert positions["4 s"] == pytest.approx(axis.at(START + timedelta(seconds=4)), abs=0.01)
    assert positions["6 s"] == pytest.approx(axis.at(START + timedelta(seconds=606)), abs=0.01)


def test_words_of_ticks_do_not_run_into_each_other():
    waits = [span(start, start + 600) for start in (1, 700, 1400, 2100)]
    ticks = Axis(span(0, 2701), waits).ticks()
    assert len(ticks) > 1
    assert all(right - left >= TICK_ROOM for (left, _), (right, _) in pairwise(ticks))


def test_a_run_that_only_waited_has_no_ticks():
    assert Axis(span(0, 60), [span(0, 60)]).ticks() == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (0.5, "0.5 s"), (60, "60 s"), (300, "5 min"), (7200, "2 h")]
)
def test_tick_words(seconds, words):
    assert tick_words(seconds) == words
