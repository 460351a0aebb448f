"""`./manage.py resume_agent WORKSPACE AGENT --as EMAIL --reason TEXT`: let a suspended agent act again."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from agents.selectors import agent_detail
from agents.services import resume_agent
from provenance.command import OurCommand
from provenance.db import enter, workspace_of
from provenance.errors import ProvenanceError
from workspaces.host import member_on_host


class Command(OurCommand):
    """Resume an agent as a member who may."""

    help = "Let a suspended agent act again, as a member who may give trust."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which agent, who, and why."""
        parser.add_argument("workspace", help="the workspace's short name")
        parser.add_argument("agent", help="the agent's short name")
        parser.add_argument("--as", dest="email", required=True, help="the address of the member who resumes it")
        parser.add_argument("--reason", required=True, help="why it may act again")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Resume it, with its event."""
        try:
            actor = member_on_host(workspace=options["workspace"], email=options["email"])
            with enter(workspace_of(actor)):
                agent = agent_detail(actor, options["agent"]).agent
                resume_agent(actor=actor, agent_id=agent.pk, reason=options["reason"])
        except ProvenanceError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{agent.slug} may act again.")
