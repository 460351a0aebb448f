"""The geometry of a run's timeline: where each bar starts and how wide it is, in percent. Pure.

Waiting for a person takes hours where work takes seconds, so waiting is drawn with a fixed width and said to be "not to
scale"; everything else keeps its proportions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

WAIT_SHARE = 12.0
NARROWEST = 0.8
MOST_TICKS = 6
LAST_TICK = 94.0  # words of a later one would run out of the lane
TICK_ROOM = 16.0  # what the words of one tick need on the narrowest lane


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time; `end` is not before `start`."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar on the lane, in percent of its width."""

    x: float
    width: float


class Axis:
    """Maps moments of one run to percent. `waits` are the stretches that are not drawn to scale."""

    def __init__(self, whole: Span, waits: Iterable[Span] = ()) -> None:
        self.whole = whole
        self.waits = _merged([_clipped(wait, whole) for wait in waits])
        self.active_seconds = max(0.0, whole.seconds - sum(wait.seconds for wait in self.waits))
        self._points = self._scaled()

    @property
    def waiting_seconds(self) -> float:
        """How long nothing was done because somebody was asked."""
        return sum(wait.seconds for wait in self.waits)

    def at(self, moment: datetime) -> float:
        """Where a moment stands, from 0 to 100; moments outside of the run stand at its ends."""
        moment = min(max(moment, self.whole.start), self.whole.end)
        for (left, left_x), (right, right_x) in pairwise(self._points):
            if moment <= right:
                share = (moment - left) / (right - left) if right > left else 1.0
                return left_x + (right_x - left_x) * share
        return 100.0

    def bar(self, span: Span) -> Bar:
        """The bar of a span, never too narrow to be seen and never past the end."""
        x, end = self.at(span.start), self.at(span.end)
        width = max(NARROWEST, end - x)
        return Bar(x=round(min(x, 100 - width), 2), width=round(width, 2))

    def ticks(self) -> list[tuple[float, str]]:
        """Round moments of working time as (percent, words): 1, 2 or 5 of a unit, at most six; none without work.

        A moment whose words would run into the ones before it is left out.
        """
        if not self.active_seconds:
            return []
        step = next(size for size in _tick_sizes() if self.active_seconds / size < MOST_TICKS)
        count = int(self.active_seconds / step) + 1
        moments = [(round(self._at_active(step * number), 2), step * number) for number in range(count)]
        ticks: list[tuple[float, str]] = []
        free = 0.0
        for x, seconds in moments:
            if free <= x <= LAST_TICK:
                ticks.append((x, tick_words(seconds)))
                free = x + TICK_ROOM
        return ticks

    def _at_active(self, seconds: float) -> float:
        """Where the run had worked for so long."""
        for (left, left_x), (right, right_x) in pairwise(self._points):
            length = 0.0 if self._is_wait(left, right) else (right - left).total_seconds()
            if seconds <= length and length:
                return left_x + (right_x - left_x) * seconds / length
            seconds -= length
        return 100.0

    def _is_wait(self, start: datetime, end: datetime) -> bool:
        return any(wait.start <= start and end <= wait.end for wait in self.waits)

    def _scaled(self) -> list[tuple[datetime, float]]:
        """Breakpoints (moment, percent): every wait gets its share, the rest is divided by time."""
        wait_share = min(WAIT_SHARE, 60.0 / len(self.waits)) if self.waits else 0.0
        if self.waits and not self.active_seconds:
            wait_share = 100.0 / len(self.waits)
        active_share = 100.0 - wait_share * len(self.waits)
        points, x, moment = [(self.whole.start, 0.0)], 0.0, self.whole.start
        for wait in self.waits:
            x += self._width(wait.start, moment, active_share)
            points.append((wait.start, x))
            x += wait_share
            points.append((wait.end, x))
            moment = wait.end
        return [*points, (self.whole.end, 100.0)]

    def _width(self, end: datetime, start: datetime, active_share: float) -> float:
        if not self.active_seconds:
            return 0.0
        return (end - start).total_seconds() / self.active_seconds * active_share


def words(seconds: float) -> str:
    """A duration for people: `4 ms`, `1.7 s`, `47 min`, `3 h 5 min`."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tick_words(seconds: float) -> str:
    """A moment of the axis: `0 s`, `0.5 s`, `20 s`, `5 min`, `2 h`."""
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 else f"{seconds / 3600:g} h"


def _tick_sizes() -> Iterator[float]:
    """1, 2, 5 of every power of ten below a minute, then what clocks divide by."""
    yield from (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
    size = 3600.0
    while True:
        yield size
        size *= 2


def _clipped(span: Span, whole: Span) -> Span:
    start = min(max(span.start, whole.start), whole.end)
    return Span(start, max(start, min(span.end, whole.end)))


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda item: item.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        elif span.seconds > 0:
            merged.append(span)
    return merged
