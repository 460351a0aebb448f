"""`./manage.py audit_vkeys WORKSPACE FILE.pub`: the public keys of a log's checkpoints, for an auditor's verifier."""

from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import CommandError, CommandParser

from audit.management.reader import workspace_named
from audit.management.refusals import told
from audit.sealer import from_settings
from audit.tree import Tree
from provenance.command import OurCommand
from provenance.terminal import place_problem

INSTANCE = "instance"


class Command(OurCommand):
    """Write the keys to a new file. They are no secret; what matters is that they do not come from the bundle."""

    help = "Write the public keys of a log's checkpoints to a file for `audit/verify.py --key`."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose log, and where to."""
        parser.add_argument(
            "workspace", help=f"the workspace's short name or id, or `{INSTANCE}` for the log of the instance"
        )
        parser.add_argument("file", type=Path, help="the file to make")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Make the file; an existing one is never overwritten.

        The keys are made of the sealer's own, not of what the database says of them: it may have been changed. Replaced
        ones are among them, so that bundles from before verify with the same file.
        """
        path: Path = options["file"]
        if hindrance := place_problem(path):
            raise CommandError(hindrance)
        sealer = from_settings()
        try:
            with sealer.connect() as connection:
                name = options["workspace"]
                workspace_id = None if name == INSTANCE else workspace_named(connection, name)
                tree = Tree(lambda statement, parameters: connection.execute(statement, parameters).fetchall())
                logs = tree.logs(workspace_id)
        except psycopg.Error as problem:
            raise CommandError(f"The database does not answer: {told(problem)}") from problem
        if not logs:
            raise CommandError(
                f"Nothing of {options['workspace']} is sealed yet: is this its id, and does the sealer run?"
            )
        keys = [
            key for log in logs for key in sealer.log_keys.signer.vkeys(log.origin, is_instance=workspace_id is None)
        ]
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write("".join(f"{key}\n" for key in keys))
        except FileExistsError as error:
            raise CommandError(f"{path} exists; name a new file.") from error
        self.stdout.write(f"{path}: {len(keys)} of {logs[-1].origin}")
