"""The kept bundles and proofs, each with the keys to read it, and what our verifier says of a file."""

from tests.audit.bundles import verified
from tests.vectors.make_bundles import PLACE


def case(name, key="workspace", **options):
    """The file of a case and the options of the verifier."""
    return {"file": PLACE / name, "key": PLACE / f"{key}.pub", "mac-keys": PLACE / f"{key}.keys"} | options


def said(file, **options):
    """What our verifier reports of a file; its exit code says the same."""
    code, report = verified(file, *(part for name, value in options.items() for part in (f"--{name}", value)))
    assert {"ok": 0, "failed": 1, "unusable": 2, "incomplete": 3}[report["verdict"]] == code
    return report


GOOD = {
    "whole": case("whole.zip"),
    "filtered": case("filtered.zip"),
    "part": case("part.zip", since=PLACE / "older.note"),
    "since": case("whole.zip", since=PLACE / "older.note"),
    "rotated": case("rotated.zip"),
    "instance": case("instance.zip", "instance"),
    "continued": case("continued.zip", "continued", **{"mac-keys": PLACE / "workspace.keys"}),
    "proof": case("event.tlog-proof"),
}
EXPIRED = case("expired.zip")
