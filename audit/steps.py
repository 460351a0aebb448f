"""The five steps by which one event is proved, each recomputed from the stored bytes, in words.

Contents match - signature valid - position in the log - inside a checkpoint - checkpoint signed. A step that
fails says what was expected and what was found, and those after it are not checked. Whoever does not trust this server
takes the `.tlog-proof` or a bundle and checks it elsewhere.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from audit.errors import DamagedLog
from audit.judging import StoredEvent, differences, event_entry
from audit.merkle import NotConsistent, leaf_hash, root_of_inclusion
from audit.notes import AnyVerifier, BadNote, opened, verifier_of
from audit.signing import KeyRing, may_sign
from audit.tree import SignedCheckpoint, Tree
from provenance.ids import uuid7_time

SEALED_WITHIN = timedelta(minutes=10)
"""An event is in the log long before this; one that is not, while later ones are, was put into the table past the doors."""


class State(StrEnum):
    """How a step went. `UNKNOWN`: this process lacks what it takes. `WAITING`: there is nothing to check yet."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a plain sentence, and the figure under it. A failed one says what was `expected` and `found`."""

    state: State
    title: str
    figure: str
    expected: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is stored about one event, as whoever asks may read it.

    `detail_matches`: whether the erasable detail is the one that was signed; None where there is nothing to compare.
    """

    event: StoredEvent
    detail_matches: bool | None
    detail_erased: bool
    keys: KeyRing
    tree: Tree
    now: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event stands, and the first checkpoint that holds it. `problem`: why that one cannot be read."""

    log_id: int
    index: int
    sealed_in: SignedCheckpoint | None = None
    problem: str = ""


def position_of(tree: Tree, event_id: UUID) -> Position | None:
    """Where the event stands; None while the sealer has not come to it."""
    found = tree.positions([event_id]).get(event_id)
    if found is None:
        return None
    try:
        return Position(*found, tree.first_checkpoint_over(*found))
    except DamagedLog as error:
        return Position(*found, problem=error.message)


def steps_of(evidence: Evidence, position: Position | None) -> tuple[Step, ...]:
    """The five steps, in order."""
    checks: tuple[Callable[[], Step], ...] = (
        lambda: _contents(evidence),
        lambda: _signature(evidence),
        lambda: _position(evidence, position),
        lambda: _inclusion(evidence, position),
        lambda: _checkpoint(evidence.tree, position),
    )
    steps: list[Step] = []
    for number, check in enumerate(checks):
        if any(step.state is State.FAILED for step in steps):
            steps.append(Step(State.WAITING, _NAMES[number], "Not checked."))
        else:
            steps.append(check())
    return tuple(steps)


def log_keys(tree: Tree, origin: str) -> list[AnyVerifier]:
    """The public keys that sign a log's checkpoints, as the sealer registered them.

    They lie in the same database as the log: enough to find a mistake, and not to convict who owns the database.
    """
    rows = tree.execute("SELECT vkey FROM audit.key WHERE purpose = 'checkpoint' AND vkey <> ''", [])
    return [key for (text,) in rows if (key := _verifier(origin, text))]


_NAMES = (
    "Contents match",
    "Signature is valid",
    "Position in the log",
    "Inside a checkpoint",
    "Checkpoint signed",
)


# --- The steps -------------------------------------------------------------------------------------------------------


def _contents(evidence: Evidence) -> Step:
    body = evidence.event.body.encode()
    digest = f"SHA-256 {_short(hashlib.sha256(body).hexdigest())}"
    try:
        different = differences(evidence.event)
    except ValueError as error:
        return _failed("Contents do not match", digest, "the signed text of an event", str(error))
    if different:
        name, signed, stored = different[0]
        return _failed("Contents do not match", f"Column {name}, {digest}", _value(signed), _value(stored))
    if evidence.detail_matches is False:
        return _failed(
            "Contents do not match", digest, "the details that the signed text commits to", "other details, or none"
        )
    erased = " Its details were erased; the signed text holds without them." if evidence.detail_erased else ""
    return Step(State.OK, "Contents match", f"{digest}, canonical JSON, {len(body):,} bytes.{erased}")


def _signature(evidence: Evidence) -> Step:
    event = evidence.event
    figure = f"HMAC-SHA256, key {event.kid}"
    key = evidence.keys.key(event.kid, event.workspace_id)
    if key is None:
        return Step(State.UNKNOWN, "Signature not checked here", f"{figure} is not held by this process.")
    if not key.verifies(event.body.encode(), bytes(event.mac)):
        # What the right one would be is not shown: whoever reads it could store it.
        return _failed(
            "Signature is not valid", figure, f"the signature of {event.kid}", _short(bytes(event.mac).hex())
        )
    if not may_sign(event.kid, action=event.action, actor_type=event.actor_type):
        return _failed("Signature is not valid", figure, "the key of web, where people act", f"the key {event.kid}")
    return Step(State.OK, "Signature is valid", figure)


def _position(evidence: Evidence, position: Position | None) -> Step:
    if position is None:
        return _not_in_the_log(evidence)
    stored = evidence.tree.leaves(position.log_id, position.index, position.index + 1)
    expected, found = _leaf(evidence.event), stored[0] if stored else b""
    title = f"Position {position.index:,} in the log"
    if found != expected:
        return _failed(
            f"Another entry at {position.index:,}",
            "The log holds something else than this event",
            _short(expected.hex()),
            _short(found.hex()) or "no entry",
        )
    return Step(State.OK, title, f"Leaf {_short(expected.hex())}")


def _not_in_the_log(evidence: Evidence) -> Step:
    # Not by what the body says: a row past the doors can say anything, but it lies in its month.
    made = uuid7_time(evidence.event.id)
    newest = _newest(evidence)
    if newest is not None and newest.at - made > SEALED_WITHIN:
        return _failed(
            "Not in the log",
            "It was put into the table and never sealed",
            f"an entry of {made:%Y-%m-%d %H:%M:%S} UTC",
            f"none, though the log is sealed up to {newest.at:%Y-%m-%d %H:%M:%S} UTC",
        )
    if evidence.now - made > SEALED_WITHIN:
        return Step(
            State.WAITING, _NAMES[2], "Signed, not sealed: the sealer has not worked since. Tell your operator."
        )
    return Step(State.WAITING, _NAMES[2], "Signed, not sealed yet.")


def _inclusion(evidence: Evidence, position: Position | None) -> Step:
    if position is not None and position.problem:
        return _failed("Not inside a checkpoint", "The stored checkpoint is none", "three lines", position.problem)
    if position is None or position.sealed_in is None:
        return Step(State.WAITING, _NAMES[3], "Not checked: no checkpoint holds it yet.")
    sealed = position.sealed_in.checkpoint
    title = f"Inside checkpoint {sealed.size:,}"
    try:
        proof = evidence.tree.inclusion(position.log_id, position.index, sealed.size)
        root = root_of_inclusion(_leaf(evidence.event), position.index, sealed.size, proof)
    except (LookupError, NotConsistent, ValueError) as error:
        return _failed(
            f"Not {title.lower()}", "The tree cannot be read", f"root {_short(sealed.root.hex())}", str(error)
        )
    if root != sealed.root:
        return _failed(
            f"Not {title.lower()}",
            f"Inclusion proof of {_counted(len(proof), 'step')}",
            f"root {_short(sealed.root.hex())}",
            f"root {_short(root.hex())}",
        )
    return Step(
        State.OK,
        title,
        f"Inclusion proof, {_counted(len(proof), 'step')} to root {_short(root.hex())}, {sealed.origin}",
    )


def _checkpoint(tree: Tree, position: Position | None) -> Step:
    if position is None or position.sealed_in is None:
        return Step(State.WAITING, _NAMES[4], "Not checked.")
    sealed = position.sealed_in
    keys = log_keys(tree, sealed.checkpoint.origin)
    if not keys:
        return Step(State.UNKNOWN, "Checkpoint not checked here", "No public key of the log is registered.")
    try:
        opened(sealed.stored, keys)
    except BadNote as error:
        names = ", ".join(sorted({key.id.hex() for key in keys}))
        return _failed(
            "Checkpoint is not signed", str(error).capitalize(), f"a signature of {names}", "none that holds"
        )
    # The log's own signatures name no time, so the database's word for it is told as that.
    when = f"stored {sealed.at:%Y-%m-%d %H:%M:%S} UTC by the database's clock"
    signers = " and ".join(key.id.hex() for key in keys if _has_signed(key, sealed.stored))
    figure = f"Ed25519 key {signers}; {when}"
    noted = f"; entry {sealed.instance_idx:,} in the log of logs" if sealed.instance_idx is not None else ""
    # Whether those hold, only who has the keys of witnesses can say, and anybody who owns the database can write some.
    cosigned = "; cosignatures stand beside it, not checked here" if sealed.cosignatures else ""
    return Step(State.OK, "Checkpoint is signed", f"{figure}{noted}{cosigned}")


# --- Words and parts -------------------------------------------------------------------------------------------------


def _failed(title: str, figure: str, expected: str, found: str) -> Step:
    return Step(State.FAILED, title, f"{figure}. Tell your security lead.", expected, found)


def _leaf(event: StoredEvent) -> bytes:
    return leaf_hash(event_entry(event.body.encode(), bytes(event.mac)))


def _newest(evidence: Evidence) -> SignedCheckpoint | None:
    logs = evidence.tree.logs(evidence.event.workspace_id)
    try:
        return evidence.tree.newest_checkpoint(logs[-1].id) if logs else None
    except DamagedLog:
        # What is wrong with the checkpoint is told where it is looked at; here only its time is asked for.
        return None


def _has_signed(key: AnyVerifier, note: str) -> bool:
    """While a key of the log is replaced, the old one signs beside the new one."""
    try:
        opened(note, [key])
    except BadNote:
        return False
    return True


def _verifier(origin: str, text: str) -> AnyVerifier | None:
    """The key under the name of this log: one pair signs all of them."""
    try:
        return verifier_of(origin, base64.b64decode(text, validate=True))
    except ValueError:
        return None


def _short(text: str) -> str:
    """`5e8b 03c1 … 77fa` of a hash in hex."""
    return f"{text[:4]} {text[4:8]} … {text[-4:]}" if len(text) > 12 else text


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return text[:80]


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
