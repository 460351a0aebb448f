"""`./manage.py expire`: let months of the log go whose seven years are over. A job on the host, once a month."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from audit.attestation import RowAltered
from audit.months import month_floors
from audit.retention.services import expire_month
from audit.schema.months import YEARS_KEPT
from provenance.command import OurCommand
from provenance.db import database_now
from provenance.ids import uuid7_time


class Command(OurCommand):
    """Without a month: every one that may go. What the database refuses stays, and the command says why and ends with 1."""

    help = "Let months of the log go whose seven years are over; their proofs go on holding."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which months."""
        parser.add_argument("month", nargs="*", help="for example event_2019_01; without one: all that may go")

    def handle(self, *_args: Any, month: list[str], **_options: Any) -> None:
        """Let them go, the oldest first, each in a transaction of its own."""
        refused, names = 0, month or _old_months()
        if not names:
            self.stdout.write(f"No month of the log is over {YEARS_KEPT} years old: all of it stays.")
        for name in names:
            try:
                events = expire_month(name)
            except (DatabaseError, RowAltered) as error:
                refused += 1
                self.stderr.write(f"{name}: {str(error).strip().splitlines()[0]}")
            else:
                self.stdout.write(f"{name} left the log with {events:,} events.")
        if refused:
            raise CommandError(f"{refused} months stay.")


def _old_months() -> list[str]:
    now = database_now()
    begins = [uuid7_time(floor) for floor in month_floors()]
    # One more month, because a month is over when the next begins.
    last = now.replace(year=now.year - YEARS_KEPT, day=1, hour=0, minute=0, second=0, microsecond=0)
    return sorted(f"event_{begin:%Y_%m}" for begin in begins if begin < last)
