"""`./manage.py audit_export LOG FILE.zip`: a bundle made on the host, of a workspace's log or of the log of the instance."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from audit.bundles import Source
from audit.exports import Bundle, export_bundle, export_instance
from audit.management.reader import instance_reader
from audit.tree import Tree
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.db import enter
from provenance.errors import ProvenanceError
from provenance.permissions import Permission
from provenance.terminal import Bar, place_problem
from workspaces.management.commands.audit_keys import known_workspace

INSTANCE = "instance"


class Command(OurCommand):
    """Write the bundle to a new file that only this user can read."""

    help = "Write a bundle of a log, to be checked with `audit/verify.py`."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which log, where to, and since when."""
        parser.add_argument(
            "log", help=f"the workspace's short name or id, or `{INSTANCE}` for the log of the instance"
        )
        parser.add_argument("file", type=Path, help="the file to make")
        parser.add_argument(
            "--since", type=Path, metavar="NOTE", help="an older checkpoint that the bundle must follow"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Make the file; an existing one is never overwritten, and none stays when it cannot be made whole."""
        path: Path = options["file"]
        if hindrance := place_problem(path):
            raise CommandError(hindrance)
        since = _text_of(options["since"]) if options["since"] else None
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            raise CommandError(f"{path} exists; name a new file.") from error
        bar = Bar(sys.stderr)
        try:
            made = self._export(options["log"], path, since=since, progress=bar.show)
        except ProvenanceError as problem:
            path.unlink()
            raise CommandError(problem.message) from problem
        except BaseException:
            path.unlink()
            raise
        finally:
            bar.end()
        told = made.manifest
        self.stdout.write(f"{path}: {made.events} events of {told['origin']}, entries {told['first']} to {told['end']}")

    def _export(self, log: str, path: Path, **wishes: Any) -> Bundle:
        if log == INSTANCE:
            actor = Actor.system("audit_export", None, [Permission.AUDIT_READ])
            with path.open("wb") as out, closing(instance_reader()) as reader, transaction.atomic():
                tree = Tree(lambda statement, parameters: reader.execute(statement, parameters).fetchall())
                source = Source(tree, lambda statement, parameters: reader.cursor().copy(statement, parameters))
                return export_instance(actor=actor, out=out, source=source, **wishes)
        workspace_id = known_workspace(log)
        actor = Actor.system("audit_export", workspace_id, [Permission.AUDIT_READ])
        with path.open("wb") as out, enter(workspace_id):
            return export_bundle(actor=actor, out=out, **wishes)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The older checkpoint {path} cannot be read: {error}") from error
