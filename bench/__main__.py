"""`./manage.py bench AREA [--quick]`: measure, print a table, write `bench/out/AREA.json`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from bench.figures import Figure, keep, table

AREAS = {
    "audit": "bench.audit",
    "audit-alarms": "bench.audit_alarms",
    "audit-search": "bench.audit_search",
    "audit-tamper": "bench.audit_tamper",
    "audit-verify": "bench.audit_verify",
}
"""Area -> the module whose `measure(quick=…)` gives its figures."""
COUNTED = frozenset(AREAS) - {"audit"}
"""Areas of one size, which can be another: `measure(quick=…, count=…)`."""

Measure = Callable[..., list[Figure]]


def main(arguments: Sequence[str]) -> int:
    """Measure one area; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="./manage.py bench", description="Measure one area; see bench/README.md.")
    parser.add_argument("area", choices=sorted(AREAS))
    parser.add_argument("--quick", action="store_true", help="under two minutes, and less sure")
    parser.add_argument("--only", default="", metavar="WORD", help="only the parts whose name contains it")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="that many events or cases, not the usual")
    options = parser.parse_args(arguments)
    if options.count and options.area not in COUNTED:
        parser.error(f"{options.area} has parts of several sizes: --count is for {', '.join(sorted(COUNTED))}")
    measure: Measure = import_module(AREAS[options.area]).measure
    wishes = {"count": options.count} if options.count else {}
    figures = measure(quick=options.quick, only=options.only, **wishes)
    print(table(figures))
    path = keep(options.area, figures)
    print(f"\n{path.relative_to(path.parents[2])} is written.")
    return int(any(figure.kept()["met"] is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
