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
    places = [_place(row) for row in rows]
    wanted = [place for place in places if place]
    found = checkpoints_over(wanted) if wanted else {}
    standing = _standing([found.get(place) if place else None for place in places])
    return [RailRow(row, _point(row, sealed_at), above) for row, above in zip(rows, standing, strict=True)]


def _place(row: EventRow) -> Wanted | None:
    return (row.log_id, row.log_index) if row.log_id is not None and row.log_index is not None else None


def _standing(over: Sequence[SignedCheckpoint | None]) -> list[SignedCheckpoint | None]:
    """Each checkpoint once, above the first row that is in it, and at a distance from the one before."""
    standing: list[SignedCheckpoint | None] = []
    last, before = -ROWS_BETWEEN, None
    for number, checkpoint in enumerate(over):
        begins = checkpoint is not None and checkpoint != before
        stands = begins and number - last >= ROWS_BETWEEN
        standing.append(checkpoint if stands else None)
        last, before = number if stands else last, checkpoint or before
    return standing


def _point(row: EventRow, sealed_at: datetime | None) -> Point:
    if row.log_index is not None:
        return Point.SEALED
    if sealed_at is not None and sealed_at - uuid7_time(row.event.pk) > SEALED_WITHIN:
        return Point.GAP
    return Point.OPEN
