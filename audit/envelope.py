"""The signed body of an event: what stands in it, its exact bytes, and the statement that stores it. Pure.

The gateway uses this without the ORM. Everything personal (labels, addresses, prompts, arguments, results) goes into the
erasable detail, which the body binds by a salted commitment: erase salt and detail, and nothing can be guessed.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID

import orjson

from audit.retention.classes import class_of
from audit.signing import KeyRing
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.canonical import NotCanonical, sorted_json
from provenance.ids import uuid7
from provenance.risk import Risk

VERSION = 1
MAX_BODY_BYTES = 8192
MAX_DETAIL_BYTES = 65_536
SALT_BYTES = 32
_CLIPPED_CHARACTERS = 1000
_DEEPEST = 60
_SURROGATES = re.compile("[\ud800-\udfff]")

Op = Literal["insert", "update", "delete", "read"]
Outcome = Literal["success", "failure", "blocked", "pending", "unknown"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class BodyTooLarge(ValueError):
    """The signed body would pass 8 KiB: something long was put where only ids and names of fields belong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """What an event is about. `rev`, `changed` and `state` describe a governed row after the change."""

    type: str
    id: str
    rev: int | None = None
    op: Op = "read"
    changed: Sequence[str] = ()
    state: str | None = None
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """Where it happened. `action_id` pairs a before with its after.

    `tool`: the id of the tool that is called, which the object, a call of it, does not say. `action_digest` is the digest
    of the one call that an approval asks for, allows or is used for (T05). `continues`:
    the published checkpoint that a new epoch of a log follows, and how much of it was kept.
    """

    run_id: UUID | None = None
    step: str = ""
    workflow_version: str = ""
    agent_version: str = ""
    tool: UUID | None = None
    action_id: UUID | None = None
    action_digest: str = ""
    request_id: str = ""
    environment: str = ""
    data_tier: int | None = None
    continues: Mapping[str, Any] | None = None

    def signed(self) -> dict[str, Any]:
        """The form that stands in the body: only what is known."""
        known = {
            "run_id": str(self.run_id) if self.run_id else "",
            "step": self.step,
            "workflow_version": self.workflow_version,
            "agent_version": self.agent_version,
            "tool": str(self.tool) if self.tool else "",
            "action_id": str(self.action_id) if self.action_id else "",
            "action_digest": self.action_digest,
            "request": self.request_id,
            "environment": self.environment,
        }
        facts: dict[str, Any] = {name: value for name, value in known.items() if value}
        if self.data_tier is not None:
            facts["data_tier"] = self.data_tier
        if self.continues is not None:
            facts["continues"] = dict(self.continues)
        return facts


@dataclass(frozen=True, slots=True)
class Detail:
    """The erasable part, with the salt that makes its commitment unguessable."""

    body: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    media_type: str = "application/json"
    retention_class: str = "standard"

    def commitment(self) -> str:
        """What the signed body says about it."""
        return hmac.digest(self.salt, self.body, hashlib.sha256).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedEvent:
    """One event, ready to be stored: the exact signed bytes, and its detail. Postgres takes every column from the bytes."""

    id: UUID
    workspace_id: UUID | None
    mac: bytes = field(repr=False)
    body: str = field(repr=False)
    detail: Detail | None = field(default=None, repr=False)


def build(
    *,
    keys: KeyRing,
    actor: Actor,
    event: Event,
    target: ObjectFacts,
    workspace_id: UUID | None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    context: EventContext | None = None,
    outcome: Outcome = "success",
    risk: Risk | None = None,
    gap: int = 0,
    now: datetime | None = None,
) -> SignedEvent:
    """Sign one event under the current key of `keys`.

    `gap`: how many occurrences this event stands for beyond itself (aggregated refusals). U+0000 and surrogates are
    replaced by U+FFFD and the body says so (`sanitized`). Raises `BodyTooLarge` and `NotCanonical`.
    """
    context = context or EventContext(request_id=actor.request_id)
    event_id = uuid7()
    signing_key = keys.signing_key(workspace_id)
    clean = _Sanitizer()
    sealed = _detail(clean, actor, target, reason, detail, retention_class=class_of(event))
    body = {
        "v": VERSION,
        "id": str(event_id),
        "kid": signing_key.kid,
        "workspace": str(workspace_id) if workspace_id else None,
        "at": timestamp(now or datetime.now(UTC)),
        "action": event.value,
        "outcome": outcome,
        "risk": (risk or event.risk).value,
        "actor": clean.facts({"type": actor.kind.value, "id": actor.id, "via": actor.via}),
        "on_behalf_of": clean.fact(actor.on_behalf_of),
        "object": clean.facts({"type": target.type, "id": target.id, "rev": target.rev, "op": target.op}),
        "changed": [clean.fact(name) for name in sorted(target.changed)],
        "state": clean.fact(target.state),
        "detail": sealed.commitment() if sealed else None,
        "context": clean.facts(context.signed()),
        "gap": clean.fact(gap),
    }
    if clean.replaced:
        body["sanitized"] = True
    # Every value above went through `fact` or is made here, so all of it is in the profile.
    text = sorted_json(body)
    if len(text) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body of {event.value} would have {len(text)} bytes; {MAX_BODY_BYTES} is the most.")
    return SignedEvent(
        id=event_id,
        workspace_id=workspace_id,
        mac=signing_key.mac(text),
        body=text.decode(),
        detail=sealed,
    )


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always the same length: `2026-11-21T00:32:38.000000Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


_MOST_SIDE_BY_SIDE = 8
_STORE_MANY = """\
SELECT audit.store(body, mac, salt, detail, media_type, class)
FROM (VALUES {}) AS event (body, mac, salt, detail, media_type, class)"""
_STORED_ROW = "(%s::text, %s::bytea, %s::bytea, %s::bytea, %s::text, %s::text)"


def storing(events: Sequence[SignedEvent]) -> tuple[str, list[Any]]:
    """The statement that stores the events with their details, and its parameters, for any psycopg cursor.

    It must run inside the transaction of the change that the events cover, all of one workspace in its scope. Columns are
    not sent: the database takes them from the signed body (`audit.store`).
    """
    if len(events) > _MOST_SIDE_BY_SIDE:
        return _STORE_MANY.format(", ".join([_STORED_ROW] * len(events))), [
            column for event in events for column in _stored(event)
        ]
    # Without casts, and bytes as text: Postgres takes each for what the argument is, and folds no constants first.
    parameters = [_as_text(column) for event in events for column in _stored(event)]
    return "SELECT " + ", ".join(["audit.store(%s, %s, %s, %s, %s, %s)"] * len(events)), parameters


def _as_text(column: str | bytes | None) -> str | None:
    return f"\\x{column.hex()}" if isinstance(column, bytes) else column


def _stored(event: SignedEvent) -> tuple[str | bytes | None, ...]:
    if event.detail is None:
        return event.body, event.mac, None, None, None, None
    detail = event.detail
    return event.body, event.mac, detail.salt, detail.body, detail.media_type, detail.retention_class


def _detail(
    clean: "_Sanitizer",
    actor: Actor,
    target: ObjectFacts,
    reason: str,
    detail: Mapping[str, Any] | None,
    *,
    retention_class: str,
) -> Detail | None:
    known: dict[str, Any] = {
        "actor_label": actor.label,
        "ip": actor.ip,
        "object_label": target.label,
        "reason": reason,
    }
    facts = {name: value for name, value in known.items() if value} | dict(detail or {})
    if not facts:
        return None
    return Detail(
        body=_fitted(clean.value(facts)), salt=secrets.token_bytes(SALT_BYTES), retention_class=retention_class
    )


def _fitted(facts: dict[str, Any]) -> bytes:
    """The detail as JSON of bounded size: long texts are clipped first, then everything but the labels is left out.

    A hostile result must be able to fill neither the log nor the sealer, and must not stop the event either.
    """
    body = _json(facts)
    if len(body) <= MAX_DETAIL_BYTES:
        return body
    size, digest = len(body), hashlib.sha256(body).hexdigest()
    omitted = {"size_bytes": size, "sha256": digest}
    body = _json(_clipped(facts) | {"clipped": omitted})
    if len(body) <= MAX_DETAIL_BYTES:
        return body
    labels = {name: facts[name] for name in ("actor_label", "ip", "object_label", "reason") if name in facts}
    return _json(_clipped(labels) | {"omitted": omitted})


def _clipped(value: Any) -> Any:
    match value:
        case str() if len(value) > _CLIPPED_CHARACTERS:
            return value[:_CLIPPED_CHARACTERS] + "…"
        case dict():
            return {name: _clipped(item) for name, item in value.items()}
        case list() | tuple():
            return [_clipped(item) for item in value]
        case _:
            return value


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)


class _Sanitizer:
    """Replaces what JSON in Postgres cannot hold, and remembers whether it had to."""

    def __init__(self) -> None:
        self.replaced = False

    def fact(self, value: Any) -> Any:
        """A value of the signed body, with nothing in it that the profile leaves out. Raises `NotCanonical`."""
        match value:
            case str():
                return self._text(value)
            case None | int():
                return value
            case dict():
                return self.facts(value)
            case list() | tuple():
                return [self.fact(item) for item in value]
            case _:
                raise NotCanonical(f"{type(value).__name__} does not belong into a signed body")

    def facts(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """An object of the signed body. Its names are ours."""
        return {name: self.fact(value) for name, value in values.items()}

    def value(self, value: Any, depth: int = 0) -> Any:
        match value:
            case str():
                return self._text(value)
            case int() if not -(2**63) <= value < 2**63:
                return str(value)
            case dict() | list() | tuple() if depth >= _DEEPEST:
                # What a stranger nested deeper is not worth a stack overflow.
                return "…"
            case dict():
                return {self._name(name): self.value(item, depth + 1) for name, item in value.items()}
            case list() | tuple():
                return [self.value(item, depth + 1) for item in value]
            case _:
                return value

    def _name(self, name: Any) -> Any:
        return self._text(name) if isinstance(name, str) else name

    def _text(self, text: str) -> str:
        if text.isascii() and "\0" not in text:
            return text
        clean = text.replace("\0", "\ufffd")
        # orjson refuses lone surrogates; a str that came from JSON or a file name may hold them.
        clean = _SURROGATES.sub("\ufffd", clean)
        self.replaced = self.replaced or clean != text
        return clean
