"""`audit.status`: who looks after the log, and how it is doing as it noted itself last. A row a subject."""

from typing import Any

import psycopg

SEALER = "sealer"
WATCH = "watch"
"""The worker that watches over the log (`audit.watched()`). Every other subject is a place for checkpoints; none has these names."""


def note_status(
    connection: psycopg.Connection[Any], subject: str, place: str = "", problem: str = "", size: int | None = None
) -> None:
    """Say how a subject is doing. An empty problem is none."""
    connection.execute(_NOTE, {"subject": subject, "place": place[:500], "problem": problem[:2000], "size": size})


_NOTE = """
INSERT INTO audit.status AS known (subject, place, problem, size)
VALUES (%(subject)s, %(place)s, %(problem)s, %(size)s)
ON CONFLICT (subject) DO UPDATE SET place = EXCLUDED.place, problem = EXCLUDED.problem, at = clock_timestamp(),
  size = COALESCE(EXCLUDED.size, known.size),
  since = CASE WHEN known.problem = EXCLUDED.problem THEN known.since ELSE clock_timestamp() END
"""
