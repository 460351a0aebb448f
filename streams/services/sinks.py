"""Receivers of the sealed log: register, change, disable, enable, remove."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from audit.services import record
from audit.taxonomy import Event
from audit.tree import django_tree
from gateway.deliveries.contract import NEEDS_SECRET, SLOTS, Kind, url_of
from provenance.actor import Actor
from provenance.db import service, workspace_of
from provenance.egress import Egress, EgressRefused, origin_of, tls_context
from provenance.errors import Conflict, Invalid, NotFound
from provenance.risk import Risk
from secrets_vault import references
from secrets_vault import services as vault
from secrets_vault.models import Secret, SecretBinding
from streams import reading
from streams.models import LONGEST_ADDRESS, Cursor, Sink
from streams.services import require_manager

MOST_SINKS = 20
MOST_EVENTS = 50
LARGEST_AUTHORITIES = 64 * 1024
DEFAULT_REGION = "us-east-1"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_EXCEPTED = {"scheme", "local_name", "private_address"}
_EVENTS = frozenset(event.value for event in Event) | frozenset(event.domain for event in Event)


class SinkExists(Conflict):
    """There is already a stream of this name."""

    code = "sink_exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a receiver is like, apart from its name and kind.

    `secret` is `secret://name`, bound to the address's origin and the kind's slot; or `credential` is its value, which
    is stored as the secret `sink-NAME` and bound there. `risk` and `events` choose what is sent.
    """

    address: str
    secret: str = ""
    credential: str = field(default="", repr=False)
    region: str = ""
    authorities: str = ""
    private_network: bool = False
    risk: str = ""
    events: Sequence[str] = ()
    with_labels: bool = False


@service
def create_sink(*, actor: Actor, name: str, kind: str, wanted: Settings, from_beginning: bool = False) -> Sink:
    """Register a receiver. It gets what is published from now on, or the whole log `from_beginning`."""
    require_manager(actor)
    if not _NAME.fullmatch(name):
        raise _invalid("name", "1 to 40 lower-case letters, digits and dashes, beginning with a letter")
    if kind not in set(Kind):
        raise _invalid("kind", f"one of {', '.join(Kind)}")
    rows = Sink.objects.for_actor(actor)
    if rows.filter(name=name).exists():
        raise SinkExists(name=name)
    if rows.count() >= MOST_SINKS:
        raise Conflict(f"There are {MOST_SINKS} streams already; remove one first.")
    sink = Sink(workspace_id=workspace_of(actor), name=name, kind=kind, created_by=actor.answerable or actor.id)
    _set(actor, sink, wanted)
    sink.save(force_insert=True)
    record(actor=actor, event=Event.AUDIT_SINK_CREATED, target=sink, detail=_told(sink))
    _start(sink, from_beginning=from_beginning)
    return sink


@service
def change_sink(*, actor: Actor, sink_id: UUID, changes: dict[str, Any], reason: str = "") -> Sink:
    """Change some of a receiver's `Settings`. A secret that is not bound to a new address's origin is refused (T02)."""
    require_manager(actor)
    sink = _locked(actor, sink_id)
    before = _told(sink)
    known = Settings(
        address=sink.address,
        secret=f"{references.SCHEME}{sink.secret_name}" if sink.secret_name else "",
        region=sink.region,
        authorities=sink.authorities,
        private_network=sink.private_network,
        risk=sink.risk,
        events=sink.events,
        with_labels=sink.with_labels,
    )
    _set(actor, sink, replace(known, **changes))
    sink.save()
    detail = {"before": before, "after": _told(sink)}
    record(actor=actor, event=Event.AUDIT_SINK_CHANGED, target=sink, reason=reason, detail=detail)
    _try_again(sink)
    return sink


@service
def disable_sink(*, actor: Actor, sink_id: UUID, reason: str) -> Sink:
    """Send it nothing until it is enabled. It keeps its place in the log."""
    require_manager(actor)
    sink = _locked(actor, sink_id)
    if not sink.is_enabled:
        raise Conflict("This stream is disabled already.")
    sink.status = Sink.Status.DISABLED
    sink.save(update_fields=["status"])
    record(actor=actor, event=Event.AUDIT_SINK_DISABLED, target=sink, reason=_reason(reason))
    return sink


@service
def enable_sink(*, actor: Actor, sink_id: UUID, reason: str = "") -> Sink:
    """Go on from where it stopped."""
    require_manager(actor)
    sink = _locked(actor, sink_id)
    if sink.is_enabled:
        raise Conflict("This stream is enabled already.")
    sink.status = Sink.Status.ENABLED
    sink.save(update_fields=["status"])
    record(actor=actor, event=Event.AUDIT_SINK_ENABLED, target=sink, reason=reason)
    _try_again(sink)
    return sink


@service
def remove_sink(*, actor: Actor, sink_id: UUID, reason: str) -> None:
    """Remove a receiver with its place in the log. Its secret stays in the vault, and its history in the log."""
    require_manager(actor)
    sink = _locked(actor, sink_id)
    told = _told(sink)
    Cursor.objects.for_actor(actor).filter(sink=sink).delete()
    sink.delete()
    record(actor=actor, event=Event.AUDIT_SINK_REMOVED, target=sink, reason=_reason(reason), detail=told)


def _locked(actor: Actor, sink_id: UUID) -> Sink:
    sink = Sink.locked(actor, pk=sink_id)
    if sink is None:
        raise NotFound("There is no such stream here.")
    return sink


def _start(sink: Sink, *, from_beginning: bool) -> None:
    """The cursor of a new receiver, at the beginning or behind the newest published checkpoint."""
    now = timezone.now()
    logs = reading.published(django_tree(), sink.workspace_id)
    log, size = logs[-1] if logs and not from_beginning else (None, 0)
    Cursor.objects.create(
        workspace_id=sink.workspace_id,
        sink=sink,
        epoch=log.epoch if log else 1,
        next_idx=size,
        lease_until=now,
        rung_until=now,
        next_at=now,
    )


def _try_again(sink: Sink) -> None:
    """Do not wait for the end of a pause that a failure began."""
    Cursor.objects.for_workspace(sink.workspace_id).filter(sink=sink).update(next_at=timezone.now())


def _set(actor: Actor, sink: Sink, wanted: Settings) -> None:
    """Check everything, then put it into the row."""
    former = sink.address
    sink.address = _address(sink.kind, wanted)
    sink.private_network = wanted.private_network
    sink.region = _region(sink.kind, wanted.region)
    sink.authorities = _authorities(wanted.authorities)
    sink.risk = wanted.risk
    sink.events = sorted(set(wanted.events))
    sink.with_labels = wanted.with_labels
    if sink.risk and sink.risk not in set(Risk):
        raise _invalid("risk", f"one of {', '.join(Risk)}, or nothing")
    if unknown := sorted(set(sink.events) - _EVENTS):
        raise _invalid("events", f"{unknown[0][:80]!r} is neither a type of event nor a domain of types")
    if len(sink.events) > MOST_EVENTS:
        raise _invalid("events", f"at most {MOST_EVENTS} types or domains")
    sink.secret_name = _secret(actor, sink, wanted, former)


def _address(kind: str, wanted: Settings) -> str:
    address = wanted.address.strip()
    if kind == Kind.DIRECTORY:
        if not settings.STREAMS_DIRECTORY:
            raise _invalid("kind", "this installation writes no files: STREAMS_DIRECTORY is not set on the host")
        if not _NAME.fullmatch(address):
            raise _invalid("address", "the name of a directory: lower-case letters, digits and dashes")
        return address
    if len(address) > LONGEST_ADDRESS:
        raise _invalid("address", f"at most {LONGEST_ADDRESS} characters")
    try:
        url = url_of(kind, address)
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise _invalid("address", "no query and no fragment; a credential belongs into the vault")
        if kind == Kind.S3 and not parts.path.strip("/"):
            raise _invalid("address", "the URL of the bucket: https://host/bucket, with a prefix if you like")
        door = Egress.to(url) if wanted.private_network else Egress()
        # A name is looked up when something is sent to it; an address can be refused now.
        if _is_literal(door.check(url).host):
            door.resolve(url)
    except EgressRefused as refused:
        raise _invalid("address", f"{refused.message}{_way_out(refused)}") from None
    return address


def _way_out(refused: EgressRefused) -> str:
    """What to do about a refusal that an exception for exactly this host and port would lift."""
    if not refused.host or refused.rule not in _EXCEPTED:
        return ""
    return " If you mean it, tick “This host is on a private network” (private_network)."


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _region(kind: str, region: str) -> str:
    if kind != Kind.S3:
        return ""
    if region and not _REGION.fullmatch(region):
        raise _invalid("region", "lower-case letters, digits and dashes, for example eu-north-1")
    return region or DEFAULT_REGION


def _authorities(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    if len(text) > LARGEST_AUTHORITIES or "PRIVATE KEY" in text:
        raise _invalid("authorities", f"certificates only, at most {LARGEST_AUTHORITIES} bytes")
    try:
        tls_context(text)
    except EgressRefused as refused:
        raise _invalid("authorities", refused.message) from None
    return text


def _secret(actor: Actor, sink: Sink, wanted: Settings, former: str) -> str:
    """The name of the secret, which is bound to where the address leads; "" where none is needed."""
    slot = SLOTS.get(Kind(sink.kind), "")
    if not slot:
        if wanted.secret or wanted.credential:
            raise _invalid("secret", f"a stream of kind {sink.kind} sends no secret")
        return ""
    url = url_of(sink.kind, sink.address)
    if wanted.credential:
        return _stored(actor, sink, wanted.credential, former)
    if not wanted.secret:
        if sink.kind in NEEDS_SECRET:
            raise _invalid(
                "secret", f"a stream of kind {sink.kind} needs one: secret://name, or its value as credential"
            )
        return ""
    name, origin = references.parse(wanted.secret), origin_of(url)
    bound = SecretBinding.objects.for_actor(actor).filter(
        secret__name=name, secret__status=Secret.Status.ACTIVE, origin=origin, slot=slot
    )
    if not bound.exists():
        raise _invalid("secret", f"{name} is not bound to {origin} in {slot}; bind it there or name another one")
    return name


def _stored(actor: Actor, sink: Sink, value: str, former: str) -> str:
    """Keep a credential under a name of the stream's own, bound to its address and no more to the former one."""
    name, url, slot = f"sink-{sink.name}", url_of(sink.kind, sink.address), SLOTS[Kind(sink.kind)]
    try:
        with transaction.atomic():
            vault.create_secret(actor=actor, name=name, value=value, bindings=[vault.Binding(url, slot)])
    except vault.SecretExists:
        vault.rotate_secret(actor=actor, name=name, value=value)
        vault.bind_secret(actor=actor, name=name, url=url, slot=slot)
        if former and origin_of(url_of(sink.kind, former)) != origin_of(url):
            vault.unbind_secret(actor=actor, name=name, url=url_of(sink.kind, former), slot=slot)
    return name


def _told(sink: Sink) -> dict[str, Any]:
    """What the log says about a receiver: erasable, and without its certificates."""
    return {
        "name": sink.name,
        "kind": sink.kind,
        "address": sink.address,
        "secret": sink.secret_name,
        "private_network": sink.private_network,
        "own_authorities": bool(sink.authorities),
        "risk": sink.risk,
        "events": list(sink.events),
        "with_labels": sink.with_labels,
    }


def _reason(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= 1000:
        raise _invalid("reason", "say why, in 1 to 1000 characters")
    return text


def _invalid(path: str, message: str) -> Invalid:
    message = message.removesuffix(".")
    return Invalid(f"{path}: {message}.", errors=[{"path": path, "message": message}])
