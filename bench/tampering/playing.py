"""All powers in turn, each case with a seed of its own, and what was not found as it should be."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.tampering import database, details, hosts
from bench.tampering.world import TABLES, Expected, Mutate, World

VACUUM_EVERY = 100

MUTATIONS: dict[str, Mutate] = database.MUTATIONS | details.MUTATIONS | hosts.MUTATIONS


@dataclass(slots=True)
class Outcome:
    """How many changes there were of each kind, and what was not found as it should be."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def play(world: World, *, seed: int, cases: Sequence[int], told: Callable[[int], None] = lambda _done: None) -> Outcome:
    """These cases, one after the other; what was missed names seed and case, so that it can be played again."""
    outcome = Outcome()
    kinds = list(MUTATIONS)
    with world.laid_open():
        for done, case in enumerate(cases, start=1):
            # Each case has a seed of its own, and every kind its turn.
            kind = kinds[case % len(kinds)]
            expected = MUTATIONS[kind](world, random.Random(f"{seed}:{case}"))  # noqa: S311  to be played again
            if problem := world.look(expected):
                outcome.missed.append(f"{kind} (seed {seed}, case {case}): {problem}")
            outcome.counts[kind] += 1
            world.put_back()
            if done % VACUUM_EVERY == 0:
                world.owner.execute("VACUUM " + ", ".join(f"audit.{table}" for table in TABLES))
            told(done)
        if not world.look(Expected(world.origin, 0)).startswith("it verifies"):
            outcome.missed.append("the log that was put back does not verify")
    return outcome
