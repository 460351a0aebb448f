"""`./manage.py release_halt WORKSPACE HALT --as EMAIL --reason TEXT`: let a halted scope work again."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from provenance.command import OurCommand
from provenance.db import enter, workspace_of
from provenance.errors import ProvenanceError
from provenance.ids import parse_public_id
from workspaces.host import member_on_host
from workspaces.services import release_halt


class Command(OurCommand):
    """Release a halt as a member who may."""

    help = "Release a halt, as a member who may release halts."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which halt, who, and why."""
        parser.add_argument("workspace", help="the workspace's short name")
        parser.add_argument("halt", help="the halt's id, hlt_…, as GET /api/v1/halts lists it")
        parser.add_argument("--as", dest="email", required=True, help="the address of the member who releases it")
        parser.add_argument("--reason", required=True, help="why it may work again")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Release it, with its event."""
        try:
            actor = member_on_host(workspace=options["workspace"], email=options["email"])
            with enter(workspace_of(actor)):
                halt = release_halt(
                    actor=actor, control_id=parse_public_id("hlt", options["halt"]), reason=options["reason"]
                )
        except ProvenanceError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"The {halt.scope_kind} {halt.scope_id} works again.")
