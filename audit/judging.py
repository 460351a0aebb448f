"""Is a stored event what it claims to be? One judgment for everybody who reads the log: sealer, pages, verification. Pure.

It compares stored bytes with stored columns. That an event is missing is for the tree and the revisions to show.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from audit.clocks import CLOCK_TOLERANCE
from audit.signing import MAC_PREFIX, KeyRing, may_sign

COLUMNS = (
    "id, workspace_id, object_type, object_id, rev, op, changed, action, actor_id, actor_type, outcome, risk, run_id, "
    "kid, mac, body"
)
_TOLERANCE_MS = CLOCK_TOLERANCE // timedelta(milliseconds=1)
CHECKPOINT_PREFIX = b"provenance-checkpoint-v1\n"


class StoredEvent(NamedTuple):
    """A row of `audit.event`, in the order of `COLUMNS`."""

    id: UUID
    workspace_id: UUID | None
    object_type: str
    object_id: str
    rev: int | None
    op: str
    changed: list[str]
    action: str
    actor_id: str
    actor_type: str
    outcome: str
    risk: str
    run_id: UUID | None
    kid: str
    mac: bytes
    body: str


def event_entry(body: bytes, mac: bytes) -> bytes:
    """What the log holds of an event: the signed bytes and their MAC, which keeps the leaf's hash from being guessed."""
    return MAC_PREFIX + body + mac


def checkpoint_entry(text: str) -> bytes:
    """What the instance log holds of another log's checkpoint."""
    return CHECKPOINT_PREFIX + text.encode()


def flaw(event: StoredEvent, keys: KeyRing) -> str:
    """What is wrong with an event, in a few words; empty when it is genuine and its columns say what was signed."""
    if not event.body or not event.mac:
        return "it has no text or no signature"
    key = keys.key(event.kid, event.workspace_id)
    if key is None:
        return f"no key {event.kid} is known"
    if not key.verifies(event.body.encode(), bytes(event.mac)):
        return "the signature does not hold"
    if not may_sign(event.kid, action=event.action, actor_type=event.actor_type):
        return f"{event.kid} may not tell what people do and decide"
    return mismatch(event)


def too_late(event: StoredEvent, ended: Mapping[str, UUID]) -> str:
    """Whether its key had ended before it was stored. `ended`: key id -> the last id of an event under it.

    Whoever kept a transaction open since before a key ended, and reads in it what was then, could still store one.
    """
    last = ended.get(event.kid)
    return f"{event.kid} had ended before it was stored" if last and event.id > last else ""


def signed_body(text: str) -> dict[str, Any]:
    """What the stored text of an event says; empty when somebody replaced it by what is no body."""
    return json_object(text)


def json_object(text: str | bytes) -> dict[str, Any]:
    """What stored JSON says; empty when it is no object."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def is_told_when_made(event_id: str, at: Any) -> bool:
    """Whether the time that an event tells is the time in its id, within what clocks may differ by.

    Months and searches go by the id, people by the time.
    """
    made = int(event_id[:8] + event_id[9:13], 16)
    try:
        return abs(datetime.fromisoformat(at).timestamp() * 1000 - made) <= _TOLERANCE_MS
    except (TypeError, ValueError):
        return False


def mismatch(event: StoredEvent) -> str:
    """Which column does not say what the signed body says; empty when all do."""
    try:
        found = differences(event)
    except ValueError as error:
        return str(error)
    return f"{', '.join(name for name, _signed, _stored in found)} differs from the signed body" if found else ""


def differences(event: StoredEvent) -> list[tuple[str, Any, Any]]:
    """Each column that does not say what was signed: its name, what was signed, what is stored.

    Raises ValueError for a body that is none of an event.
    """
    try:
        body = orjson.loads(event.body)
        said = _said(body)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError("the signed body is not one of an event") from None
    # Two readers could read two things in any other form, and a verifier elsewhere takes none of them.
    if orjson.dumps(body, option=orjson.OPT_SORT_KEYS) != event.body.encode():
        raise ValueError("the signed body is not in canonical form")
    stored = _stored(event)
    if not is_told_when_made(stored[0], body.get("at")):
        raise ValueError("the time it tells is more than five minutes from the time in its id")
    if said == stored:
        return []
    compared = zip(_COMPARED, said, stored, strict=True)
    return [(name, signed, column) for name, signed, column in compared if signed != column]


_COMPARED = (
    *("id", "workspace_id", "object_type", "object_id", "rev", "op", "changed", "action", "actor_id", "actor_type"),
    *("outcome", "risk", "run_id", "kid"),
)


def _said(body: Any) -> tuple[Any, ...]:
    about, actor = body["object"], body["actor"]
    return (
        body["id"],
        body["workspace"],
        about["type"],
        about["id"],
        about["rev"],
        about["op"],
        body["changed"],
        body["action"],
        actor["id"],
        actor["type"],
        body["outcome"],
        body["risk"],
        body["context"].get("run_id"),
        body["kid"],
    )


def _stored(event: StoredEvent) -> tuple[Any, ...]:
    return (
        str(event.id),
        str(event.workspace_id) if event.workspace_id else None,
        event.object_type,
        event.object_id,
        event.rev,
        event.op,
        event.changed,
        event.action,
        event.actor_id,
        event.actor_type,
        event.outcome,
        event.risk,
        str(event.run_id) if event.run_id else None,
        event.kid,
    )
