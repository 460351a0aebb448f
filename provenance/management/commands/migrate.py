"""`./manage.py migrate`: Django's, which also says when a database is of another version and cannot become one of this."""

from typing import Any

import psycopg
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from provenance import catalog, readiness

_OF_ANOTHER_VERSION = (
    "This database was made by another version of Provenance, and the migrations of this one do not make it theirs: {why} "
    "Go back to the version that made it, or start this one on an empty directory: "
    "PROVENANCE_HOME=/another/place ./manage.py up (with a database of your own: on an empty one). If the version did not "
    "change, somebody changed the database: see docs/operations.md, When a process does not serve."
)


class Command(migrate.Command):
    """Migrations may be edited until the first release. A database that has them already would keep what they were."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; what was there before must have become what this version makes of an empty database."""
        was_there = bool(MigrationRecorder(connection).applied_migrations())
        try:
            super().handle(*args, **options)
        except DatabaseError as problem:
            # Whoever may not do it learns that, and nothing about the version.
            if not was_there or isinstance(problem.__cause__, psycopg.errors.InsufficientPrivilege):
                raise
            why = f"{str(problem).strip().splitlines()[0]}."
            raise CommandError(_OF_ANOTHER_VERSION.format(why=why)) from problem
        is_whole = not any(options[name] for name in ("app_label", "plan", "check_unapplied", "prune"))
        if was_there and is_whole and (differing := readiness.differing_walls(catalog.found())):
            count = len(differing)
            why = f"{count} of its walls differ{'s' if count == 1 else ''}. {differing[0]}."
            raise CommandError(_OF_ANOTHER_VERSION.format(why=why))
