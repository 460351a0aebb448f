"""`./manage.py bench audit-tamper`: 10,000 random changes of a sealed log by every power, every one to be found (goal 2)."""

import secrets
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Goal
from bench.ground import ground
from provenance.terminal import Bar

CASES, QUICK_CASES = 10_000, 500


def measure(*, quick: bool, only: str = "", count: int = 0) -> list[Figure]:
    """Play; `only` is a seed to play again."""
    seed = int(only) if only else secrets.randbelow(1 << 32)
    cases = count or (QUICK_CASES if quick else CASES)
    with ground() as here, tempfile.TemporaryDirectory() as kept, here.connect("postgres") as owner:
        from audit.notes import LogSigner
        from bench.tampering.playing import play
        from bench.tampering.world import World

        world = World(
            owner=owner,
            sealer=lambda: here.connect("sealer"),
            worker=lambda: here.connect("worker"),
            keys=here.keys,
            signer=LogSigner(b"e" * 32, b"m" * 32),
            installation="log.bench",
            kept=Path(kept),
        )
        world.fill()
        bar, begun = Bar(sys.stderr), time.monotonic()
        outcome = play(world, seed=seed, cases=cases, told=lambda done: bar.show(done, cases))
        bar.end()
    for missed in outcome.missed:
        print(f"MISSED {missed}")
    found = 1 - len(outcome.missed) / cases
    return [
        Figure(
            name=f"2 random changes found, first index named, seed {seed}",
            value=found * 100,
            unit="%",
            peers=dict(sorted(outcome.counts.items())),
            goal=Goal(kind="least", bound=100, of_value=True),
            note=f"{cases:,} cases in {time.monotonic() - begun:.0f} s",
        )
    ]
