"""Does the stored log continue what was published? And how it is begun anew when it does not.

A restored backup, a lossy failover and a rewritten database all look alike from outside: a published checkpoint that the
log does not lead to. Sealing on would sign two histories under one name; so the sealer stops, and a person on the host
starts a new epoch, a log of another name whose first leaf says which checkpoint it follows and what of it is missing.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg

from audit.anchors import text_of
from audit.judging import COLUMNS, StoredEvent, flaw
from audit.merkle import range_root
from audit.notes import AnyVerifier, BadNote, Checkpoint, opened
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.tree import Tree

_EPOCH = re.compile(r"/e([1-9][0-9]*)$")
_SEALER_KEY = "sealer"


@dataclass(frozen=True, slots=True)
class LogName:
    """Whose log an origin names, and in which epoch."""

    workspace_id: UUID | None
    epoch: int

    @classmethod
    def parse(cls, origin: str, installation: str) -> "LogName | None":
        """What `origin_of` gave; None for the log of another installation."""
        if not origin.startswith(f"{installation}/"):
            return None
        rest = origin.removeprefix(f"{installation}/")
        found = _EPOCH.search(rest)
        try:
            name, epoch = (rest[: found.start()], int(found[1])) if found else (rest, 1)
            return cls(None if name == "instance" else UUID(name), epoch)
        except ValueError:
            return None


def origin_of(installation: str, workspace_id: UUID | None, epoch: int = 1) -> str:
    """The first line of a log's checkpoints. No two epochs share one."""
    return f"{installation}/{workspace_id or 'instance'}{f'/e{epoch}' if epoch > 1 else ''}"


def misnamed(installation: str, workspace_id: UUID | None, epoch: int, origin: str) -> str:
    """A sentence where a stored log has another name than that: what is published under one is looked for under it alone."""
    wanted = origin_of(installation, workspace_id, epoch)
    whose = f"workspace {workspace_id}" if workspace_id else "the instance"
    return (
        "" if origin == wanted else f"A log of {whose} is called {origin:.99} in the database, and its name is {wanted}"
    )


@dataclass(frozen=True, slots=True)
class Break:
    """A log that does not continue its published checkpoint. `kept`: how many of its leaves the database has."""

    workspace_id: UUID | None
    published: Checkpoint | None
    kept: int
    next_epoch: int
    problem: str

    @property
    def continues(self) -> dict[str, Any]:
        """What the first leaf of the new epoch says about the old one."""
        if self.published is None:
            return {"kept": self.kept}
        root = self.published.root.hex()
        return {"origin": self.published.origin, "size": self.published.size, "root": root, "kept": self.kept}


class OwnTree(Tree):
    """The tree as the sealer reads it: its tables themselves, of every log."""

    def leaves(self, log_id: int, first: int, end: int) -> list[bytes]:
        """The leaf hashes from `first` up to `end`."""
        rows = self.execute(
            "SELECT COALESCE(hash, '') FROM audit.leaf WHERE log_id = %s AND idx >= %s AND idx < %s ORDER BY idx",
            [log_id, first, end],
        )
        if len(rows) != end - first:
            raise LookupError(f"leaves between {first} and {end} of log {log_id} are missing")
        return [bytes(value) for (value,) in rows]

    def _tile(self, log_id: int, height: int, number: int) -> bytes:
        rows = self.execute(
            "SELECT data FROM audit.tile WHERE log_id = %s AND level = %s AND n = %s AND octet_length(data) = 8192",
            [log_id, height, number],
        )
        if not rows:
            raise LookupError(f"tile {height}/{number} of log {log_id} is missing")
        return bytes(rows[0][0])


def tree_over(connection: psycopg.Connection[Any]) -> OwnTree:
    """The sealer's tree over its connection."""
    return OwnTree(lambda statement, parameters: connection.execute(statement, parameters).fetchall())


def breaks(
    connection: psycopg.Connection[Any],
    *,
    installation: str,
    published: Iterable[str],
    verifiers: Callable[[str], Sequence[AnyVerifier]],
    keys: KeyRing,
) -> list[Break]:
    """Where the database does not lead to what was published. `published`: notes of any logs, from the anchors.

    Raises `BadNote` for a note of this installation that none of its keys signed.
    """
    newest = _newest(published, installation, verifiers)
    stored = _stored(connection, installation)
    found = []
    for workspace_id in {*newest, *(name.workspace_id for name in stored)}:
        epochs = {name.epoch: log for name, log in stored.items() if name.workspace_id == workspace_id}
        epoch, checkpoint = newest.get(workspace_id, (0, None))
        problem, kept = _problem(connection, keys, epochs, epoch, checkpoint)
        if problem:
            following = max([epoch, *epochs]) + 1
            found.append(Break(workspace_id, checkpoint, kept, following, problem))
    return sorted(found, key=lambda found: str(found.workspace_id or ""))


@dataclass(frozen=True, slots=True)
class _Stored:
    """A log in the database: its size, and the first event of it where that may say what it follows."""

    id: int
    origin: str
    size: int
    first: StoredEvent | None


def _newest(
    published: Iterable[str], installation: str, verifiers: Callable[[str], Sequence[AnyVerifier]]
) -> dict[UUID | None, tuple[int, Checkpoint]]:
    """Of each log the largest published checkpoint of its newest epoch."""
    newest: dict[UUID | None, tuple[int, Checkpoint]] = {}
    for note in published:
        claimed = Checkpoint.parse(text_of(note))
        name = LogName.parse(claimed.origin, installation)
        if name is None:
            continue
        try:
            checkpoint = opened(note, verifiers(claimed.origin))
        except BadNote as problem:
            raise BadNote(
                f"the kept checkpoint of {claimed.origin} at {claimed.size} is not signed by this log's key ({problem})"
            ) from problem
        known = newest.get(name.workspace_id)
        if known is None or (known[0], known[1].size) < (name.epoch, checkpoint.size):
            newest[name.workspace_id] = (name.epoch, checkpoint)
    return newest


def _stored(connection: psycopg.Connection[Any], installation: str) -> dict[LogName, _Stored]:
    rows = connection.execute(_LOGS).fetchall()
    found = {}
    for log_id, workspace_id, epoch, origin, size, *first in rows:
        event = StoredEvent(*first) if first[0] is not None else None
        found[LogName(workspace_id, epoch)] = _Stored(log_id, origin, size, event)
        if origin != origin_of(installation, workspace_id, epoch):
            # The installation got another name; its older logs are no part of what this sealer continues.
            del found[LogName(workspace_id, epoch)]
    return found


def _problem(
    connection: psycopg.Connection[Any],
    keys: KeyRing,
    epochs: dict[int, _Stored],
    epoch: int,
    published: Checkpoint | None,
) -> tuple[str, int]:
    """What is wrong with one log, empty when nothing is; and how many leaves of the published epoch are stored."""
    log = epochs.get(epoch)
    kept = min(log.size, published.size) if log and published else 0
    later = max(epochs, default=0)
    if later > max(epoch, 1):
        return _unstarted(epochs[later], published, keys), kept
    if published is None:
        return "", kept
    if log is None:
        return (
            f"the log {published.origin} is not in the database, and {published.size} entries of it were published",
            0,
        )
    if log.size < published.size:
        return f"{published.origin} has {log.size} entries, and {published.size} were published", kept
    return _differs(connection, log, published), kept


def _unstarted(log: _Stored, published: Checkpoint | None, keys: KeyRing) -> str:
    """An epoch that nobody on the host has started is no excuse: its first leaf must say what it follows."""
    said = continued(log.first, keys) if log.first else None
    if said is None:
        return f"{log.origin} is a new epoch that no signed event started"
    wanted = {"origin": published.origin, "size": published.size, "root": published.root.hex()} if published else {}
    if any(said.get(name) != value for name, value in wanted.items()):
        return f"{log.origin} does not follow the published checkpoint of {wanted['origin']} at {wanted['size']}"
    return ""


def _differs(connection: psycopg.Connection[Any], log: _Stored, published: Checkpoint) -> str:
    read = tree_over(connection).reader(log.id, log.size)
    try:
        root = range_root(read, 0, published.size)
    except LookupError as missing:
        return f"{published.origin} cannot be read: {missing}"
    if root != published.root:
        return f"the first {published.size} entries of {published.origin} are not those that were published"
    return ""


def continued(event: StoredEvent, keys: KeyRing) -> dict[str, Any] | None:
    """What the first event of an epoch says it follows; None when the event is not a genuine one of that kind."""
    if event.action != Event.AUDIT_EPOCH_STARTED or event.kid.rpartition("-")[0] != _SEALER_KEY or flaw(event, keys):
        return None
    said = orjson.loads(event.body)["context"].get("continues")
    return said if isinstance(said, dict) else None


_LOGS = f"""
SELECT log.id, log.workspace_id, COALESCE(log.epoch, 0), COALESCE(log.origin, ''), COALESCE(newest.size, 0), first.*
FROM audit.log AS log
LEFT JOIN LATERAL (SELECT size FROM audit.checkpoint WHERE log_id = log.id ORDER BY size DESC LIMIT 1) AS newest ON true
LEFT JOIN audit.leaf AS leaf ON log.epoch > 1 AND leaf.log_id = log.id AND leaf.idx = 0
LEFT JOIN LATERAL (SELECT {", ".join(f"event.{name.strip()}" for name in COLUMNS.split(","))} FROM audit.event
                   WHERE event.id = leaf.event_id) AS first ON true
"""  # noqa: S608  composed of constants


def followed(connection: psycopg.Connection[Any], keys: KeyRing) -> dict[str, dict[str, Any]]:
    """What the signed first events of epochs say of the logs that they follow, by those logs' origins."""
    found = {}
    for row in connection.execute(_LOGS).fetchall():
        said = continued(StoredEvent(*row[5:]), keys) if row[5] is not None else None
        if said and "origin" in said:
            found[said["origin"]] = said
    return found


def first_event(connection: psycopg.Connection[Any], workspace_id: UUID | None) -> StoredEvent | None:
    """The event that began the newest epoch of a log; None for a log that was never begun anew."""
    rows = connection.execute(
        f"{_LOGS} WHERE log.workspace_id IS NOT DISTINCT FROM %s ORDER BY log.epoch", [workspace_id]
    )
    # Somebody may have taken away the log itself.
    newest = next(reversed(rows.fetchall()), None)
    return StoredEvent(*newest[5:]) if newest and newest[5] is not None else None
