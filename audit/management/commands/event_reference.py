"""`./manage.py event_reference`: write docs/event-reference.md from the taxonomy."""

from pathlib import Path
from typing import Any

from django.conf import settings

from audit.reference import event_reference
from provenance.command import OurCommand


class Command(OurCommand):
    """Write the page anew."""

    help = "Write docs/event-reference.md from audit/taxonomy.py."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Write the page."""
        page = Path(settings.BASE_DIR) / "docs" / "event-reference.md"
        page.write_text(event_reference(), encoding="utf-8")
        self.stdout.write(str(page))
