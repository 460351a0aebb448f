"""`./manage.py rotate_keys web …`: give processes a new key to sign events with; on the host alone."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from audit import rotation
from audit.sealing.log_keys import REREAD_SECONDS
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.errors import ProvenanceError
from provenance.held_keys import PROCESSES, HeldKeys
from provenance.home import HomeError
from provenance.keyfiles import KeyRefused

WHOSE = "whose key; all: of every process; log: the ones that sign checkpoints"


class Command(OurCommand):
    """One process after the other. What was done before a failure stays done, and running it again goes on."""

    help = "Replace the keys under which processes sign events (every 90 days, or at once when one may have leaked)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which ones, and for how long the old ones stay good."""
        parser.add_argument("process", nargs="+", choices=[*PROCESSES, "all", "log"], help=WHOSE)
        parser.add_argument("--overlap", type=float, default=rotation.OVERLAP / timedelta(hours=1), metavar="HOURS")
        parser.add_argument(
            "--leaked", action="store_true", help="the old key ends now: processes may fail for a second"
        )
        parser.add_argument(
            "--old-is-lost", action="store_true", help="nobody has the old key: only the new one tells it"
        )
        parser.add_argument("--announce", action="store_true", help="only make the new key, which signs nothing yet")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Replace one key after the other."""
        keys: HeldKeys = settings.AUDIT_MAC_KEYS
        overlap = timedelta(0) if options["leaked"] else timedelta(hours=options["overlap"])
        if not timedelta(0) <= overlap <= rotation.LONGEST_OVERLAP:
            raise CommandError(f"Let the old key overlap for at most {rotation.LONGEST_OVERLAP.days} days.")
        named = set(options["process"])
        wanted = [process for process in PROCESSES if {process, "all"} & named]
        if "log" in named and options["leaked"]:
            raise CommandError(
                "Whoever has the log's key can say with it which key follows. Tell everybody who verifies not to trust it any "
                "more (docs/operations.md), and rotate without --leaked."
            )
        for process in [*wanted, *(["log"] if "log" in named else [])]:
            try:
                if process == "log":
                    self._rotate_log()
                else:
                    self._rotate(process, keys, overlap, options)
            except (ProvenanceError, KeyRefused, HomeError) as problem:
                raise CommandError(str(problem)) from problem
            except DatabaseError as problem:
                raise CommandError(f"The database did not take it: {str(problem).strip().splitlines()[0]}") from problem

    def _rotate(self, process: str, keys: HeldKeys, overlap: timedelta, options: dict[str, Any]) -> None:
        actor = Actor.system("rotate_keys", None)
        if options["announce"]:
            kid = rotation.announce(actor=actor, process=process, keys=keys)
            self.stdout.write(f"{kid} is made and signs nothing yet ({keys.source.name}).")
            return
        done = rotation.rotate(actor=actor, process=process, keys=keys, overlap=overlap, is_lost=options["old_is_lost"])
        self.stdout.write(f"{done.old} -> {done.new}; {done.old} ends at {done.old_ends_at:%Y-%m-%d %H:%M:%S} UTC.")
        self.stdout.write(f"  {done.left_to_do}")

    def _rotate_log(self) -> None:
        """Only the sealer has the old keys to say it with; so this makes the new ones, and the sealer does the rest."""
        for kid in rotation.announce_log_keys(settings.LOG_SEEDS, settings.LOG_TRANSIT):
            self.stdout.write(f"{kid} is made.")
        self.stdout.write(
            f"  The sealer takes it up in {REREAD_SECONDS} s, and tells it under the old key and the new one."
        )
