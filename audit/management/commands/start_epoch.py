"""`./manage.py start-epoch --reason TEXT`: begin the log anew after a restore that lost what was published."""

import getpass
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.notes import BadNote
from audit.sealer import NothingToContinue, Sealer, from_settings
from audit.sealing.lease import LEASE_SECONDS, LostLease
from provenance.command import OurCommand

PAUSE_SECONDS = 0.5


class Command(OurCommand):
    """Start a new epoch of every log that does not continue what was published of it."""

    help = "Begin every log anew that does not continue what was published of it. Only after a restore, on the host."

    def add_arguments(self, parser: CommandParser) -> None:
        """Why."""
        parser.add_argument("--reason", required=True, help="why the database is behind what was published")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Begin them anew, each with a critical event."""
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("Give a reason: auditors will read it.")
        sealer = from_settings()
        try:
            found = _once_nobody_seals(sealer, f"{reason} (by {getpass.getuser()} on the host)")
        except NothingToContinue as nothing:
            raise CommandError("Every log continues what was published of it. Nothing was begun anew.") from nothing
        except LostLease as taken:
            raise CommandError("A sealer is at work, so nothing stands in its way. Nothing was begun anew.") from taken
        except BadNote as problem:
            raise CommandError(f"{problem}. Put the key of the log back first.") from problem
        finally:
            sealer.close()
        for one in found:
            what = one.published.origin if one.published else "a log"
            self.stdout.write(f"{what}: begun anew as epoch {one.next_epoch}. {one.problem}.")
        self.stdout.write("The sealer goes on within seconds. Tell your auditors and witnesses the new names.")


def _once_nobody_seals(sealer: Sealer, reason: str) -> list[Any]:
    """Wait for the lease of a sealer that was killed, and of one that is just looking."""
    deadline = time.monotonic() + LEASE_SECONDS + 2
    while True:
        try:
            return list(sealer.start_epoch(reason))
        except LostLease:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
