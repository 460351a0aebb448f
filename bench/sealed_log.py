"""A sealed log of any size for measurements: generated, stored past the walls, and signed as the sealer would.

Run inside `provenance.quality.throw_away_servers`: it needs TEST_ADMIN_DATABASE_URL and gives one database.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import orjson
import psycopg

from audit.envelope import timestamp
from audit.growth import Log
from audit.judging import event_entry
from audit.merkle import leaf_hash
from audit.notes import LogSigner
from audit.signing import KeyRing
from provenance.ids import uuid7

SIGNER = LogSigner(b"e" * 32, b"m" * 32)
ROOTS = {f"{name}-1": name.encode().ljust(32, b"-") for name in ("web", "gateway", "worker", "setup", "sealer")}
_BATCH = 10_000
_COLUMNS = (
    *("id", "xid", "workspace_id", "object_type", "object_id", "rev", "op", "changed", "action", "actor_id"),
    *("actor_type", "outcome", "risk", "run_id", "kid", "mac", "body"),
)


def fill(database: str, workspace_id: UUID, count: int, *, details: bool = False) -> None:
    """Put `count` events into the log of a workspace, seal them and sign the last checkpoint."""
    keys = KeyRing(current="worker-1", roots=ROOTS)
    with psycopg.connect(database) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("ALTER TABLE audit.event DISABLE TRIGGER USER")
        owner.execute("ALTER TABLE audit.detail DISABLE TRIGGER USER")
        ((log_id,),) = owner.execute(
            "INSERT INTO audit.log (workspace_id, origin) VALUES (%s, %s) RETURNING id",
            [workspace_id, f"log.bench/{workspace_id}"],
        ).fetchall()
        log = Log(log_id, f"log.bench/{workspace_id}", workspace_id)
        for start in range(0, count, _BATCH):
            _store(owner, log, keys, min(_BATCH, count - start), details=details)
        checkpoint = log.checkpoint()
        owner.execute(
            "INSERT INTO audit.checkpoint (log_id, workspace_id, size, note, signatures, frontier)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                log.id,
                workspace_id,
                log.size,
                checkpoint.text,
                SIGNER.sign(checkpoint, is_instance=False),
                log.frontier.to_bytes(),
            ],
        )
        owner.execute("ALTER TABLE audit.event ENABLE TRIGGER USER")
        owner.execute("ALTER TABLE audit.detail ENABLE TRIGGER USER")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE audit.event, audit.detail, audit.leaf, audit.tile")


def _store(owner: psycopg.Connection, log: Log, keys: KeyRing, count: int, *, details: bool) -> None:
    key = keys.signing_key(log.workspace_id)
    rows, detail_rows, hashes = [], [], []
    for event in _events(log.workspace_id, log.size, count):
        salt, text = secrets.token_bytes(32), b'{"object_label":"Read the terms in force","reason":"planned"}'
        if details:
            event["detail"] = _commitment(salt, text)
            detail_rows.append((event["id"], log.workspace_id, salt, text, "application/json", "standard"))
        body = orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
        mac = key.mac(body)
        hashes.append(leaf_hash(event_entry(body, mac)))
        rows.append(_row(event, log.workspace_id, mac, body))
    first = log.size
    tiles = log.append(hashes)
    with owner.cursor() as cursor:
        with cursor.copy(f"COPY audit.event ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        with cursor.copy(
            "COPY audit.detail (event_id, workspace_id, salt, body, media_type, retention_class) FROM STDIN"
        ) as copy:
            for row in detail_rows:
                copy.write_row(row)
        with cursor.copy("COPY audit.leaf (log_id, idx, hash, event_id) FROM STDIN") as copy:
            for offset, (row, value) in enumerate(zip(rows, hashes, strict=True)):
                copy.write_row((log.id, first + offset, value, row[0]))
        with cursor.copy("COPY audit.tile (log_id, level, n, data) FROM STDIN") as copy:
            for tile in tiles:
                copy.write_row((log.id, tile.level, tile.n, tile.data))


def _events(workspace_id: UUID | None, start: int, count: int) -> Iterator[dict]:
    agent = str(uuid7())
    for number in range(start, start + count):
        run, step = str(uuid7()), str(uuid7())
        yield {
            "v": 1,
            "id": str(uuid7()),
            "kid": "worker-1",
            "workspace": str(workspace_id),
            "at": timestamp(datetime.now(UTC)),
            "action": "run.step_completed",
            "outcome": "success",
            "risk": "low",
            "actor": {"type": "agent", "id": agent, "via": "worker"},
            "on_behalf_of": "",
            "object": {"type": "step", "id": step, "rev": 1, "op": "insert"},
            "changed": ["finished_at", "output", "status"],
            "state": os.urandom(32).hex(),
            "detail": None,
            "context": {"run_id": run, "step": f"step-{number % 7}", "workflow_version": "3", "request": "req-1"},
            "gap": 0,
        }


def _row(event: dict, workspace_id: UUID | None, mac: bytes, body: bytes) -> tuple:
    about = event["object"]
    return (
        *(event["id"], "3", workspace_id, about["type"], about["id"], about["rev"], about["op"], event["changed"]),
        *(event["action"], event["actor"]["id"], event["actor"]["type"], event["outcome"], event["risk"]),
        *(event["context"]["run_id"], event["kid"], mac, body.decode()),
    )


def _commitment(salt: bytes, text: bytes) -> str:
    return hmac.digest(salt, text, hashlib.sha256).hex()
