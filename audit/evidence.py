"""Evidence packs: for each control of a framework, the events that support it, in one archive to check offline (N18).

`standards.yaml` says which events support which control. A pack holds a bundle of all of them, the verifier, what the
verifier said, and a summary for each control, counted from the bundle itself and not from the database.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

import yaml

from audit.exports import export_bundle
from audit.judging import signed_body
from audit.selectors import EventFilters
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.errors import NotFound
from provenance.permissions import Permission

FORMAT = "provenance-evidence-pack/1"
STANDARDS = Path(__file__).with_name("standards.yaml")
VERIFIER = Path(__file__).with_name("verify.py")
VERIFY_SECONDS = 600
MOST_SAMPLES = 5
OF_THE_INSTANCE = frozenset(
    event.value
    for event in Event
    if event.domain in {"auth", "user"}
    or event in {Event.AUDIT_VERIFIED, Event.AUDIT_GUARD_CHECKED, Event.AUDIT_GUARD_MISSING}
)
"""What belongs to no workspace and stands in the log of the instance, so that a workspace's pack has none of it."""


@dataclass(frozen=True, slots=True)
class Control:
    """One control, in what way the log supports it, and what this version does not record for it."""

    id: str
    name: str
    supports: str
    events: tuple[str, ...]
    without: str = ""

    @property
    def actions(self) -> frozenset[str]:
        """The types of event that support it, with whole domains spelled out."""
        return frozenset(event.value for event in Event if event.value in self.events or event.domain in self.events)


@dataclass(frozen=True, slots=True)
class Framework:
    """A standard with its edition. The id alone says too little: numbers of controls move between editions."""

    id: str
    name: str
    edition: str
    controls: tuple[Control, ...]

    @property
    def actions(self) -> frozenset[str]:
        """Every type of event that supports one of its controls."""
        return frozenset[str]().union(*(control.actions for control in self.controls))


@dataclass(frozen=True, slots=True)
class Support:
    """What a pack holds for one control. `gap` says in words what is missing; empty when there is something."""

    control: str
    name: str
    supports: str
    count: int
    by_type: Mapping[str, int]
    samples: Sequence[str]
    gap: str


@cache
def frameworks() -> Mapping[str, Framework]:
    """Every framework by its id."""
    known = yaml.safe_load(STANDARDS.read_text("utf-8"))
    return {
        entry["id"]: Framework(
            id=entry["id"],
            name=entry["name"],
            edition=entry["edition"],
            controls=tuple(Control(**{**control, "events": tuple(control["events"])}) for control in entry["controls"]),
        )
        for entry in known
    }


def framework(framework_id: str) -> Framework:
    """The framework of that id. Raises `NotFound`."""
    try:
        return frameworks()[framework_id]
    except KeyError:
        raise NotFound(f"There is no framework {framework_id[:64]!r}; there are {', '.join(frameworks())}.") from None


def evidence_pack(*, actor: Actor, framework_id: str, times: EventFilters, out: IO[bytes]) -> list[Support]:
    """Write the pack of one framework; what it holds for each control. Of `times` only `since` and `until` count.

    Taking it is an event, that of the bundle inside; the caller commits before the bytes leave. Raises `NotFound`, and
    what `export_bundle` raises.
    """
    actor.require(Permission.AUDIT_READ)
    wanted = framework(framework_id)
    filters = EventFilters(since=times.since, until=times.until, actions=sorted(wanted.actions))
    with tempfile.TemporaryDirectory(prefix="provenance-evidence-") as directory:
        path = Path(directory) / "bundle.zip"
        with path.open("wb") as bundle:
            made = export_bundle(actor=actor, out=bundle, filters=filters)
        with path.open("rb") as bundle:
            controls = supported(wanted, bundle)
        facts = {
            "format": FORMAT,
            "framework": {"id": wanted.id, "name": wanted.name, "edition": wanted.edition},
            "workspace": str(actor.workspace_id),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "bundle": made.manifest,
            "controls": [asdict(control) for control in controls],
        }
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
            pack.writestr("README.txt", _read_me(wanted, facts["made_at"]))
            pack.writestr("controls.json", json.dumps(facts, indent=2, sort_keys=True) + "\n")
            pack.writestr("report.json", json.dumps(_verified(path), indent=2) + "\n")
            pack.write(VERIFIER, "verify.py")
            # Compressed already
            pack.write(path, "bundle.zip", compress_type=zipfile.ZIP_STORED)
    return controls


def supported(wanted: Framework, bundle: IO[bytes]) -> list[Support]:
    """What the events of a bundle say to each control of a framework."""
    counts: Counter[str] = Counter()
    samples: dict[str, list[str]] = defaultdict(list)
    with zipfile.ZipFile(bundle) as zipped, zipped.open("events.jsonl") as lines:
        for line in lines:
            # A text that is none of an event supports nothing; the verifier says so of it.
            body = signed_body(json.loads(line)["body"])
            action, event_id = body.get("action"), body.get("id")
            if isinstance(action, str) and isinstance(event_id, str):
                counts[action] += 1
                samples[action] += [event_id][: MOST_SAMPLES - len(samples[action])]
    return [_support(control, counts, samples) for control in wanted.controls]


def _support(control: Control, counts: Mapping[str, int], samples: Mapping[str, list[str]]) -> Support:
    by_type = {action: counts[action] for action in sorted(control.actions) if counts.get(action)}
    named = [event_id for action in by_type for event_id in samples[action]]
    elsewhere = sorted(control.actions & OF_THE_INSTANCE - by_type.keys())
    gaps = [] if by_type else ["no event of these types in this time"]
    if elsewhere:
        gaps.append(
            f"in the log of the instance, which the host exports (audit_export instance): {', '.join(elsewhere)}"
        )
    gaps += [f"not recorded: {control.without}"] if control.without else []
    return Support(
        control=control.id,
        name=control.name,
        supports=control.supports,
        count=sum(by_type.values()),
        by_type=by_type,
        samples=sorted(named)[:MOST_SAMPLES],
        gap="; ".join(gaps),
    )


def _verified(bundle: Path) -> Any:
    """What the verifier says about the bundle, in a process that has nothing of ours.

    With the keys that stand in it: that shows the bundle whole, and not whose it is. The reader brings the key for that.
    """
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(bundle), "--trust-bundle-keys"],
        cwd=bundle.parent,
        env={},
        capture_output=True,
        text=True,
        timeout=VERIFY_SECONDS,
        check=False,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"verdict": "unusable", "message": f"The verifier ended with {done.returncode}."}


def _read_me(wanted: Framework, made_at: object) -> str:
    return f"""\
Evidence for {wanted.name}, {wanted.edition}
made {made_at}

What is here supports judgments about the controls; it does not make them.

controls.json  for each control: what supports it, how many events, some of them by id, and what is missing
bundle.zip     those events with the proofs of the log: complete, because what is left out shows as bare hashes
report.json    what the verifier said when this pack was made, with the keys that stand in the bundle
verify.py      the verifier

Get the log's public key from whoever runs the platform, by another way than this pack. Then:

    python -I verify.py bundle.zip --key FILE.pub
"""
