"""`./manage.py bench audit-tamper`: 10,000 random changes of a sealed log by every power, every one to be found (goal 2)."""

import multiprocessing
import secrets
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.figures import Figure, Goal
from bench.ground import ground
from provenance.terminal import Bar

CASES, QUICK_CASES = 10_000, 500
SIDE_BY_SIDE = 2
"""Processes, each with servers of its own: a case is one question after the other, and keeps one processor busy."""


def measure(*, quick: bool, only: str = "", count: int = 0) -> list[Figure]:
    """Play; `only` is a seed to play again."""
    seed = int(only) if only else secrets.randbelow(1 << 32)
    cases = range(count or (QUICK_CASES if quick else CASES))
    begun = time.monotonic()
    with ProcessPoolExecutor(SIDE_BY_SIDE, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(_part, seed, cases[number::SIDE_BY_SIDE], number) for number in range(SIDE_BY_SIDE)]
        outcomes = [part.result() for part in parts]
    missed = [words for outcome in outcomes for words in outcome.missed]
    counts = sum((outcome.counts for outcome in outcomes), Counter())
    for words in missed:
        print(f"MISSED {words}")
    return [
        Figure(
            name=f"2 random changes found, first index named, seed {seed}",
            value=(1 - len(missed) / len(cases)) * 100,
            unit="%",
            peers=dict(sorted(counts.items())),
            goal=Goal(kind="least", bound=100, of_value=True),
            note=f"{len(cases):,} cases in {time.monotonic() - begun:.0f} s",
        )
    ]


def _part(seed: int, cases: range, number: int) -> Any:
    """Every other case, on servers of its own. The first part shows how far both are."""
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
        bar = Bar(sys.stderr)
        outcome = play(
            world,
            seed=seed,
            cases=cases,
            told=lambda done: bar.show(done, len(cases)) if number == 0 else None,
        )
        if number == 0:
            bar.end()
        return outcome
