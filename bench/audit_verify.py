"""`./manage.py bench audit-verify`: 10 million events verified from Postgres by one process and by two (goal 9)."""

import shutil
import sys
import tempfile
import time

from bench.figures import Figure
from bench.ground import ground
from provenance.ids import uuid7

EVENTS, QUICK_EVENTS = 10_000_000, 300_000
BYTES_AN_EVENT = 3000
"""What an event with its detail takes on disk: rows, indexes, leaves, and what Postgres writes ahead of them."""


def measure(*, quick: bool, only: str = "", count: int = 0) -> list[Figure]:
    """On a ground of its own. There is one part, so `only` chooses nothing."""
    del only
    events = count or (QUICK_EVENTS if quick else EVENTS)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < events * BYTES_AN_EVENT:
        raise SystemExit(
            f"{events:,} events need {events * BYTES_AN_EVENT / 1e9:.0f} GB in {tempfile.gettempdir()}, and "
            f"{free / 1e9:.0f} GB are free. Let TMPDIR name a larger place, or take fewer: --count N."
        )
    with ground() as here:
        from bench.loading import load
        from bench.verifying import side_by_side

        began = time.monotonic()
        load(here, uuid7(), events, tells=True)
        print(f"loaded after {time.monotonic() - began:.0f} s; verifying …", file=sys.stderr)
        return side_by_side(here, events, rounds=1)
