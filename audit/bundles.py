"""How a bundle is written: the members of the zip, in constant memory, over any connection that may read the log.

The order is that of the log, which is the order in which events became visible. Only what a published checkpoint holds is
written: everything else could not be proved. docs/audit-format.md is the promise to whoever reads it.
"""

import base64
import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any
from uuid import UUID

import orjson

from audit.errors import DamagedLog
from audit.judging import checkpoint_entry
from audit.merkle import leaf_hash
from audit.notes import Ed25519Verifier, verifier_of
from audit.proofs import consistency_text, older_size, range_text
from audit.succession import Succession
from audit.tree import SignedCheckpoint, StoredLog, Tree
from provenance.ids import uuid7_floor

FORMAT = "provenance-audit-bundle/2"
RETENTION = timedelta(days=7 * 365)
"""An event that is older and gone was let go; a younger one that is gone was taken away."""
MOST_TOLD = 100
_CHUNK = 4096
_SORTED_IN_MEMORY = "SELECT set_config('work_mem', '16MB', true)"
"""Of so many events with their texts, which the server sorts for each piece."""
_WRITE_BYTES = 262_144
# Twice as fast as the usual level here, and a tenth larger.
_COMPRESSION = 3
_MOST_IN_MEMORY = 1_048_576

Progress = Callable[[int, int], None]
Copy = Callable[[str, Sequence[Any]], AbstractContextManager[Iterable[Any]]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a log is read: a tree of proofs, and `COPY … TO STDOUT` on the same connection."""

    tree: Tree
    copy: Copy


@dataclass(frozen=True, slots=True)
class Choice:
    """Which events of the log are in, as a query for their ids within bounds.

    None of them is before `starts_at`. `expected`: how many there are in all; once they are there, nothing after
    `stops_at` needs to be looked at.
    """

    ids: Callable[[UUID, UUID], tuple[str, Sequence[Any]]]
    described: Mapping[str, Any]
    starts_at: int = 0
    stops_at: int | None = None
    expected: int = 0


@dataclass(slots=True)
class Written:
    """What went into the bundle. `end`: the index after the last leaf that it tells of."""

    end: int
    events: int = 0
    checkpoints: int = 0
    details: int = 0
    filtered: int = 0
    expired: int = 0
    missing: int = 0
    missing_at: list[int] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class BundleWriter:
    """Writes one bundle of one log, up to one checkpoint. `since`: the size or the note of an older checkpoint."""

    source: Source
    log: StoredLog
    newest: SignedCheckpoint
    first: int
    end: int
    choice: Choice | None = None
    since: int | str | None = None
    progress: Progress = lambda _done, _total: None

    def write(self, out: IO[bytes]) -> tuple[Written, dict[str, Any]]:
        """The zip; what it holds, and its manifest. Raises `DamagedLog` and `AnotherLog`."""
        size, tree = self.newest.checkpoint.size, self.source.tree
        tree.execute(_SORTED_IN_MEMORY, [])
        since = None if self.since is None else older_size(tree, self.log, self.newest, self.since)
        written = Written(self.end)
        with (
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as bundle,
            # A zip takes one member at a time: what is left out waits beside the events.
            tempfile.SpooledTemporaryFile(max_size=_MOST_IN_MEMORY) as omitted,
        ):
            with _member(bundle, "events.jsonl", written) as write:
                self._write_events(write, omitted, written)
            with _member(bundle, "details.jsonl", written) as write:
                self._write_details(write, written)
            omitted.seek(0)
            with _member(bundle, "omitted.bin", written) as write:
                while data := omitted.read(_WRITE_BYTES):
                    write(data)
            texts = {
                "range.proof": range_text(tree, self.log.id, self.first, written.end, size),
                "checkpoint": self.newest.note,
                "rotations": rotations(tree),
                "vkeys": "".join(f"{vkey}\n" for vkey in published_keys(tree, self.log)),
            }
            if since is not None:
                texts["consistency.proof"] = consistency_text(tree, self.log.id, since, size)
            for name, text in texts.items():
                with _member(bundle, name, written) as write:
                    write(text.encode())
            manifest = self._manifest(written)
            bundle.writestr("MANIFEST.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        return written, manifest

    def _write_events(self, write: Callable[[bytes], None], omitted: IO[bytes], written: Written) -> None:
        total = self.end - self.first
        for start, end in self._chunks(self.end):
            seen, notes = 0, self._notes(start, end)
            for row in self._rows(start, end):
                seen += 1
                if row.startswith(b"damaged"):
                    raise DamagedLog.by(
                        f"Entry {start + seen - 1} of {self.log.origin} has no hash, or its event no text or signature"
                    )
                if row.startswith(b"{"):
                    write(row)
                    written.events += 1
                else:
                    noted = notes.get((start + seen - 1, row.split(b" ")[1]))
                    (write if noted else omitted.write)(self._left_out(row, start + seen - 1, noted, written))
            if seen != end - start:
                raise DamagedLog.by(
                    f"Between {start} and {end} of {self.log.origin} {end - start - seen} leaves are missing"
                )
            self.progress(end - self.first, total)
            if self._is_done(end, written):
                written.end = end
                break

    def _left_out(self, row: bytes, index: int, noted: str | None, written: Written) -> bytes:
        """What stands for a leaf without an event: its hash, or in the log of the instance a line with a checkpoint."""
        why, digest, event_id = row.decode("ascii").rstrip("\n").split(" ")
        if noted:
            written.checkpoints += 1
            return orjson.dumps(
                {"idx": index, "leaf": digest[:8], "checkpoint": noted}, option=orjson.OPT_APPEND_NEWLINE
            )
        if why == "filtered":
            written.filtered += 1
        elif event_id and UUID(event_id) < uuid7_floor(datetime.now(UTC) - RETENTION):
            written.expired += 1
        else:
            written.missing += 1
            written.missing_at += [index][: MOST_TOLD - len(written.missing_at)]
        return bytes.fromhex(digest)

    def _notes(self, start: int, end: int) -> dict[tuple[int, bytes], str]:
        """Index and leaf in hex -> the checkpoint of a workspace that the log of the instance holds there.

        By the leaf as well, because two epochs of this log can have one at the same index.
        """
        if self.log.workspace_id is not None:
            return {}
        rows = self.source.tree.execute("SELECT idx, note FROM audit.noted(%s, %s)", [start, end])
        return {(index, leaf_hash(checkpoint_entry(note)).hex().encode()): note for index, note in rows}

    def _is_done(self, end: int, written: Written) -> bool:
        choice = self.choice
        if choice is None or choice.stops_at is None:
            return False
        return end >= choice.stops_at and written.events >= choice.expected

    def _rows(self, start: int, end: int) -> Iterator[bytes]:
        low, high = self._bounds(start, end)
        join, left_out, parameters = self._wanted(low, high)
        statement = _EVENTS.format(join=join, left_out=left_out)
        with self.source.copy(statement, [self.log.id, start, end, low, high, *parameters]) as rows:
            for row in rows:
                yield bytes(row)

    def _write_details(self, write: Callable[[bytes], None], written: Written) -> None:
        for start, end in self._chunks(written.end):
            low, high = self._bounds(start, end)
            join, left_out, parameters = self._wanted(low, high)
            rows = self.source.tree.execute(
                _DETAILS.format(join=join, left_out=left_out),
                [self.log.id, start, end, low, high, low, high, *parameters],
            )
            for row in rows:
                write(_detail_line(row))
                written.details += 1

    def _chunks(self, end: int) -> Iterator[tuple[int, int]]:
        return ((start, min(start + _CHUNK, end)) for start in range(self.first, end, _CHUNK))

    def _bounds(self, start: int, end: int) -> tuple[UUID, UUID]:
        """Between which ids the events of these leaves are: so that Postgres looks only into the months that hold them."""
        ((low, high),) = self.source.tree.execute(_BOUNDS, [self.log.id, start, end])
        return low or UUID(int=0), high or UUID(int=0)

    def _wanted(self, low: UUID, high: UUID) -> tuple[str, str, Sequence[Any]]:
        """How the choice is joined, when a row is left out, and the parameters of the join."""
        if self.choice is None:
            return "", "false", []
        statement, parameters = self.choice.ids(low, high)
        return f"LEFT JOIN ({statement}) AS wanted ON wanted.id = leaf.event_id", "wanted.id IS NULL", parameters

    def _manifest(self, written: Written) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "origin": self.log.origin,
            "workspace": str(self.log.workspace_id) if self.log.workspace_id else None,
            "epoch": self.log.epoch,
            "created_at": datetime.now(UTC).isoformat(),
            "filters": dict(self.choice.described) if self.choice else {},
            "first": self.first,
            "end": written.end,
            "size": self.newest.checkpoint.size,
            "sealed_at": self.newest.at.isoformat(),
            "events": written.events,
            "checkpoints": written.checkpoints,
            "details": written.details,
            "omitted": {
                "filtered": written.filtered,
                "expired": written.expired,
                "missing": written.missing,
                "missing_at": written.missing_at,
            },
            "files": written.digests,
        }


def published_keys(tree: Tree, log: StoredLog) -> list[str]:
    """The vkeys of a log as the database publishes them: for people to look at, and nothing that a verifier trusts.

    Raises `DamagedLog` for what is no key.
    """
    rows = tree.execute("SELECT kid, vkey FROM audit.key WHERE purpose = 'checkpoint' AND vkey <> '' ORDER BY kid", [])
    found = []
    for kid, encoded in rows:
        try:
            key = verifier_of(log.origin, base64.b64decode(encoded, validate=True))
        except ValueError as error:
            raise _not_registered(kid, "key") from error
        if isinstance(key, Ed25519Verifier) or log.workspace_id is None:
            found.append(key.vkey)
    return found


def rotations(tree: Tree) -> str:
    """What keys of checkpoints said of those that follow them, oldest first. Raises `DamagedLog` for other words."""
    rows = tree.execute("SELECT kid, rotation FROM audit.key WHERE rotation <> '' ORDER BY not_before, kid", [])
    for kid, text in rows:
        try:
            Succession.parse(text)
        except ValueError as error:
            raise _not_registered(kid, "rotation") from error
    return "".join(text for _kid, text in rows)


def _not_registered(kid: str, what: str) -> DamagedLog:
    return DamagedLog(
        f"What is registered as the {what} of {kid} is none. Find out who changed the register of keys; `./manage.py verify` "
        "on the host holds it against the keys themselves."
    )


@contextmanager
def _member(bundle: zipfile.ZipFile, name: str, written: Written) -> Iterator[Callable[[bytes], None]]:
    digest, size = hashlib.sha256(), 0
    waiting: list[bytes] = []
    # Packing waits for nothing and holds no lock of Python's: meanwhile the next piece is asked for and read.
    with bundle.open(name, "w", force_zip64=True) as member, ThreadPoolExecutor(1) as packer:
        packed: Future[Any] = packer.submit(bytes)

        def pack(data: bytes) -> None:
            digest.update(data)
            member.write(data)

        def flush() -> None:
            nonlocal packed
            packed.result()
            packed = packer.submit(pack, b"".join(waiting))
            waiting.clear()

        def write(data: bytes) -> None:
            nonlocal size
            waiting.append(data)
            size += len(data)
            if size >= _WRITE_BYTES:
                size = 0
                flush()

        yield write
        flush()
        packed.result()
    written.digests[name] = digest.hexdigest()


def _detail_line(row: tuple[Any, ...]) -> bytes:
    index, event_id, salt, body, media_type, erased_at = row
    line: dict[str, Any] = {
        "idx": index,
        "event_id": str(event_id),
        "salt": bytes(salt).hex() if salt is not None else None,
        "media_type": media_type,
        "erased_at": erased_at.isoformat() if erased_at else None,
    }
    try:
        line["body"] = bytes(body).decode() if body is not None else None
    except UnicodeDecodeError:
        line["body_base64"] = base64.b64encode(bytes(body)).decode()
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


_BOUNDS = "SELECT min(event_id::text)::uuid, max(event_id::text)::uuid FROM audit.leaves(%s, %s, %s)"
# Whether the columns say what the signed text says, by its canonical form alone. A suspicion is cheap here, and certainty
# is the verifier's, who gets the columns then. Nothing inside a string can look like these pieces: its quotes are escaped.
# Looked for among bytes: among characters Postgres would count up to the place, which is most of what that costs.
_COLUMNS_AGREE = """
  starts_with(event.body, '{{"action":"' || event.action || '","actor":{{"id":"' || event.actor_id || '","type":"'
    || event.actor_type || '","via":"')
  AND position(textsend(',"changed":[' || CASE WHEN cardinality(event.changed) = 0 THEN ''
    ELSE '"' || array_to_string(event.changed, '","') || '"' END || '],"context":{{') IN textsend(event.body)) > 0
  AND position(textsend(',"id":"' || event.id || '","kid":"' || event.kid || '","object":{{"id":"' || event.object_id
    || '","op":"' || event.op || '","rev":' || COALESCE(event.rev::text, 'null') || ',"type":"' || event.object_type
    || '"}},"on_behalf_of":"') IN textsend(event.body)) > 0
  AND position(textsend('","outcome":"' || event.outcome || '","risk":"' || event.risk || '",') IN textsend(event.body)) > 0
  AND CASE WHEN event.run_id IS NULL THEN position(textsend('"run_id":"') IN textsend(event.body)) = 0
    ELSE position(textsend('"run_id":"' || event.run_id || '"') IN textsend(event.body)) > 0 END
"""
# As CSV with a quote and a delimiter that JSON cannot hold, a line arrives as it is, with nothing escaped a second time.
# OFFSET 0: sorted first and written then, so that the server makes the next lines while these are packed.
_EVENTS = """
COPY (
  SELECT COALESCE(CASE
    WHEN octet_length(event.hash) <> 32 THEN NULL
    WHEN event.id IS NULL THEN 'missing ' || encode(event.hash, 'hex') || ' ' || COALESCE(event.event_id::text, '')
    WHEN event.is_left_out THEN 'filtered ' || encode(event.hash, 'hex') || ' '
    ELSE '{{"idx":' || event.idx || ',"kid":' || to_json(event.kid) || ',"mac":"' || encode(event.mac, 'hex')
      || '","leaf":"' || left(encode(event.hash, 'hex'), 8) || '","body":' || to_json(event.body)
      || CASE WHEN COLUMNS_AGREE THEN '' ELSE ',"columns":' || json_build_object(
        'id', event.id, 'workspace', event.workspace_id, 'object.type', event.object_type, 'object.id', event.object_id,
        'object.rev', event.rev, 'object.op', event.op, 'changed', event.changed, 'action', event.action, 'actor.id', event.actor_id,
        'actor.type', event.actor_type, 'outcome', event.outcome, 'risk', event.risk, 'context.run_id', event.run_id) END
      || '}}'
    END, 'damaged')
  FROM (
    SELECT leaf.idx, leaf.hash, leaf.event_id, {left_out} AS is_left_out, event.* FROM audit.leaves(%s, %s, %s) AS leaf
    LEFT JOIN audit.event AS event ON event.id = leaf.event_id AND event.id >= %s AND event.id <= %s
    {join}
    ORDER BY leaf.idx OFFSET 0
  ) AS event
) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
""".replace("COLUMNS_AGREE", _COLUMNS_AGREE)
_DETAILS = """
SELECT leaf.idx, detail.event_id, detail.salt, detail.body, detail.media_type, detail.erased_at
FROM audit.leaves(%s, %s, %s) AS leaf
JOIN audit.event AS event ON event.id = leaf.event_id AND event.id >= %s AND event.id <= %s
JOIN audit.detail AS detail ON detail.event_id = leaf.event_id AND detail.event_id >= %s AND detail.event_id <= %s
{join}
WHERE NOT ({left_out}) ORDER BY leaf.idx
"""
