"""Every power of the design's section 5 changes a sealed log at random, and each change is found where it is (M114).

A short seeded form; `./manage.py bench audit-tamper` plays 10,000 cases.
"""

import pytest

from bench.tampering.playing import MUTATIONS, play
from bench.tampering.world import World
from tests import databases
from tests.audit import sealing

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 2


@pytest.mark.parametrize("seed", [20261130])
def test_every_change_is_found_and_its_first_index_named(tmp_path, seed):
    with databases.admin() as owner:
        world = World(
            owner=owner,
            sealer=lambda: databases.login("sealer"),
            worker=lambda: databases.login("worker"),
            keys=sealing.all_keys,
            signer=sealing.SIGNER,
            installation=sealing.ORIGIN,
            kept=tmp_path / "anchor",
        )
        world.fill()
        outcome = play(world, seed=seed, cases=range(ROUNDS * len(MUTATIONS)))
    assert outcome.missed == []
    assert set(outcome.counts.values()) == {ROUNDS}
