"""The line of points beside the rows of the log: sealed, not yet, missing; and the checkpoints that stand on it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from audit.selectors import EventRow
from audit.steps import SEALED_WITHIN
from audit.tree import SignedCheckpoint
from provenance.ids import uuid7_time

ROWS_BETWEEN = 8
"""A busy log has a checkpoint for every few events. More than one for so many rows would hide the events."""


class Point(StrEnum):
    """What the line shows beside an event. `GAP`: the log is sealed far beyond it and does not hold it."""

    SEALED = "sealed"
    OPEN = "open"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class RailRow:
    """One row of the table, and the checkpoint that stands above it on the line."""

    row: EventRow
    point: Point
    checkpoint: SignedCheckpoint | None = None


Wanted = tuple[int, int]
"""A log and an index in it."""


def railed(
    rows: Sequence[EventRow],
    newest: Mapping[int, datetime],
    checkpoints_over: Callable[[Sequence[Wanted]], Mapping[Wanted, SignedCheckpoint]],
) -> list[RailRow]:
    """The rows with their points. `newest`: when each log of the workspace was sealed last."""
    sealed_at = max(newest.values(), default=None)
    wanted = _wanted(rows)
    found = checkpoints_over(list(wanted.values())) if wanted else {}
    return [
        RailRow(row, _point(row, sealed_at), found.get(wanted[number]) if number in wanted else None)
        for number, row in enumerate(rows)
    ]


def _wanted(rows: Sequence[EventRow]) -> dict[int, Wanted]:
    """Above which rows a checkpoint is to stand: the first sealed one, and then at a distance."""
    wanted: dict[int, Wanted] = {}
    last = -ROWS_BETWEEN
    for number, row in enumerate(rows):
        if row.log_id is not None and row.log_index is not None and number - last >= ROWS_BETWEEN:
            wanted[number] = (row.log_id, row.log_index)
            last = number
    return wanted


def _point(row: EventRow, sealed_at: datetime | None) -> Point:
    if row.log_index is not None:
        return Point.SEALED
    if sealed_at is not None and sealed_at - uuid7_time(row.event.pk) > SEALED_WITHIN:
        return Point.GAP
    return Point.OPEN
