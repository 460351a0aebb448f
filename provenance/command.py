"""The base of our own management commands."""

from django.core.management.base import BaseCommand


class OurCommand(BaseCommand):
    """A command whose `--help` tells of what it takes, and not of what Django gives to every command. Both still work."""

    suppressed_base_arguments: set[str] = {
        "--version",
        "--verbosity",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
    }
    # Django's checks load every page. A test of the house runs them, and what serves looks at the walls.
    requires_system_checks: list[str] = []
