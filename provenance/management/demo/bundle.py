"""An exported bundle: checked by the stand-alone verifier in a process of its own, then read for the story's events."""

import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from provenance.home import CHECKOUT

VERIFIER = CHECKOUT / "audit" / "verify.py"
VERIFY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Event:
    """One signed event of a bundle with its erasable detail."""

    body: dict[str, Any]
    detail: dict[str, Any]

    @property
    def action(self) -> str:
        """What happened, for example `approval.approved`."""
        return str(self.body["action"])

    @property
    def run(self) -> str:
        """The UUID of the run it belongs to, "" for none."""
        return str(self.body.get("context", {}).get("run_id", ""))


@dataclass(frozen=True, slots=True)
class Bundle:
    """The events of a bundle, in the order of the log."""

    events: list[Event]

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the zip holds."""
        with zipfile.ZipFile(path) as zipped:
            details = {line["idx"]: line.get("body") for line in _lines(zipped, "details.jsonl")}
            return cls(
                [
                    Event(json.loads(line["body"]), json.loads(details.get(line["idx"]) or "{}"))
                    for line in _lines(zipped, "events.jsonl")
                ]
            )

    def of_run(self, run_id: str) -> list[Event]:
        """The events of one run."""
        return [event for event in self.events if event.run == run_id]


def verify(bundle: Path, public_keys: str, mac_keys: str) -> str:
    """What the verifier found, in a few words. It gets a directory with itself, the bundle and these keys, and no more.

    Raises RuntimeError with the verifier's findings when the bundle does not verify.
    """
    with tempfile.TemporaryDirectory(prefix="provenance-verify-") as directory:
        place = Path(directory)
        (place / VERIFIER.name).write_bytes(VERIFIER.read_bytes())
        (place / "bundle.zip").write_bytes(bundle.read_bytes())
        (place / "bundle.pub").write_text(public_keys, "utf-8")
        key_file = place / "workspace.keys"
        key_file.touch(mode=0o600)
        key_file.write_text(mac_keys, "utf-8")
        options = ["--key", "bundle.pub", "--mac-keys", "workspace.keys"]
        # -I: no environment, no user site, nothing of the checkout on the path.
        done = subprocess.run(
            [sys.executable, "-I", VERIFIER.name, "bundle.zip", *options],
            cwd=place,
            env={},
            capture_output=True,
            text=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"the verifier ended with {done.returncode}: {done.stderr.strip()[-300:]}") from None
    if done.returncode or report["verdict"] != "ok":
        raise RuntimeError(f"the verifier found: {json.dumps(report.get('findings', report))[:500]}")
    if report["not_checked"] or not report["complete"]:
        raise RuntimeError(f"the verifier did not check everything: {report['not_checked'] or 'a part of the log'}")
    return (
        f"{report['events']} events of {report['size']}, signed and in their places; {report['details']} details, "
        f"{report['objects']} objects without a gap"
    )


def _lines(zipped: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in zipped.read(name).splitlines()]
