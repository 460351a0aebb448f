"""Streams and digests as pages and the API show them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from audit.tree import django_tree
from provenance.actor import Actor
from provenance.db import workspace_of
from provenance.errors import NotFound
from provenance.permissions import Permission
from streams import reading
from streams.models import Cursor, Digest, DigestSend, Sink


@dataclass(frozen=True, slots=True)
class ShownSink:
    """A receiver with how far it has confirmed. `backlog`: published events that it has not."""

    sink: Sink
    cursor: Cursor
    backlog: int

    @property
    def state(self) -> str:
        """`disabled`, `failing`, `behind` or `current`."""
        if not self.sink.is_enabled:
            return "disabled"
        if self.cursor.failures:
            return "failing"
        return "behind" if self.backlog else "current"


@dataclass(frozen=True, slots=True)
class ShownDigest:
    """A digest with its newest mail, sent or not."""

    digest: Digest
    newest: DigestSend | None

    @property
    def sent_at(self) -> datetime | None:
        """When the newest mail went; None for one that did not."""
        return self.newest.sent_at if self.newest else None


def sinks(actor: Actor) -> QuerySet[Sink]:
    """The receivers of the actor's workspace."""
    actor.require(Permission.AUDIT_READ)
    rows: QuerySet[Sink] = Sink.objects.for_actor(actor)
    return rows


def shown_sinks(actor: Actor, rows: list[Sink]) -> list[ShownSink]:
    """These receivers with their places in the log. As many queries for many as for one."""
    logs = reading.published(django_tree(), workspace_of(actor))
    cursors = {cursor.sink_id: cursor for cursor in Cursor.objects.for_actor(actor).filter(sink__in=rows)}
    found = [(row, cursors.get(row.pk) or _nowhere(row)) for row in rows]
    return [ShownSink(row, cursor, reading.unconfirmed(logs, cursor)) for row, cursor in found]


def _nowhere(sink: Sink) -> Cursor:
    """What is shown of a stream whose cursor somebody took away."""
    return Cursor(workspace_id=sink.workspace_id, sink=sink, epoch=0, failures=1, last_error=reading.NOWHERE)


def sink_detail(actor: Actor, sink_id: UUID) -> ShownSink:
    """One receiver. Raises `NotFound`."""
    row = sinks(actor).filter(pk=sink_id).first()
    if row is None:
        raise NotFound("There is no such stream here.")
    return shown_sinks(actor, [row])[0]


def digests(actor: Actor) -> QuerySet[Digest]:
    """The digests of the actor's workspace."""
    actor.require(Permission.AUDIT_READ)
    rows: QuerySet[Digest] = Digest.objects.for_actor(actor)
    return rows


def shown_digests(actor: Actor, rows: list[Digest]) -> list[ShownDigest]:
    """These digests with their newest mails. One query, whatever their number."""
    sends: Any = DigestSend.objects.for_actor(actor).filter(digest__in=rows)
    newest = {send.digest_id: send for send in sends.order_by("digest_id", "-period_start").distinct("digest_id")}
    return [ShownDigest(row, newest.get(row.pk)) for row in rows]


def digest_detail(actor: Actor, digest_id: UUID) -> ShownDigest:
    """One digest. Raises `NotFound`."""
    row = digests(actor).filter(pk=digest_id).first()
    if row is None:
        raise NotFound("There is no such digest here.")
    return shown_digests(actor, [row])[0]
