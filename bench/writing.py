"""Goals 4 to 7 of the audit page: what it costs to write an event, to change a governed row, and to sign."""

import hashlib
import hmac
import timeit
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from audit.envelope import storing
from audit.signing import MAC_PREFIX
from bench import events
from bench.clients import Client, run
from bench.figures import Figure, Goal, Sample, against, interleaved, median, ratio
from bench.ground import CPU_BOUND, SLOW_FLUSH, Ground
from provenance.canonical import sorted_json
from provenance.ids import uuid7

CLIENTS = 16
WARM = 20


def signing(ground: Ground, *, quick: bool) -> list[Figure]:
    """Goal 7: the bytes of an event and their MAC."""
    keys, workspace = ground.keys("web"), uuid7()
    text = events.told(keys, workspace, 1)[0].body.encode()
    body, key = orjson.loads(text), keys.signing_key(workspace)
    number = 5_000 if quick else 50_000

    def timed(work: Any) -> dict[str, float]:
        return {"us": timeit.timeit(work, number=number) / number * 1e6}

    found = interleaved(
        {
            "sign": partial(timed, lambda: key.mac(sorted_json(body))),
            "hmac": partial(timed, lambda: hmac.digest(key.secret, MAC_PREFIX + text, hashlib.sha256)),
            "build": partial(timed, lambda: events.told(keys, workspace, 1)),
        },
        rounds=7,
    )
    us, limit = median(found["sign"], "us"), median(found["hmac"], "us")
    share = ratio(found["hmac"], found["sign"], "us")
    bytes_ = f"{len(text)} bytes"
    return [
        Figure(
            name="7 sign an event: time",
            value=us,
            unit="us",
            limit=limit,
            goal=Goal(kind="most", bound=5, of_value=True),
            note=bytes_,
        ),
        Figure(
            name="7 sign an event: rate",
            value=1e6 / us,
            unit="/s",
            limit=1e6 / limit,
            ratio=share,
            goal=Goal(kind="least", bound=0.7),
            note="limit: HMAC-SHA256 of the same bytes",
        ),
        Figure(name="  everything of record() but the database", value=median(found["build"], "us"), unit="us"),
    ]


def inserts(ground: Ground, *, quick: bool) -> list[Figure]:
    """Goal 5: events of one workspace by 16 clients, beside the raw insert and a hash chain."""
    workspace = ground.workspace()
    with ground.connect("postgres") as admin:
        admin.execute("INSERT INTO bench.head VALUES (%s, %s)", [workspace, bytes(32)])
    few, many = (25, 50) if quick else (100, 200)
    figures: list[Figure] = []
    samples: dict[str, list[Sample]] = {}
    for mode, options, each, of_raw, of_chain in (
        ("durable", SLOW_FLUSH, few, 0.9, 5),
        # Nobody waits long for a disk that answers in a tenth of a millisecond: there it is the processors that are shared.
        ("durable on this disk", "", few, 0.65, None),
        ("CPU-bound", CPU_BOUND, many, 0.65, 5),
    ):
        samples = interleaved(
            {
                name: partial(_insert_round, ground, workspace, name=name, options=options, each=each)
                for name in ("ours", "raw", "bare", "chain")
            },
            rounds=2 if quick else 7,
        )
        figures += [
            against(
                *(samples["ours"], samples["raw"], "rate"),
                name=f"5 insert an event, 16 clients, {mode}",
                unit="/s",
                peers={"with primary key only": median(samples["bare"], "rate")},
                goal=Goal(kind="least", bound=of_raw),
            ),
            Figure(
                name=f"5 insert an event, against a chain, {mode}",
                value=median(samples["ours"], "rate"),
                unit="/s",
                peers={"hash chain": median(samples["chain"], "rate")},
                ratio=ratio(samples["ours"], samples["chain"], "rate"),
                goal=Goal(kind="least", bound=of_chain) if of_chain else None,
            ),
        ]
    peers = {
        "with primary key only": median(samples["bare"], "server_us"),
        "hash chain": median(samples["chain"], "server_us"),
    }
    cpu = against(samples["ours"], samples["raw"], "server_us", name="  server CPU of an event", unit="us", peers=peers)
    return [*figures, cpu]


def _insert_round(ground: Ground, workspace: UUID, *, name: str, options: str, each: int) -> Sample:
    keys = ground.keys("worker")
    made = [events.told(keys, workspace, each + WARM) for _ in range(CLIENTS)]
    scope = f"SET app.workspace_id = '{workspace}'"
    if name == "ours":
        work = [[[storing([event])] for event in of_client] for of_client in made]
    else:
        statement = events.raw_insert({"raw": "bench.raw", "bare": "bench.bare", "chain": "bench.chained"}[name])
        work = [[[(statement, events.raw_columns(event))] for event in of_client] for of_client in made]
    send = _chained if name == "chain" else None
    return run([Client(ground.url("worker"), part, options, scope, WARM, send) for part in work])


def _chained(connection: Any, statements: Any) -> None:
    """What a chain whose MACs cover the hash before must do: the process reads the head, signs, and keeps it locked."""
    ((statement, columns),) = statements
    workspace, mac, body = columns[1], columns[-2], columns[-1]
    with connection.transaction():
        found = connection.execute(
            "SELECT hash FROM bench.head WHERE workspace_id = %s FOR UPDATE", [workspace], prepare=True
        ).fetchone()
        chained = hmac.digest(mac, found[0] + body.encode(), hashlib.sha256)
        columns[-2] = chained
        with connection.pipeline():
            connection.execute(statement, columns, prepare=True)
            connection.execute(
                "UPDATE bench.head SET hash = %s WHERE workspace_id = %s", [chained, workspace], prepare=True
            )


def changes(ground: Ground, *, quick: bool) -> list[Figure]:
    """Goal 4: one change of a governed row with its event, with and without the coverage trigger."""
    keys, workspace = ground.keys("web"), ground.workspace()
    tables = {"with": "bench_covered", "without": "bench_uncovered"}
    with ground.connect("postgres") as admin:
        events.make_governed(admin, "bench_covered")
        events.make_governed(admin, "bench_uncovered", without=["audit_coverage"])
    with ground.connect("web") as web:
        rows = {name: events.fill_governed(web, keys, table, workspace, 64) for name, table in tables.items()}
    with ground.connect("postgres") as admin:
        admin.execute("ANALYZE bench_covered, bench_uncovered")
    revisions = dict.fromkeys((row for ids in rows.values() for row in ids), 1)

    def a_round(name: str, clients: int, each: int, options: str) -> Sample:
        table = tables[name]

        def transaction(row: UUID) -> list[Any]:
            revisions[row] += 1
            event = events.of_change(keys, workspace, table, row, revisions[row])
            update = f"UPDATE public.{table} SET title = %s WHERE id = %s"  # noqa: S608  our table names
            return [(update, [f"Reads invoices {revisions[row]}", row]), storing([event])]

        scope = f"SET app.workspace_id = '{workspace}'"
        own = [rows[name][number::clients] for number in range(clients)]
        return run(
            [
                Client(
                    ground.url("web"),
                    [transaction(ids[n % len(ids)]) for n in range(each + WARM)],
                    options,
                    scope,
                    WARM,
                )
                for ids in own
            ]
        )

    rounds = 3 if quick else 11
    work = interleaved({name: partial(a_round, name, 1, 250 if quick else 1500, CPU_BOUND) for name in tables}, rounds)
    each = 40 if quick else 150
    durable = interleaved({name: partial(a_round, name, 8, each, SLOW_FLUSH) for name in tables}, rounds)
    here = interleaved({name: partial(a_round, name, 8, each, "") for name in tables}, rounds)
    return [
        against(
            *(work["with"], work["without"], "server_us"),
            name="4 audited change: server CPU",
            unit="us",
            goal=Goal(kind="most", bound=1.25),
            note="limit: the same without the coverage trigger",
        ),
        against(
            *(durable["with"], durable["without"], "rate"),
            name="4 audited change: rate, 8 clients, durable",
            unit="/s",
            goal=Goal(kind="least", bound=0.95),
        ),
        against(
            *(here["with"], here["without"], "rate"),
            name="  audited change: rate, 8 clients, durable on this disk",
            unit="/s",
        ),
        against(
            *(work["with"], work["without"], "rate"),
            name="  audited change: rate, one client, CPU-bound",
            unit="/s",
        ),
    ]
