"""Is an event genuine? Nearly all are, and that is seen at a glance: by a row in the form in which the signed body has it.

Making values of what is stored would be most of the work, so ids stay text in here, and arrays bytes. What is not seen to
be genuine `audit.judging` judges, which says in words what is wrong.
"""

import hashlib
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from audit.judging import StoredEvent, is_told_when_made
from audit.signing import MAC_PREFIX, SPEAKS_FOR_PEOPLE, KeyRing
from audit.taxonomy import DECISIONS
from provenance.actor import ActorKind

# `_SAID` and the two after it name three runs of these columns. Whoever owns the table can take NOT NULL away.
COLUMNS = (
    "id::text, COALESCE(mac, ''), textsend(COALESCE(body, '')), kid, action, outcome, risk, object_type, object_id, rev, op, actor_id, actor_type, "
    "array_send(changed), run_id::text, workspace_id::text"
)
_SAID = itemgetter("kid", "action", "outcome", "risk")
_OF_OBJECT = itemgetter("type", "id", "rev", "op")
_OF_ACTOR = itemgetter("id", "type")
# Dimensions, flags, and the type (25 is text).
_EMPTY_LIST, _LIST = bytes(11) + b"\x19", b"\0\0\0\1" + bytes(7) + b"\x19"
_LEAF = hashlib.sha256(b"\0" + MAC_PREFIX)


class Row(NamedTuple):
    """A row of `audit.event` by `COLUMNS`, as the binary protocol gives it."""

    id: str
    mac: bytes
    body: bytes
    kid: str
    action: str
    outcome: str
    risk: str
    object_type: str
    object_id: str
    rev: int | None
    op: str
    actor_id: str
    actor_type: str
    changed: bytes
    run_id: str | None
    workspace_id: str | None

    def event(self) -> StoredEvent:
        """The same as values."""
        values = self._asdict() | {
            "id": UUID(self.id),
            "workspace_id": UUID(self.workspace_id) if self.workspace_id else None,
            "run_id": UUID(self.run_id) if self.run_id else None,
            "changed": _words(self.changed),
            "body": self.body.decode(errors="replace"),
        }
        return StoredEvent(**values)


class Glance:
    """Looks at events of one log."""

    __slots__ = ("_begun", "_keys", "_workspace", "_workspace_id")

    def __init__(self, keys: KeyRing, workspace_id: UUID | None) -> None:
        self._keys, self._workspace_id = keys, workspace_id
        self._workspace = str(workspace_id) if workspace_id else None
        self._begun: dict[str, _Begun] = {}

    def said(self, row: Row | tuple[Any, ...]) -> dict[str, Any] | None:
        """The signed body of a genuine event; None for one that wants judging. That it lies in this log is not asked."""
        identity, mac, body, kid = row[:4]
        begun = self._begun.get(kid) or self._begin(kid)
        if begun is None:
            return None
        inner, outer = begun.inner.copy(), begun.outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        # Nobody waits for the answer here, so its time tells nothing.
        if outer.digest() != mac:
            return None
        try:
            said: dict[str, Any] = orjson.loads(body)
            names = said["changed"]
            is_genuine = (
                said["id"] == identity
                and said["workspace"] == self._workspace
                and is_told_when_made(identity, said["at"])
                # Several at a time: looking each up and comparing it would be a quarter of all.
                and _SAID(said) == row[3:7]
                and _OF_OBJECT(said["object"]) == row[7:11]
                and _OF_ACTOR(said["actor"]) == row[11:13]
                and said["context"].get("run_id") == row[14]
                and (row[13] == _EMPTY_LIST if names == [] else _words(row[13]) == names)
                and (begun.speaks or not (row[12] == ActorKind.USER or row[4] in DECISIONS))
                and orjson.dumps(said, option=orjson.OPT_SORT_KEYS) == body
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
            return None
        return said if is_genuine else None

    def _begin(self, kid: str) -> "_Begun | None":
        if begun := _Begun.of(self._keys, kid, self._workspace_id):
            self._begun[kid] = begun
        return begun


class _Begun(NamedTuple):
    """HMAC-SHA256 under one key up to where the body begins: to copy one is half of what making it costs."""

    inner: Any
    outer: Any
    speaks: bool

    @classmethod
    def of(cls, keys: KeyRing, kid: str, workspace_id: UUID | None) -> "_Begun | None":
        key = keys.key(kid, workspace_id)
        if key is None:
            return None
        padded = key.secret.ljust(hashlib.sha256().block_size, b"\0")
        inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + MAC_PREFIX)
        outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        return cls(inner, outer, kid.rpartition("-")[0] in SPEAKS_FOR_PEOPLE)


def leaf_of(body: bytes, mac: bytes) -> bytes:
    """The leaf's hash of an event: `leaf_hash` of its `event_entry`, with less work."""
    leaf = _LEAF.copy()
    leaf.update(body)
    leaf.update(mac)
    return leaf.digest()


def _words(array: bytes) -> list[str]:
    """A text[] in the binary form of Postgres; one word that no event says for what is no plain list of words."""
    if array == _EMPTY_LIST:
        return []
    if array[:12] != _LIST:
        return [array.hex()]
    count, at, found = int.from_bytes(array[12:16]), 20, []
    for _ in range(count):
        size = int.from_bytes(array[at : at + 4])
        found.append(array[at + 4 : at + 4 + size].decode(errors="replace"))
        at += 4 + size
    return found
