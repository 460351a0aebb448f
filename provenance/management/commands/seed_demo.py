"""`./manage.py seed_demo`: fill the demo workspace, once. `up` calls it; so may you."""

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from gateway.errors import UpstreamError
from provenance.command import OurCommand
from provenance.home import Home, replace_text
from provenance.management.demo import seed_file
from provenance.management.demo.seeding import NotADemo, seed_demo
from provenance.management.demo.waiting import NobodyIsAsked, wait_for_approval

LONGEST_WAIT_SECONDS = 180.0


class Command(OurCommand):
    """Fill the demo workspace. A second time changes nothing."""

    help = "Fill the demo workspace with people, agents, tools, workflows and two runs; a second time changes nothing."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The command line."""
        parser.add_argument(
            "--wait", action="store_true", help="then wait until the finance run waits for a person, and print its id"
        )

    def handle(self, *_arguments: Any, wait: bool, **_options: Any) -> None:
        """Run the command."""
        home: Home = settings.HOME
        seed = seed_file.load()
        try:
            if seed_demo(home, seed):
                self.stdout.write(f"The workspace {seed['workspace']['slug']} is filled; sign-ins: {home.demo_file}")
            else:
                self.stdout.write(f"The workspace {seed['workspace']['slug']} is there already; nothing was changed.")
            # Before the wait: a run that fails in it is told once, and the next start serves and shows it.
            replace_text(home.seeded_file, "The demo workspace was filled.\n")
            if wait:
                self.stdout.write(f"waiting {wait_for_approval(seed, seconds=LONGEST_WAIT_SECONDS)}")
        except (NotADemo, NobodyIsAsked, UpstreamError) as problem:
            raise CommandError(str(problem)) from problem
