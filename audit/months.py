"""Walking back through the months of the log: the newest first, and no month that the answer does not need.

One query over all months would be planned for each of them before the first row is read; after seven years that alone
takes longer than a page may. So a reader asks for a few months at a time and stops when the page is full, or when its
patience is over: an answer that says how far it looked is better than one that comes too late.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from provenance.db import ask
from provenance.ids import uuid7_floor

_FASTEST_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ids from `first` up to `end`, in whole months but for the edges of what was asked for."""

    first: UUID
    end: UUID


@dataclass(slots=True)
class Walk:
    """The stretches of a range of ids, the newest first: as many months at a time as the patience lasts for.

    `floors`: of `month_floors`. `first` None: from the oldest month there is. `patience_seconds` None: to the end, however
    long it takes. `cut`: where the newest part of a stretch begins that is to be looked at first. Iterate once; then `rest`
    is where it stopped, None when all was seen.
    """

    end: UUID
    floors: Sequence[UUID]
    first: UUID | None = None
    patience_seconds: float | None = None
    cut: Callable[[Stretch], UUID | None] = lambda _stretch: None
    rest: UUID | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Stretch]:
        """The stretches. What the reader does between two of them is what its pace is measured by."""
        floors = [floor for floor in self.floors if floor < self.end and (not self.first or floor > self.first)]
        if self.first:
            floors.append(self.first)
        elif not floors:
            return
        end, number, began = self.end, 1, time.monotonic()
        while floors:
            step_began, taken = time.monotonic(), floors[:number]
            cut = self.cut(Stretch(taken[-1], end))
            if cut is None:
                floors = floors[number:]
            first = cut or taken[-1]
            self.rest = first if floors else None
            yield Stretch(first, end)
            end, now = first, time.monotonic()
            number = 1 if cut else number * _FASTEST_GROWTH
            if self.patience_seconds is not None:
                left, pace = self.patience_seconds - (now - began), (now - step_began) / len(taken)
                if left <= 0:
                    return
                number = max(1, min(number, int(left / pace)))


def month_floors() -> list[UUID]:
    """The smallest id of each month that the log has, the newest month first."""
    return [uuid7_floor(datetime.strptime(name, "event_%Y_%m").replace(tzinfo=UTC)) for (name,) in ask(_MONTHS)]


_MONTHS = """
SELECT relname FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'audit.event'::regclass ORDER BY relname DESC
"""
