"""`./manage.py audit_stream CURSOR`: what is new in the log of the instance, for whatever ships logs from this host.

A workspace's log goes to receivers that its administrators set up. That of the instance (sign-ins, accounts, keys, walls, what
the watch and the sealer find) is of no workspace, so it leaves where its operator is: on the host, through a pipe.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from audit.management.reader import instance_reader
from audit.management.refusals import told
from audit.services import Target, record
from audit.taxonomy import Event
from audit.tree import Tree
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.errors import ProvenanceError
from streams.of_instance import Place, news

PAUSE_SECONDS = 1.0


class Command(OurCommand):
    """Write one line of JSON for each event, in the order of the log, and note how far that was once it is written."""

    help = (
        "Print what is new in the log of the instance, one JSON line for each event: the native record of docs/streams.md. "
        "At least once and in order; the first time is itself an event."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Where it notes how far it came, and whether it goes on."""
        parser.add_argument(
            "cursor", type=Path, help="the file in which it notes how far it came; made at the first time"
        )
        parser.add_argument("--follow", action="store_true", help="go on with what comes, until stopped")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print and note, batch by batch."""
        cursor: Path = options["cursor"]
        try:
            place = _place(cursor)
            with closing(instance_reader(autocommit=True)) as reader:
                tree = Tree(lambda statement, parameters: reader.execute(statement, parameters).fetchall())
                place = self._print(tree, place, cursor)
                while options["follow"]:
                    time.sleep(PAUSE_SECONDS)
                    place = self._print(tree, place, cursor)
        except ProvenanceError as problem:
            raise CommandError(problem.message) from problem
        except psycopg.Error as problem:
            raise CommandError(f"The log of the instance could not be read: {told(problem)}") from problem
        except KeyboardInterrupt:
            return

    def _print(self, tree: Tree, place: Place, cursor: Path) -> Place:
        for lines, after in news(tree, place):
            self.stdout.write("".join(f"{line}\n" for line in lines), ending="")
            # Noted only when whoever reads has it: after a crash it comes again.
            self.stdout.flush()
            after.note(cursor)
            place = after
        return place


def _place(cursor: Path) -> Place:
    try:
        return Place.noted(cursor) or _begun(cursor)
    except (OSError, ValueError) as problem:
        raise CommandError(f"{cursor} cannot be used as a cursor: {problem}. Name another file.") from problem


def _begun(cursor: Path) -> Place:
    """Before the first event; that they leave from now on is told."""
    with transaction.atomic():
        record(
            actor=Actor.system("audit_stream", None),
            event=Event.AUDIT_EXPORTED,
            target=Target("audit_log", "instance"),
            detail={"cursor": cursor.name},
        )
        Place().note(cursor)
    return Place()
