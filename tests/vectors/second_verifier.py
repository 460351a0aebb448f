"""The verifier in JavaScript, which shares nothing with ours, held against it."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.audit.bundles import kinds

NODE = shutil.which("node")


def agree(cases, told, place):
    """The second verifier finds of each case what the first one told, at the same index."""
    listed = place / "cases.json"
    listed.write_text(json.dumps([for_node(**options) for options in cases.values()]))
    script = Path(__file__).parent / "verify.mjs"
    done = subprocess.run([NODE, str(script), str(listed)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    for name, theirs in zip(cases, json.loads(done.stdout), strict=True):
        ours = told[name]
        assert theirs["verdict"] == ours["verdict"], (name, theirs, ours)
        if ours["verdict"] != "unusable":
            assert (theirs["first_bad_index"], set(theirs["kinds"])) == (ours["first_bad_index"], kinds(ours)), name


def for_node(file, **options):
    """The same case as the second verifier takes it."""
    return {
        "file": str(file),
        "keys": options["key"].read_text().split(),
        "macKeys": json.loads(options["mac-keys"].read_text()),
        "since": options["since"].read_text() if "since" in options else None,
    }
