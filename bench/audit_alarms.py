"""`./manage.py bench audit-alarms`: 1,000,000 events by 16 writers, 50 times kill -9, and no false alarm (goal 3)."""

import secrets
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.figures import Figure, Goal
from bench.ground import ground
from provenance.held_keys import PROCESSES


def measure(*, quick: bool, only: str = "", count: int = 0) -> list[Figure]:
    """Play; `only` is a seed to play again."""
    seed = int(only) if only else secrets.randbelow(1 << 32)
    with ground() as here, tempfile.TemporaryDirectory() as folder:
        from bench.alarms import Play, Stage

        read = here.installation.home.read_key
        stage = Stage(
            urls={"owner": here.url("postgres"), "sealer": here.url("sealer"), "worker": here.url("worker")},
            mac_keys={f"{name}-1": read(f"mac-{name}") for name in PROCESSES},
            seeds=(b"e" * 32, b"m" * 32),
            installation="log.bench",
            folder=Path(folder),
            # Otherwise nearly all of it would be waiting for leases of killed sealers, and little would be sealed meanwhile.
            lease_seconds=1.0,
        )
        usual = Play(seed, 30_000, 16, 10) if quick else Play(seed, 1_000_000, 16, 50)
        wanted = replace(usual, events=count) if count else usual
        begun = time.monotonic()
        result = stage.play(wanted)
    for alarm in result.alarms:
        print(f"ALARM {alarm}")
    return [
        Figure(
            name=f"3 false alarms, seed {seed}",
            value=len(result.alarms),
            unit="",
            peers={
                "events committed": result.committed,
                "committed, by whoever died before noting it": result.unsure,
                "sealed": result.sealed,
                "verifications meanwhile": result.verifications,
                "writers killed": result.killed_writers,
                "sealers killed": result.killed_sealers,
            },
            goal=Goal(kind="most", bound=0, of_value=True),
            note=f"{time.monotonic() - begun:.0f} s",
        )
    ]
