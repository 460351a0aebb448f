"""`./manage.py verify`: hold the log against its keys, its checkpoints and what was kept of them outside the database."""

import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import CommandError, CommandParser

from audit.anchors import readable
from audit.envelope import EventContext, ObjectFacts, build, storing
from audit.epochs import LogName, origin_of
from audit.management.reader import workspace_named
from audit.management.refusals import told
from audit.sealer import Sealer, from_settings
from audit.taxonomy import Event
from audit.verifying.verification import Report, Verification, Wanted
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.home import Home, replace_text
from provenance.readiness import problems
from provenance.terminal import Bar

COULD_NOT = 2
MOST_TOLD = 20
_VERIFIES = {
    "everything": "All of it verifies.",
    "since": "What came since the last time verifies; --full reads what was before once more.",
    "part": "What was asked for verifies.",
}
"""What may be said where nothing is wrong, by how much was read."""


class Command(OurCommand):
    """Verify, say what was found, and put into the log that it was done."""

    help = (
        "Verify the log: what came since the last time, or everything. Ends with 0 when all of it verifies, with 1 when "
        "something does not, and with 2 when it could not be looked at."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """How much of it."""
        parser.add_argument("--full", action="store_true", help="everything, not only what came since the last time")
        parser.add_argument("--workspace", help="only this workspace's log, by its id or short name; or `instance`")
        parser.add_argument("--range", type=_range, help="only these entries of that log, as FIRST..END")
        parser.add_argument(
            "--jobs", type=int, default=os.cpu_count() or 1, help="how many processes read side by side"
        )
        parser.add_argument("--json", help="write a report for programs to this file, or to the output with -")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Verify; exits with a code that says how it went."""
        if options["range"] and not options["workspace"]:
            raise CommandError(
                "Name the log of the range: --workspace NAME, or --workspace instance.", returncode=COULD_NOT
            )
        remembered = Home.locate().verified_file
        first, end = options["range"] or (0, None)
        is_partial = bool(options["full"] or options["range"])
        sealer = from_settings()
        only = self._log(sealer, options["workspace"]) if options["workspace"] else None
        wanted = Wanted(verified={} if is_partial else _known(remembered), only=only, first=first, end=end)
        bar = Bar(sys.stderr)
        # What a table or a function is made to show says nothing while another stands in its place.
        fallen = [f"a wall of the database: {problem}" for problem in problems()]
        try:
            report = _verification(sealer, options["jobs"], bar.show).run(wanted)
            report.problems += fallen
            if only is not None:
                _demand_something(report, first)
        except psycopg.Error as problem:
            words = " ".join([f"The log could not be read: {told(problem)}", *fallen[:MOST_TOLD]])
            raise CommandError(words, returncode=COULD_NOT) from problem
        finally:
            bar.end()
        try:
            _record(sealer, report, wanted)
        except psycopg.Error as problem:
            # What was found is not to be lost with it.
            report.problems.append(f"What was found could not be told in the log: {told(problem)}")
        if wanted.is_everything:
            _remember(remembered, report, is_whole=not wanted.verified)
        if options["json"]:
            _write(options["json"], report)
        if options["json"] != "-":
            self._tell(report, _scope(wanted))
        if not report.is_good:
            sys.exit(1)

    def _log(self, sealer: Sealer, name: str) -> LogName:
        """The log of that name. What a short name means is the database's word, so it is said."""
        if name == "instance":
            return LogName(None, 1)
        try:
            with sealer.connect() as connection:
                found = workspace_named(connection, name)
        except psycopg.Error as problem:
            raise CommandError(f"The log could not be read: {told(problem)}", returncode=COULD_NOT) from problem
        except CommandError as unknown:
            raise CommandError(str(unknown), returncode=COULD_NOT) from unknown
        if str(found) != name:
            self.stderr.write(f"{name} is the workspace {found}, as the database says; its log is the one of that id.")
        return LogName(found, 1)

    def _tell(self, report: Report, scope: str) -> None:
        for log in report.logs:
            self.stdout.write(
                f"{'ok' if not log.flaws else '!!'}  {log.origin}: entries {log.first} to {log.size}, {log.events} events"
                + (f", {log.expired} expired" if log.expired else "")
                + (f", {log.details} details" if log.details else "")
                + (f" ({log.erased} erased)" if log.erased else "")
            )
            for flaw in log.flaws[:MOST_TOLD]:
                about = f" (event {flaw.event})" if flaw.event else ""
                self.stdout.write(f"    index {flaw.index}: {flaw.problem}{about}")
            if len(log.flaws) > MOST_TOLD:
                self.stdout.write(f"    and {len(log.flaws) - MOST_TOLD} more; --json has them")
        for note in report.notes:
            self.stdout.write(f"    {note}")
        for problem in report.problems:
            self.stdout.write(f"!!  {problem}")
        rate = f"{report.events / report.seconds:,.0f} a second" if report.seconds else ""
        verdict = _VERIFIES[scope] if report.is_good else "IT DOES NOT VERIFY."
        self.stdout.write(f"{verdict} {report.events:,} events in {report.seconds:.1f} s ({rate}).")


def _verification(sealer: Sealer, jobs: int, progress: Callable[[int, int], None]) -> Verification:
    return Verification(
        connect=sealer.connect,
        keys=sealer.keys,
        signer=sealer.log_keys.signer,
        installation=sealer.origin,
        anchors=readable(sealer.places),
        jobs=jobs,
        with_indexes=True,
        progress=progress,
    )


def _scope(wanted: Wanted) -> str:
    if not wanted.is_everything:
        return "part"
    return "since" if wanted.verified else "everything"


def _record(sealer: Sealer, report: Report, wanted: Wanted) -> None:
    """Say in the log of the instance that it was verified, and how it went."""
    flawed = report.first_flaw
    facts: dict[str, Any] = {
        "logs": len(report.logs),
        "events": report.events,
        "scope": _scope(wanted),
        "problems": report.problems[:MOST_TOLD],
    }
    if flawed:
        origin, flaw = flawed
        facts |= {"log": origin, "first_index": flaw.index, "kind": flaw.kind, "problem": flaw.problem}
    signed = build(
        keys=sealer.keys,
        actor=Actor.system("audit.verify", None),
        event=Event.AUDIT_VERIFIED if report.is_good else Event.AUDIT_VERIFICATION_FAILED,
        target=ObjectFacts(type="audit_log", id=origin_of(sealer.origin, None)),
        workspace_id=None,
        detail=facts,
        context=EventContext(),
        outcome="success" if report.is_good else "failure",
    )
    with sealer.connect() as connection:
        connection.execute(*storing([signed]))


def _known(path: Path) -> dict[str, tuple[int, bytes]]:
    """What the verification before ended with. It lies outside the database; without it everything is verified."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text("utf-8"))["logs"]
        return {origin: (int(log["size"]), bytes.fromhex(log["root"])) for origin, log in kept.items()}
    return {}


def _remember(path: Path, report: Report, *, is_whole: bool) -> None:
    """Note up to where each log verifies; one that does not keeps what was noted before, where only what is new was looked at.

    What does not verify as a whole leaves nothing to go on from: a look at what is new would say that all is well.
    """
    before = {} if is_whole else _known(path)
    known = {origin: {"size": size, "root": root.hex()} for origin, (size, root) in before.items()}
    known |= {log.origin: {"size": log.size, "root": log.root} for log in report.logs if log.root and not log.flaws}
    if not report.problems:
        kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "logs": known}
        replace_text(path, json.dumps(kept, indent=1) + "\n")
    elif is_whole:
        path.unlink(missing_ok=True)


def _demand_something(report: Report, first: int) -> None:
    """Nothing looked at is nothing that verifies. A log that is gone is a problem of its own, and told as one."""
    if not report.logs and not report.problems:
        raise CommandError("Nothing was verified: there is no such log.", returncode=COULD_NOT)
    if report.logs and first and all(log.first >= log.size for log in report.logs):
        sizes = ", ".join(f"{log.origin} has {log.size} entries" for log in report.logs)
        raise CommandError(f"Nothing was verified from {first} on: {sizes}.", returncode=COULD_NOT)


def _write(name: str, report: Report) -> None:
    text = json.dumps(report.to_json(), indent=2) + "\n"
    if name == "-":
        sys.stdout.write(text)
    else:
        Path(name).write_text(text, "utf-8")


def _range(text: str) -> tuple[int, int]:
    first, dots, end = text.partition("..")
    if not dots or not first.isdecimal() or not end.isdecimal() or int(first) >= int(end):
        raise ArgumentTypeError("give two indices as FIRST..END, the end excluded")
    return int(first), int(end)
