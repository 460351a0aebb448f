"""`./manage.py replay_erasures`: after a restore, erase again whoever the restored database still knows."""

from typing import Any

from django.core.management.base import CommandError

from provenance.command import OurCommand
from provenance.errors import ProvenanceError
from workspaces.erasure import replay
from workspaces.erasure_journal import JournalBroken


class Command(OurCommand):
    """No process serves before this is done; `up` does it by itself."""

    help = "Erase again whoever a restore brought back. Nothing serves before that."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Replay, and say how many there were."""
        try:
            count = replay()
        except (JournalBroken, OSError) as error:
            raise CommandError(str(error)) from error
        except ProvenanceError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{count} erasures were replayed." if count else "Every erasure is in this database.")
