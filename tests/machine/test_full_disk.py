"""A full disk is said in one sentence with the way out, and leaves nothing half-written."""

import os
import shlex
import subprocess
import sys

import pytest

from provenance.home import CHECKOUT

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--")


@pytest.fixture
def on_small_disk(tmp_path):
    """Run `./manage.py` with its data directory on a disk of so many bytes, which is gone afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(size, *arguments):
        manage = shlex.join([sys.executable, str(CHECKOUT / "manage.py"), *arguments])
        script = f"mount -t tmpfs -o size={size} none {disk} && {manage}; code=$?; find {disk} -name '.*.*'; exit $code"
        return subprocess.run(
            [*NAMESPACE, "sh", "-c", script],
            env={"PATH": os.environ["PATH"], "PROVENANCE_HOME": str(disk / "home")},
            capture_output=True,
            text=True,
            check=False,
        )

    if subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine lets nobody mount in a namespace of their own")
    return run


@pytest.mark.parametrize("size", ["40k", "20m"])
def test_a_full_disk_is_one_sentence_with_the_way_out(on_small_disk, three_free_ports, size):
    """Full while secrets are written, and full while the database cluster is made."""
    ended = on_small_disk(size, "up", "--port", str(three_free_ports))
    assert ended.returncode == 1
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("manage.py up: ")
    assert "is full" in sentence
    assert sentence.endswith("free 1 GB, or set PROVENANCE_HOME to a bigger disk.")
    assert not [line for line in ended.stdout.splitlines() if "keys/" in line]
