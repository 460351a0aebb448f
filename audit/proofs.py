"""Proofs about stored logs, as the text that a verifier reads (docs/audit-format.md).

What may be read is for `audit.tree` to say. Nothing here is secret from whoever may read the log.
"""

import base64
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from audit.errors import DamagedLog
from audit.judging import event_entry
from audit.merkle import check_consistency, consistency_proof, leaf_hash, range_proof
from audit.notes import Checkpoint
from audit.tree import SignedCheckpoint, StoredLog, Tree
from provenance.errors import Conflict

TLOG_PROOF = "c2sp.org/tlog-proof@v1"
RANGE_PROOF = "provenance-range-proof@v1"


class NotYetSealed(Conflict):
    """This is not in a published checkpoint yet, so nothing can be proved about it. Try again in a second."""

    code = "not_yet_sealed"
    title = "Not sealed yet"


class AnotherLog(Conflict):
    """The checkpoint is not one of this log: another name, larger than the log, or another history."""

    code = "another_log"
    title = "Another log"


def event_proof(tree: Tree, event_id: UUID) -> str:
    """The `.tlog-proof` of one event in the first published checkpoint that holds it (c2sp.org/tlog-proof@v1).

    It is the one that the event's page names, and stays the same however the log grows.

    Its `extra` line is the event itself, as one line of a bundle: with the log's public key the text is all that a
    verifier needs. Raises `NotYetSealed`.
    """
    position = tree.position(event_id)
    sealed_in = position.sealed_in if position else None
    rows = tree.execute(
        "SELECT kid, COALESCE(mac, ''), COALESCE(body, '') FROM audit.event WHERE id = %s",
        [event_id],
    )
    if position is None or sealed_in is None or not rows:
        raise NotYetSealed
    ((kid, mac, body),) = rows
    if not mac or not body:
        raise DamagedLog.by("This event has no text or no signature")
    leaf = leaf_hash(event_entry(body.encode(), bytes(mac))).hex()
    line = {"idx": position.index, "kid": kid, "mac": bytes(mac).hex(), "leaf": leaf[:8], "body": body}
    extra = orjson.dumps(line)
    proof = tree.inclusion(position.log_id, position.index, sealed_in.checkpoint.size)
    return tlog_proof(extra, position.index, proof, sealed_in.note)


def tlog_proof(extra: bytes, index: int, proof: Iterable[bytes], note: str) -> str:
    """The parts as c2sp.org/tlog-proof@v1 puts them together."""
    lines = [TLOG_PROOF, f"extra {_encoded(extra)}", f"index {index}", *map(_encoded, proof)]
    return "\n".join(lines) + f"\n\n{note}"


def range_text(tree: Tree, log_id: int, first: int, end: int, size: int) -> str:
    """What shows that the leaves from `first` up to `end` stand there in the tree of this size: at most 4 KiB."""
    left, right = range_proof(tree.reader(log_id, size), first, end, size)
    lines = [RANGE_PROOF, f"range {first} {end} {size}"]
    lines += [f"left {_encoded(value)}" for value in left] + [f"right {_encoded(value)}" for value in right]
    return "\n".join(lines) + "\n"


def consistency_text(tree: Tree, log_id: int, old: int, size: int) -> str:
    """What shows that the tree of this size begins with the tree of the old one: the range of no leaf between them."""
    return range_text(tree, log_id, old, old, size)


def older_size(tree: Tree, log: StoredLog, newest: SignedCheckpoint, since: int | str) -> int:
    """The size of the checkpoint that an auditor names, by its size or by its note; it must be one of this log.

    Raises `AnotherLog`: what the auditor holds then is worth more than this log, and must not be thrown away.
    """
    if isinstance(since, int):
        if not 0 <= since <= newest.checkpoint.size:
            raise AnotherLog(f"The log has {newest.checkpoint.size} entries, not {since}.")
        return since
    try:
        held = Checkpoint.parse(since.partition("\n\n")[0] + "\n" if "\n\n" in since else since)
        old, size = held.size, newest.checkpoint.size
        if held.origin != log.origin:
            raise AnotherLog(f"That is a checkpoint of {held.origin}, and this is the log {log.origin}.")
        proof = consistency_proof(tree.reader(log.id, size), old, size)
        check_consistency(old, held.root, size, newest.checkpoint.root, proof)
    except ValueError as problem:
        raise AnotherLog(f"The log does not begin with what that checkpoint says: {problem}. Keep it.") from problem
    return old


def _encoded(value: Any) -> str:
    return base64.b64encode(value).decode()
