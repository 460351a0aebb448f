"""A log of 5 million events in 84 months, and how long a page of it takes (goal 13 of the audit page).

`fill` makes the log in Postgres itself, with the guards off: a throw-away database only. `measure` then asks for pages
through the selectors, as the role that serves them and under its row security.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from audit import selectors, words
from audit.selectors import EventFilters
from audit.taxonomy import Event
from bench import belonging
from bench.belonging import Named
from bench.figures import Figure, Goal
from bench.ground import Ground
from provenance.actor import Actor
from provenance.api import Paging
from provenance.db import enter
from provenance.ids import uuid7_floor
from provenance.permissions import Permission
from provenance.risk import Risk

ROWS, MONTHS = 5_000_000, 84
LIMIT_MILLISECONDS = 50.0


@dataclass(frozen=True, slots=True)
class Filled:
    """What was made: the workspace with four fifths of the events, and what a search in it can name."""

    workspace_id: UUID
    rows: int
    months: list[datetime]
    actors: list[str]
    objects: list[str]
    runs: list[UUID]
    named: Named


def paging(here: Ground, *, count: int, pages: int) -> list[Figure]:
    """Goal 13 as figures. However many events there are, they lie in as many months."""
    with here.connect("postgres") as owner:
        filled = fill(owner, rows=count, log=lambda line: print(line, file=sys.stderr))
    measured = measure(filled, pages=pages)
    kinds = ", ".join(
        f"{name} {value:.0f}" for name, value in sorted(measured.slowest.items(), key=lambda kind: -kind[1])
    )
    return [
        Figure(
            name="13 page of the log, p95",
            value=measured.p95,
            unit="ms",
            goal=Goal(kind="most", bound=LIMIT_MILLISECONDS, of_value=True),
            note=f"{filled.rows:,} events in {len(filled.months)} months; median of each kind: {kinds}",
        ),
        Figure(name="13 page of the log, median", value=measured.median, unit="ms"),
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of the whole page, as the database and the ORM take them; `slowest` names the worst kind."""

    median: float
    p95: float
    pages: int
    slowest: dict[str, float]


def fill(
    owner: psycopg.Connection[Any], *, rows: int = ROWS, months: int = MONTHS, log: Callable[[str], None] = print
) -> Filled:
    """Make the months before this one and fill all of them. `owner`: an administrator of a throw-away database."""
    started = time.monotonic()
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begins = [_earlier(this_month, back) for back in range(months - 1, -1, -1)]
    owner.execute("SELECT setseed(0.5)")
    owner.execute(_CHOICES.format(actions=", ".join(f"('{event.value}', '{event.risk.value}')" for event in Event)))
    workspace = UUID(int=0x7 << 76 | 0b10 << 62 | 1)
    per_month = rows // months
    for number, begin in enumerate(begins):
        _fill_month(owner, begin=begin, count=per_month, first=number * per_month, workspace=workspace)
        if number % 12 == 11:
            log(f"{number + 1} of {months} months, {time.monotonic() - started:.0f} s")
    owner.execute(_SEALED, {"workspace": workspace})
    owner.execute(_CHECKPOINTS, {"workspace": workspace})
    # What autovacuum has done in a log that grew over years.
    owner.execute("VACUUM (ANALYZE) audit.event, audit.detail, audit.leaf, audit.checkpoint")
    log(f"{per_month * months:,} events in {months} months, {time.monotonic() - started:.0f} s")
    return Filled(
        workspace_id=workspace,
        rows=per_month * months,
        months=begins,
        actors=[name for (name,) in owner.execute("SELECT id FROM bench_actor ORDER BY n").fetchall()],
        objects=[f"00000000-0000-7000-8000-{number:012x}" for number in range(40_000)],
        runs=[run for (run,) in owner.execute(_SOME_RUNS).fetchall()],
        named=belonging.fill(owner, workspace),
    )


def measure(filled: Filled, *, pages: int = 400, seed: int = 1) -> Measured:
    """Ask for pages as the audit page does: filters as people set them, the first page and deep ones.

    Django's connection must be that of the role that serves pages. Each kind is asked for equally often, in random order.
    """
    dice = random.Random(seed)  # noqa: S311  which pages are asked for is no secret
    actor = Actor.system("bench", filled.workspace_id, Permission)
    kinds = _kinds(filled, actor, dice)
    for name in kinds:  # what a process does once for each month is not what a page costs
        _page(actor, kinds[name], dice)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(max(1, pages // len(kinds))):
        for name in dice.sample(sorted(kinds), len(kinds)):
            taken[name].append(_page(actor, kinds[name], dice))
    everything = sorted(value for values in taken.values() for value in values)
    return Measured(
        median=statistics.median(everything),
        p95=everything[int(len(everything) * 0.95)],
        pages=len(everything),
        slowest={name: round(statistics.median(values), 1) for name, values in taken.items()},
    )


def _kinds(filled: Filled, actor: Actor, dice: random.Random) -> dict[str, Callable[[], EventFilters]]:
    def called(kind: str, some: list[str]) -> EventFilters:
        _things, found = words.called(actor, f"{kind}:{dice.choice(some)}")
        return EventFilters(about=found["about"].split(","))

    def month() -> dict[str, datetime]:
        since = dice.choice(filled.months)
        return {"since": since, "until": _later(since)}

    some = [event.value for event in Event]
    return {
        "everything": EventFilters,
        "a month": lambda: EventFilters(**month()),
        "a type": lambda: EventFilters(actions=[dice.choice(some)]),
        "a domain": lambda: EventFilters(actions=[dice.choice(list(Event)).domain]),
        "an actor": lambda: EventFilters(actor_id=dice.choice(filled.actors)),
        "an object": lambda: EventFilters(object_id=dice.choice(filled.objects)),
        "a run": lambda: EventFilters(run_id=dice.choice(filled.runs)),
        "critical": lambda: EventFilters(risk=Risk.CRITICAL),
        "high and a month": lambda: EventFilters(risk=Risk.HIGH, **month()),
        "an outcome": lambda: EventFilters(outcome=dice.choice(["failure", "blocked", "unknown"])),
        "an actor and a type": lambda: EventFilters(actor_id=dice.choice(filled.actors), actions=[dice.choice(some)]),
        "an actor and an outcome": lambda: EventFilters(actor_id=dice.choice(filled.actors), outcome="blocked"),
        "an actor and a month": lambda: EventFilters(actor_id=dice.choice(filled.actors), **month()),
        "an object and a type": lambda: EventFilters(
            object_id=dice.choice(filled.objects), actions=[dice.choice(some)]
        ),
        "about two things": lambda: EventFilters(
            about=[f"agent:{dice.choice(filled.actors)}", f"tool:{dice.choice(filled.objects)}"]
        ),
        "by tool": lambda: called("tool", filled.named.tools),
        "by workflow": lambda: called("workflow", filled.named.workflows),
        "by agent name": lambda: called("agent", filled.named.agents),
        "nobody": lambda: EventFilters(actor_id="nobody"),
        "what no index knows": lambda: EventFilters(object_type="secret"),
    }


def _page(actor: Actor, kind: Callable[[], EventFilters], dice: random.Random) -> float:
    """Milliseconds of one page, with the search for a name; every fourth is a deep one."""
    before = uuid7_floor(datetime.now(UTC) - timedelta(days=dice.randrange(60, 1500))) if dice.random() < 0.25 else None
    began = time.perf_counter()
    with enter(actor.workspace_id):
        selectors.search_and_count(actor=actor, filters=kind(), paging=Paging(before=before), at_most=10_000)
    return (time.perf_counter() - began) * 1000


def _fill_month(owner: psycopg.Connection[Any], *, begin: datetime, count: int, first: int, workspace: UUID) -> None:
    end = _later(begin)
    part = f"{begin:%Y_%m}"
    for parent in ("event", "detail"):
        if owner.execute("SELECT to_regclass(%s)", [f"audit.{parent}_{part}"]).fetchone() == (None,):
            # Indexes are made when it is attached: at once, and not row by row.
            owner.execute(f"CREATE TABLE audit.{parent}_{part} (LIKE audit.{parent} INCLUDING ALL EXCLUDING INDEXES)")
            owner.execute(f"ALTER TABLE audit.{parent}_{part} OWNER TO prov_owner")
        else:
            owner.execute(f"ALTER TABLE audit.{parent}_{part} DISABLE TRIGGER USER")
    # This month's ids end now, so that new events come after them.
    seconds = (min(end, datetime.now(UTC)) - begin).total_seconds()
    parameters = {"begin": begin, "step": seconds / count, "count": count, "first": first, "workspace": workspace}
    owner.execute(_EVENTS.format(part=part), parameters)
    owner.execute(_DETAILS.format(part=part))
    for parent in ("event", "detail"):
        attached = owner.execute(
            "SELECT relispartition FROM pg_class WHERE oid = %s::regclass", [f"audit.{parent}_{part}"]
        ).fetchone()
        if attached == (False,):
            owner.execute(
                f"ALTER TABLE audit.{parent} ATTACH PARTITION audit.{parent}_{part}"
                f" FOR VALUES FROM ('{uuid7_floor(begin)}') TO ('{uuid7_floor(end)}')"
            )
        else:
            owner.execute(f"ALTER TABLE audit.{parent}_{part} ENABLE TRIGGER USER")


def _later(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)


def _earlier(month: datetime, back: int) -> datetime:
    number = month.year * 12 + month.month - 1 - back
    return month.replace(year=number // 12, month=number % 12 + 1)


_SOME_RUNS = "SELECT DISTINCT run_id FROM audit.event TABLESAMPLE SYSTEM (0.05) WHERE run_id IS NOT NULL LIMIT 2000"
_CHOICES = """
CREATE TEMP TABLE bench_actor AS
  SELECT n, CASE WHEN n % 5 = 0 THEN 'agent' ELSE 'user' END AS kind, md5('actor' || n)::uuid::text AS id
  FROM generate_series(0, 249) AS n;
CREATE TEMP TABLE bench_action AS
  SELECT row_number() OVER () - 1 AS n, action, risk FROM (VALUES {actions}) AS listed (action, risk);
"""

# Skewed as a log is: a few types, people and objects make most of it, and some values stand nowhere but in one month.
_EVENTS = """
INSERT INTO audit.event_{part}
  (id, xid, workspace_id, object_type, object_id, rev, op, changed, action, actor_id, actor_type, outcome, risk, run_id,
   kid, mac, body)
SELECT id, '3'::xid8, workspace, object_type, object_id, 1, 'update', ARRAY['title'], action, actor, kind, outcome, risk,
  run, 'web-1', sha256(id::text::bytea),
  format('{{"action":"%%s","actor":{{"id":"%%s","type":"%%s","via":"session"}},"at":"%%s","changed":["title"],'
    '"context":{{"run_id":"%%s","step":"read-the-terms","request":"req_06bq0000000000000000000000"}},"detail":"%%s",'
    '"id":"%%s","kid":"web-1","object":{{"id":"%%s","op":"update","rev":1,"type":"%%s"}},"on_behalf_of":"",'
    '"outcome":"%%s","risk":"%%s","state":"%%s","v":1,"workspace":"%%s"}}',
    action, actor, kind, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), run,
    encode(sha256(actor::bytea), 'hex'), id, object_id, object_type, outcome, risk,
    encode(sha256(action::bytea), 'hex'), workspace)
FROM (
  SELECT at, action.action, action.risk, actor.id AS actor, actor.kind, about.type AS object_type,
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(dice, 1, 3) || '8'
      || substr(dice, 4, 15))::uuid AS id,
    CASE WHEN toss[1] < 0.8 THEN %(workspace)s::uuid ELSE md5('workspace' || floor(toss[1] * 95))::uuid END AS workspace,
    CASE about.type
      WHEN 'agent' THEN '00000000-0000-7000-8000-' || lpad(to_hex(floor(power(toss[2], 2) * 40000)::bigint), 12, '0')
      -- Of twelve events in a row three are one call's; its id is of the time of the first, as a run's.
      ELSE (lpad(to_hex((extract(epoch FROM %(begin)s::timestamptz
        + make_interval(secs => thrown.n / 12 * 12 * %(step)s::float8)) * 1000)::bigint), 12, '0')
        || CASE about.type WHEN 'tool_call' THEN '7000' ELSE '7001' END
        || substr(md5('call' || ((%(first)s::bigint + thrown.n) / 12)), 1, 16))::uuid::text
    END AS object_id,
    CASE WHEN toss[3] < 0.86 THEN 'success' WHEN toss[3] < 0.94 THEN 'pending' WHEN toss[3] < 0.97 THEN 'failure'
      WHEN toss[3] < 0.999 THEN 'blocked' ELSE 'unknown' END AS outcome,
    -- Six events in a row are one run's; its id is of the time of the first.
    CASE WHEN toss[4] < 0.7 THEN (lpad(to_hex((extract(epoch FROM %(begin)s::timestamptz
      + make_interval(secs => thrown.n / 6 * 6 * %(step)s::float8)) * 1000)::bigint), 12, '0') || '7000'
      || substr(md5('run' || ((%(first)s::bigint + thrown.n) / 6)), 1, 16))::uuid END AS run
  FROM (
    SELECT n, %(begin)s::timestamptz + make_interval(secs => n * %(step)s::float8) AS at, md5('dice' || (%(first)s::bigint + n)) AS dice,
      ARRAY[random(), random(), random(), random(), random(), random(), random()] AS toss
    FROM generate_series(0, %(count)s::bigint - 1) AS n
  ) AS thrown
  CROSS JOIN LATERAL (SELECT CASE WHEN toss[7] < 0.25 THEN 'tool_call' WHEN toss[7] < 0.27 THEN 'approval' ELSE 'agent' END)
    AS about (type)
  JOIN bench_actor AS actor ON actor.n = floor(power(toss[5], 3) * 250)
  JOIN bench_action AS action ON action.n = floor(power(toss[6], 3) * (SELECT count(*) FROM bench_action))
) AS made
"""
_DETAILS = """
INSERT INTO audit.detail_{part} (event_id, workspace_id, salt, body, media_type, retention_class)
SELECT id, workspace_id, mac, format('{{"actor_label":"Person %s","object_label":"Ledger-ops","ip":"127.0.0.1",'
  '"reason":"The clause begins on the first of the month."}}', left(actor_id, 4))::bytea, 'application/json', 'standard'
FROM audit.event_{part}
"""
# One log for all: what counts is how large the tables are that a page looks into.
_SEALED = """
WITH log AS (INSERT INTO audit.log (workspace_id, origin) VALUES (%(workspace)s, 'bench.example/log') RETURNING id)
INSERT INTO audit.leaf (log_id, idx, hash, event_id)
SELECT log.id, row_number() OVER (ORDER BY event.id) - 1, event.mac, event.id
FROM audit.event JOIN log ON true WHERE event.workspace_id = %(workspace)s
"""
_CHECKPOINTS = """
INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, signatures, frontier, at)
SELECT log_id, %(workspace)s, idx + 1,
  format(E'bench.example/log\\n%%s\\n%%s\\n', idx + 1, encode(leaf.hash, 'base64')), E'- signed\\n', leaf.hash,
  audit.uuid_time(event_id)
FROM audit.leaf WHERE idx %% 200 = 199
"""
