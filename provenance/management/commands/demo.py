"""`./manage.py demo --headless`: play the story on the running installation and say how each step went."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from provenance.command import OurCommand
from provenance.home import Home
from provenance.management.demo import report, seed_file
from provenance.management.demo.report import Outcome
from provenance.management.demo.sign_ins import NoSignIns
from provenance.management.demo.story import on_stage
from provenance.terminal import place_problem


class Command(OurCommand):
    """Play the demo's story. Exit code 0 when every step went as it should, else 1."""

    help = "Play the story of the demo workspace through HTTP and check every step; `up` must be running."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--headless", action="store_true", required=True, help="without a browser window")
        parser.add_argument(
            "--keep",
            type=Path,
            metavar="FILE.zip",
            help="keep the exported bundle in this new file, and beside it FILE.pub",
        )

    def handle(self, *_arguments: Any, keep: Path | None, **_options: Any) -> None:
        """Run the command."""
        for file in (keep, keep.with_suffix(".pub")) if keep else ():
            if hindrance := place_problem(file):
                raise CommandError(f"{hindrance} Nothing was played.")
        home: Home = settings.HOME
        try:
            with on_stage(home, settings.PUBLIC_URL, seed_file.load(), keep=keep) as story:
                scenes = story.scenes()
                width = max(len(scene.name) for scene in scenes)

                def said(outcome: Outcome) -> None:
                    self.stdout.write(report.line(outcome, width=width))

                outcomes = report.play(scenes, said)
        except NoSignIns as problem:
            raise CommandError(str(problem)) from problem
        total = sum(outcome.milliseconds for outcome in outcomes)
        passed = sum(outcome.passed for outcome in outcomes)
        self.stdout.write(f"\n{passed} of {len(scenes)} steps went as they should, in {total / 1000:.1f} s.")
        if keep and keep.exists():
            self.stdout.write(
                f"The exported events are in {keep}, the keys to verify them with in {keep.with_suffix('.pub')}."
            )
        if passed < len(scenes):
            sys.exit(1)
