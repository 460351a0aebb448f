"""Days, weeks from Monday and months, in UTC: the periods of digests. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Period:
    """From `start`, included, to `end`, excluded."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """For people: the first and the last day."""
        last = self.end - timedelta(days=1)
        return f"{self.start:%Y-%m-%d}" if last == self.start else f"{self.start:%Y-%m-%d} to {last:%Y-%m-%d}"


def periods(kind: str, since: datetime, now: datetime) -> Iterator[Period]:
    """The whole periods that ended after `since` and not after `now`, oldest first."""
    start = _start(kind, since)
    while (end := _start(kind, start + _LONGER_THAN_ONE[kind])) <= now:
        yield Period(start, end)
        start = end


# Longer than every period of the kind and shorter than two.
_LONGER_THAN_ONE = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=32)}


def _start(kind: str, at: datetime) -> datetime:
    """The beginning of the period in which this moment lies."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == "monthly" else day
