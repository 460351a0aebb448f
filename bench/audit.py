"""The figures of the audit log: goals 4 to 10 and 15 of its page. Goal 13 is `audit-search`."""

import sys
import time

from bench import events
from bench.figures import Figure
from bench.ground import ground


def measure(*, quick: bool, only: str = "") -> list[Figure]:
    """Every part on one ground, one after the other; `only`: those whose name contains it."""
    with ground() as here:
        from bench import exporting, reconciling, saving, sealing, verifying, writing

        with here.connect("postgres") as admin:
            admin.execute(events.LIMIT_TABLES)
        parts = (
            *(writing.signing, writing.changes, writing.inserts, saving.saving, sealing.sealing),
            *(verifying.verifying, exporting.exporting, reconciling.reconciling),
        )
        figures: list[Figure] = []
        for part in parts:
            if only in part.__name__:
                print(f"measuring {part.__name__} …", file=sys.stderr)
                begun = time.monotonic()
                found = part(here, quick=quick)
                figures += found
                # At once, so that a part that fails later takes none of it along.
                for figure in found:
                    print(f"  {figure.name.strip()}: {figure.value:,.4g} {figure.unit}", file=sys.stderr)
                print(f"  {time.monotonic() - begun:.0f} s", file=sys.stderr)
        return figures
