"""`./manage.py audit_keys WORKSPACE FILE`: the MAC keys of one workspace for an auditor's verifier."""

import contextlib
import os
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from audit.awaiting import NotSealed
from audit.exports import export_keys
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.db import enter
from provenance.permissions import Permission
from provenance.terminal import place_problem
from workspaces.lookups import workspace_of_slug
from workspaces.models import Workspace


class Command(OurCommand):
    """Write the keys to a new file that only this user can read."""

    help = "Write the MAC keys of one workspace to a file for `audit/verify.py --mac-keys`."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which workspace, and where to."""
        parser.add_argument("workspace", help="the workspace's short name or id")
        parser.add_argument("file", type=Path, help="the file to make")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Make the file; an existing one is never overwritten. The file stays only when the event was stored."""
        path: Path = options["file"]
        if hindrance := place_problem(path):
            raise CommandError(hindrance)
        workspace_id = known_workspace(options["workspace"])
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise CommandError(f"{path} exists; name a new file.") from error
        actor = Actor.system("audit_keys", workspace_id, [Permission.AUDIT_READ])
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file, enter(workspace_id):
                kids = export_keys(actor=actor, out=file)
        except NotSealed as error:
            path.unlink()
            raise CommandError(error.message) from error
        except BaseException:
            path.unlink()
            raise
        self.stdout.write(f"{path}: {', '.join(kids)}")


def known_workspace(name: str) -> UUID:
    """The workspace with this short name or id. Raises CommandError: keys of a workspace that is none verify nothing."""
    found = workspace_of_slug(name)
    if found is None:
        with contextlib.suppress(ValueError):
            found = _existing(UUID(name))
    if found is None:
        raise CommandError(f"There is no workspace {name!r}. Give its short name, as in its addresses, or its id.")
    return found


def _existing(workspace_id: UUID) -> UUID | None:
    with enter(workspace_id):
        return workspace_id if Workspace.objects.filter(workspace_id=workspace_id).exists() else None
