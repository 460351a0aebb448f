"""What somebody makes to fill the memory or the day of who verifies: it ends with a sentence, soon and in little memory."""

import json
import secrets
import subprocess
import sys
import zipfile

import pytest

from tests.audit.bundles import VERIFIER, fitting, members
from tests.vectors.make_bundles import PLACE

MOST_MIB = 160
SECONDS = 600
WHOLE = members(PLACE / "whole.zip")
# The largest the process ever was, of which a parent that is larger is no part.
MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(int(peak[0]) // 1024, file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc to see the memory")


def verified(path):
    """The report, and how much memory it took at most in MiB."""
    options = ["--key", PLACE / "workspace.pub", "--mac-keys", PLACE / "workspace.keys", "--jobs", "1"]
    command = [sys.executable, "-I", "-c", MEASURED, VERIFIER, path, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    return json.loads(done.stdout), int(done.stderr.splitlines()[-1])


def bundle(path, *, fits=True, method=zipfile.ZIP_DEFLATED, **changed):
    """The good one with other members: bytes, or parts of them that are too much to hold at once."""
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as out:
        for name, data in (WHOLE | {name.replace("_", "."): data for name, data in changed.items()}).items():
            if name != "MANIFEST.json" or not fits:
                with out.open(name, "w") as member:
                    for part in [data] if isinstance(data, bytes) else data:
                        member.write(part)
        if fits:
            out.writestr("MANIFEST.json", fitting(json.loads(WHOLE["MANIFEST.json"]), WHOLE))
    return path


def ranged(size):
    return f"provenance-range-proof@v1\nrange 0 {size} {size}\n".encode()


def detail(index, text):
    line = {"idx": index, "event_id": "x", "salt": "00" * 32, "media_type": "application/json", "erased_at": None}
    return json.dumps(line | {"body": text}, separators=(",", ":")).encode() + b"\n"


def of_events(count):
    """Lines with all that an event has, and nothing behind it; each of the same object."""
    line = json.loads(WHOLE["events.jsonl"].splitlines()[1])
    for index in range(count):
        yield json.dumps(line | {"idx": index}, separators=(",", ":")).encode() + b"\n"


def large():
    """A text that packs to a fiftieth."""
    return secrets.token_hex(2000) + "x" * 196_000


MADE = {
    "details larger than memory should be": (
        "failed",
        lambda: {"details_jsonl": (detail(index, large()) for index in range(1500)), "range_proof": ranged(60_000)},
    ),
    "a million small details": (
        "failed",
        lambda: {"details_jsonl": (detail(index, "") for index in range(500_000)), "range_proof": ranged(60_000)},
    ),
    "a hundred thousand events of one object": (
        "failed",
        lambda: {"events_jsonl": of_events(100_000), "range_proof": ranged(100_000), "method": zipfile.ZIP_STORED},
    ),
    "lines of nothing": ("failed", lambda: {"events_jsonl": [b"\n" * 2**19], "method": zipfile.ZIP_STORED}),
    "one line of 200 MB": ("unusable", lambda: {"details_jsonl": [b'{"idx":0,"x":"'] + [b"y" * 2**20] * 200}),
    "a bomb of events": ("unusable", lambda: {"events_jsonl": [b" " * 2**20] * 100}),
    "a bomb that is read whole": ("unusable", lambda: {"rotations": [b"\n" * 2**20] * 100}),
    "a deep manifest": ("unusable", lambda: {"MANIFEST_json": b'{"format":' + b"[" * 500_000, "fits": False}),
    "a number of a megabyte": (
        "unusable",
        lambda: {"MANIFEST_json": b'{"format":' + b"9" * 1_000_000 + b"}", "method": zipfile.ZIP_STORED, "fits": False},
    ),
    "a deep detail": ("failed", lambda: {"details_jsonl": b'{"idx":0,"body":' + b"[" * 200_000 + b"\n"}),
    "a deep event": (
        "failed",
        lambda: {"events_jsonl": b'{"idx":0,"body":' + b"[" * 200_000 + b"\n", "method": zipfile.ZIP_STORED},
    ),
    "a hash too many, a million times": (
        "failed",
        lambda: {"omitted_bin": [b"\x01" * 2**20] * 32, "method": zipfile.ZIP_STORED},
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_it_ends_in_bounded_memory(tmp_path, name):
    verdict, make = MADE[name]
    report, peak = verified(bundle(tmp_path / "hostile.zip", **make()))
    assert report["verdict"] == verdict
    assert report["message"] if verdict == "unusable" else len(report["findings"]) <= 1000
    assert peak < MOST_MIB
    assert len(json.dumps(report)) < 2**20


def test_a_directory_is_no_bundle(tmp_path):
    """And whatever lies or leads out of it is not looked at."""
    (tmp_path / "events.jsonl").symlink_to("/etc/passwd")
    report, _peak = verified(tmp_path)
    assert report == {
        "verdict": "unusable",
        "message": f"{tmp_path} is no file: a bundle is a zip as it was exported, and not unpacked.",
    }


@pytest.mark.parametrize(("name", "attributes"), [("events.jsonl", 0o120777), ("../events.jsonl", 0o100644)])
def test_a_member_that_leads_elsewhere_is_refused(tmp_path, name, attributes):
    """Nothing is ever unpacked here; who unpacks it by other means must not see another thing than was verified."""
    path = tmp_path / "leading.zip"
    with zipfile.ZipFile(path, "w") as out:
        for member, data in WHOLE.items():
            info = zipfile.ZipInfo(name if member == "events.jsonl" else member)
            info.external_attr = (attributes if member == "events.jsonl" else 0o100644) << 16
            out.writestr(info, data)
    assert verified(path)[0]["verdict"] == "unusable"
