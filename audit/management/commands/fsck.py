"""`./manage.py fsck`: hold the stored tree of each log against itself."""

import sys
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from audit.management.refusals import told
from audit.verifying.fsck import Fsck
from provenance.command import OurCommand
from provenance.postgres.names import signed_in
from provenance.terminal import Bar

COULD_NOT = 2


class Command(OurCommand):
    """Look at every tree and name what is not as it must be."""

    help = "Hold leaves, tiles and checkpoints of the log against each other. Ends with 1 when something does not fit."

    def add_arguments(self, parser: CommandParser) -> None:
        """What is too young to be sealed."""
        parser.add_argument(
            "--older-than", type=float, default=60, metavar="SECONDS", help="older events must be sealed (default: 60)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Look, and exit with a code that says how it went."""
        bar = Bar(sys.stderr)
        try:
            with signed_in(settings.SEALER_DATABASE_URL, autocommit=True) as connection:
                found = Fsck(connection, bar.show).run(options["older_than"])
        except psycopg.Error as problem:
            raise CommandError(f"The log could not be read: {told(problem)}", returncode=COULD_NOT) from problem
        finally:
            bar.end()
        for defect in found:
            place = "" if defect.index is None else f", index {defect.index}"
            self.stdout.write(f"!!  {defect.origin}{place}: {defect.problem}")
        if found:
            sys.exit(1)
        self.stdout.write("Leaves, tiles and checkpoints fit together, and every event has its leaf.")
