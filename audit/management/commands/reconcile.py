"""`./manage.py reconcile`: hold every governed row against the log and name each that somebody changed past the platform.

After a restore or a failover it is also where a person says that what these may have lost was looked into: `--reason`.
"""

import getpass
import json
import sys
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, transaction

from audit import timelines
from audit.attestation import MOST_TOLD, Altered
from audit.management.refusals import told
from audit.services import Entry, Target, record_all
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.timelines import Timeline
from audit.verifying.indexes import Found, untrue
from audit.verifying.reconcile import Report, governed_tables, reconcile
from provenance.actor import Actor
from provenance.command import OurCommand
from provenance.db import enter
from provenance.postgres.names import signed_in

OWNER = "prov_owner"
_BY_VERIFY = ("audit.event", "audit.leaf")
"""The largest tables, whose indexes `verify --full` holds against them."""
_THE_LOG = Target("audit_log", "instance")
DIFFERS = 1
NOT_CHECKED = 2
MOST_SHOWN = 100
_WHAT_TO_DO = (
    "The timeline {} is new here: the database was restored or a standby promoted, and calls may have been lost by it. Tools "
    "that must be called once are not called until somebody has looked into that: compare what their servers did since "
    'shortly before with the calls that the log knows, then run `./manage.py reconcile --reason "…"`.'
)


class Command(OurCommand):
    """Exit code 0: every row is what the log says. 1: some are not, and are named. 2: it could not be checked."""

    help = "Hold every governed row against the log. Exit code 1 when rows differ, 2 when it could not be checked."

    def add_arguments(self, parser: CommandParser) -> None:
        """What to compare, and how to say it."""
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        parser.add_argument("--table", action="append", help="only this table; may be given more than once")
        parser.add_argument(
            "--reason",
            help="after a restore or failover: what you looked into. When every row is right, tools that must be called "
            "once are called again",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Compare, tell the log what was found, and print it."""
        known = {table.name: table for table in governed_tables()}
        names = options["table"] or sorted(known)
        if unknown := sorted(set(names) - set(known)):
            raise CommandError(
                f"{', '.join(unknown)}: no governed table. There are {', '.join(sorted(known))}.",
                returncode=NOT_CHECKED,
            )
        if (reason := options["reason"]) is not None and (not reason.strip() or options["table"]):
            raise CommandError(
                "Give a reason that auditors can read, and not with --table: the whole database is reconciled.",
                returncode=NOT_CHECKED,
            )
        started = time.monotonic()
        keys = KeyRing.from_settings()
        try:
            # Before anything is called right that was read through them.
            indexes = Found() if options["table"] else untrue(_owner, schemas=("audit", "public"), but=_BY_VERIFY)
            with _owner() as connection:
                report = reconcile(connection, keys, tables=[known[name] for name in names], progress=self._progress)
                problems = [*indexes.problems, *report.problems]
                timeline, said = _settled(connection, keys, report.altered + len(problems), reason)
        except psycopg.Error as error:
            raise CommandError(f"Nothing was compared: {told(error)}", returncode=NOT_CHECKED) from error
        try:
            _tell(report, problems)
        except DatabaseError as error:
            # What was found is said here all the same.
            problems.append(f"The log was not told: {' '.join(str(error).split())}")
        seconds = time.monotonic() - started
        if options["json"]:
            self.stdout.write(_as_json(report, indexes, problems, timeline, seconds))
        else:
            self.stdout.write(_as_text(report, indexes, problems, seconds, said))
        if report.altered or problems:
            sys.exit(DIFFERS)

    def _progress(self, table: str, rows: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{table}: {rows:,} rows", ending="")


def _owner() -> psycopg.Connection[Any]:
    """Row security is for tenants; who holds all rows against the log must see all of them."""
    connection = signed_in(settings.MIGRATOR_DATABASE_URL, autocommit=True)
    connection.execute(f"SET ROLE {OWNER}")
    # Where somebody turned a policy on the owner as well, Postgres then refuses instead of hiding rows.
    connection.execute("SET row_security = off")
    return connection


def _settled(
    connection: psycopg.Connection[Any], keys: KeyRing, findings: int, reason: str | None
) -> tuple[Timeline, str]:
    """The timeline, marked if there is a reason for it and nothing was found; and what there is to say of it."""
    timeline = timelines.here(connection)
    if timeline.is_reconciled:
        return (
            timeline,
            f"The timeline {timeline.name} is reconciled already; the reason is not kept." if reason else "",
        )
    if not reason or findings:
        return timeline, _WHAT_TO_DO.format(timeline.name)
    if not timeline.is_sealed:
        # Whether it continues what was published is the sealer's to find out.
        raise CommandError(
            f"Every row is what the log says, and the timeline {timeline.name} is not reconciled: no sealer has gone on "
            "here yet. Start it; when it refuses, `./manage.py status` says why and what to do. Then run this again.",
            returncode=NOT_CHECKED,
        )
    timelines.mark_reconciled(
        connection, keys, timeline, reason=f"{reason.strip()} (by {getpass.getuser()} on the host)"
    )
    marked = replace(timeline, is_reconciled=True)
    return marked, f"The timeline {timeline.name} is reconciled: tools that must be called once are called again."


def _tell(report: Report, problems: list[str]) -> None:
    """One critical event for each workspace with findings: whoever reads only the log learns of it there."""
    if problems:
        facts = {"count": len(problems), "problems": problems[:MOST_TOLD]}
        entry = Entry(event=Event.AUDIT_VERIFICATION_FAILED, target=_THE_LOG, detail=facts, outcome="failure")
        with transaction.atomic():
            record_all(actor=Actor.system("audit.reconcile", None), entries=[entry])
    by_workspace: dict[UUID | None, list[Altered]] = defaultdict(list)
    for _table, altered in report.findings:
        by_workspace[altered.row.workspace_id].append(altered)
    for workspace_id, found in by_workspace.items():
        first = found[0].row
        entry = Entry(
            event=Event.AUDIT_ROW_ALTERED,
            target=Target(first.type, first.id),
            detail={"count": len(found), "rows": [item.described() for item in found[:MOST_TOLD]]},
            outcome="failure",
            gap=len(found) - 1,
        )
        actor = Actor.system("audit.reconcile", workspace_id)
        with enter(workspace_id) if workspace_id else transaction.atomic():
            record_all(actor=actor, entries=[entry])


def _as_json(report: Report, indexes: Found, problems: list[str], timeline: Timeline, seconds: float) -> str:
    tables = [
        {
            "table": table.table,
            "rows": table.rows,
            "altered": table.altered,
            "by_revision_only": table.by_revision,
            "expired": table.expired,
            "given_up": table.given_up,
        }
        for table in report.tables
    ]
    findings = [
        {"table": table, "workspace": str(item.row.workspace_id or ""), **item.described()}
        for table, item in report.findings
    ]
    whole = {
        "rows": report.rows,
        "altered": report.altered,
        "by_revision_only": report.by_revision,
        "expired": report.expired,
        "given_up": report.given_up,
        "seconds": round(seconds, 3),
        "problems": problems,
        "indexes": indexes.indexes,
        "timeline": {"id": timeline.id, "reconciled": timeline.is_reconciled},
        "tables": tables,
        "findings": findings,
    }
    return json.dumps(whole, indent=2)


def _as_text(report: Report, indexes: Found, problems: list[str], seconds: float, said: str) -> str:
    lines = [
        f"{table} {item.row.id} (revision {item.row.rev}): {item.problem}"
        for table, item in report.findings[:MOST_SHOWN]
    ]
    lines[:0] = problems
    if report.altered > MOST_SHOWN:
        lines.append(f"… and {report.altered - MOST_SHOWN} more; --json names up to {len(report.findings)}.")
    lines.append(f"{report.rows:,} rows of {len(report.tables)} tables in {seconds:.1f} s.")
    if report.by_revision:
        unsigned = [table.table for table in report.tables if table.by_revision]
        lines.append(
            f"{report.by_revision:,} rows were compared by revision alone, because their events sign no state: "
            f"{', '.join(unsigned)}."
        )
    if report.expired:
        lines.append(f"{report.expired:,} rows could not be compared: their events left the log after seven years.")
    if indexes.indexes:
        lines.append(f"{indexes.indexes:,} indexes were held against their tables.")
    if report.given_up:
        lines.append(f"{report.given_up:,} rows were altered and then taken out of use: nobody believes them any more.")
    agreeing = "Every row that was compared is" if problems else "Every row is"
    lines.append(f"{report.altered:,} differ from the log." if report.altered else f"{agreeing} what the log says.")
    if said:
        lines.append(said)
    return "\n".join(lines)
