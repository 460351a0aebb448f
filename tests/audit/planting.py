"""Events put into the log past its one door, as a superuser puts them there."""

from collections.abc import Sequence
from typing import Any

from audit.envelope import SignedEvent
from bench.events import DETAIL_NAMES, NAMES, detail_columns, raw_columns

THIS_TRANSACTION = "pg_current_xact_id()"


def plant_rows(owner: Any, events: Sequence[SignedEvent], *, xid: str = THIS_TRANSACTION) -> None:
    """Store the rows of the events and of their details. `owner`: a cursor or connection of a superuser."""
    for event in events:
        columns = raw_columns(event)
        places = ", ".join(["%s"] * len(columns))
        owner.execute(f"INSERT INTO audit.event (xid, {NAMES}) VALUES ({xid}, {places})", columns)
        if event.detail:
            owner.execute(
                f"INSERT INTO audit.detail ({DETAIL_NAMES}) VALUES (%s, %s, %s, %s, %s, %s)", detail_columns(event)
            )
