"""Writers, a sealer, kill -9 of both, and verification meanwhile: nothing is lost and nobody is blamed (goal 3).

A short seeded form; `./manage.py bench audit-alarms` writes 1,000,000 events with 16 writers and 50 kills.
"""

import pytest

from bench.alarms import Play, Stage
from provenance.home import Home
from tests import databases
from tests.audit import sealing

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_busy_log_whose_processes_are_killed_is_whole_and_raises_no_alarm(tmp_path):
    home = Home.locate()
    stage = Stage(
        urls={
            "owner": databases.admin_url_of_worker(),
            "sealer": databases.role_url("sealer"),
            "worker": databases.role_url("worker"),
        },
        mac_keys={f"{name}-1": home.read_key(f"mac-{name}") for name in sealing.SIGNERS},
        seeds=(b"e" * 32, b"m" * 32),
        installation=sealing.ORIGIN,
        folder=tmp_path,
        lease_seconds=0.5,
    )
    result = stage.play(Play(seed=20261130, events=2000, writers=3, kills=4))
    assert result.alarms == []
    assert result.sealed == result.committed + result.unsure >= 2000
    assert (result.killed_sealers, result.killed_writers) == (2, 2)
    assert result.verifications > 1
