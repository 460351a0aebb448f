"""Exports that a worker makes while the member does something else: asked for, made, fetched, and let go of after a day.

The bundle lies in the database, encrypted and in pieces: web and workers share no disk. Asking is an event of the member,
making one of the platform on their behalf, and each fetching one of the member again, with the permission of that moment.
"""

import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any
from uuid import UUID

from celery import current_app
from django.db import connection, transaction
from django.db.models import QuerySet
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from audit import exports
from audit.awaiting import wait_until_sealed
from audit.models import Export, ExportChunk
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from provenance import crypto
from provenance.actor import Actor, ActorKind
from provenance.api import found
from provenance.db import ask, database_now, enter, service, workspace_of
from provenance.errors import Conflict, Invalid, PermissionDenied, ProvenanceError
from provenance.permissions import Permission

TASK = "audit.build_export"
KEPT = timedelta(days=1)
LEASE = timedelta(seconds=60)
MOST_ATTEMPTS = 3
MOST_AT_ONCE = 3
CHUNK_BYTES = 1024 * 1024
TOLD_EVERY_SECONDS = 0.5
_NAME = "audit.exports"
_IN_MEMORY_BYTES = 8 * 1024 * 1024

logger = logging.getLogger(__name__)


class TooManyExports(Conflict):
    """You have exports under way already. Wait for one of them, then ask again."""

    code = "too_many_exports"
    title = "Too many exports at once"


class NotReady(Conflict):
    """This export is not ready, or is not kept any more."""

    code = "export_not_ready"
    title = "Not ready"


def exports_of(actor: Actor) -> QuerySet[Export]:
    """The actor's own exports, newest first."""
    actor.require(Permission.AUDIT_READ)
    return Export.objects.for_actor(actor).filter(member_id=_member(actor)).order_by("-pk")


def export_of(actor: Actor, export_id: UUID) -> Export:
    """One of the actor's own exports."""
    return found(exports_of(actor).filter(pk=export_id).first(), "export")


@service
def request_export(*, actor: Actor, filters: EventFilters, shown: int | None = None, recipient: str = "") -> Export:
    """Ask for a bundle of what the filters find. `shown`: how many events the screen said that is."""
    if exports_of(actor).filter(status__in=[Export.Status.QUEUED, Export.Status.RUNNING]).count() >= MOST_AT_ONCE:
        raise TooManyExports
    now = database_now()
    export = Export(
        workspace_id=workspace_of(actor),
        member_id=_member(actor),
        recipient=recipient,
        filters=filters.described(),
        shown=shown,
        created_at=now,
        lease_until=now + LEASE,
        expires_at=now + KEPT,
    )
    event = record(
        actor=actor,
        event=Event.AUDIT_EXPORT_REQUESTED,
        target=_target(export),
        reason=recipient,
        detail={"filters": export.filters, "shown": shown},
    )
    export.request_event_id = event.id
    export.save()
    transaction.on_commit(partial(ring, export.workspace_id, export.pk), robust=True)
    return export


def ring(workspace_id: UUID, export_id: UUID) -> None:
    """Send the doorbell. A broker that is away undoes nothing: the sweep finds what was not rung for."""
    try:
        current_app.send_task(TASK, args=(str(workspace_id), str(export_id)), retry=False, ignore_result=True)
    except (KombuError, RedisError, OSError) as error:
        logger.warning("doorbell not sent: %s", type(error).__name__)


@service
def fetched(*, actor: Actor, export_id: UUID, out: IO[bytes]) -> Export:
    """Write the bundle. The caller lets the bytes leave once this transaction has committed.

    Raises `NotReady`, and `crypto.Undecipherable` for pieces that somebody changed.
    """
    export = export_of(actor, export_id)
    if export.status != Export.Status.READY or export.expires_at <= database_now():
        raise NotReady
    digest = hashlib.sha256()
    chunks = ExportChunk.objects.for_actor(actor).filter(export_id=export.pk).order_by("n")
    for number, chunk in enumerate(chunks.iterator(chunk_size=8)):
        data = crypto.open(_key(export), bytes(chunk.sealed), _place(export, number))
        digest.update(data)
        out.write(data)
    if digest.hexdigest() != export.sha256:
        raise NotReady("The stored bundle is not the one that was made. Ask for it again.")
    record(
        actor=actor,
        event=Event.AUDIT_EXPORT_FETCHED,
        target=_target(export),
        reason=export.recipient,
        detail={"filters": export.filters, "events": export.events, "sha256": export.sha256},
    )
    return export


# --- In a worker -----------------------------------------------------------------------------------------------------


def build(workspace_id: UUID, export_id: UUID) -> None:
    """Make the bundle, unless somebody else is at it. Whatever goes wrong stands in the export afterwards."""
    export = _claimed(workspace_id, export_id)
    if export is None:
        return
    try:
        # What is not sealed cannot be proved. What the screen showed was committed before the request was.
        wait_until_sealed(workspace_id, export.request_event_id)
        _make(export)
    except ProvenanceError as error:
        _end(export, status=Export.Status.FAILED, problem=error.message[:500])
    except Exception:
        # Tried again when the lease is over, by whoever sweeps; the third time is the last.
        logger.exception("export %s was not made", export.public_id)
        if export.attempts >= MOST_ATTEMPTS:
            _end(export, status=Export.Status.FAILED, problem="It could not be made. Its log says why.")


def sweep(_now: datetime) -> None:
    """Ring again for what nobody is at work on, and let go of what has lain long enough."""
    for workspace_id, export_id in ask("SELECT workspace_id, export_id FROM public.audit_exports_due()"):
        with enter(workspace_id):
            export = Export.objects.for_workspace(workspace_id).select_for_update().filter(pk=export_id).first()
            if export is None:
                continue
            if export.is_over:
                ExportChunk.objects.for_workspace(workspace_id).filter(export_id=export_id).delete()
                _set(export, status=Export.Status.EXPIRED)
            else:
                # Not again before somebody had the time to come.
                _set(export, status=Export.Status.QUEUED, lease_until=database_now() + LEASE)
                transaction.on_commit(partial(ring, workspace_id, export_id), robust=True)


def _claimed(workspace_id: UUID, export_id: UUID) -> Export | None:
    with enter(workspace_id):
        export: Export | None = (
            Export.objects.for_workspace(workspace_id).select_for_update().filter(pk=export_id).first()
        )
        if export is None or export.status != Export.Status.QUEUED:
            return None
        _set(
            export,
            status=Export.Status.RUNNING,
            attempts=export.attempts + 1,
            lease_until=database_now() + LEASE,
        )
        return export


def _make(export: Export) -> None:
    actor = replace(
        Actor.system(_NAME, export.workspace_id, {Permission.AUDIT_READ}), on_behalf_of=str(export.member_id)
    )
    with (
        tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as out,
        _progress(export) as progress,
        enter(export.workspace_id),
    ):
        bundle = exports.export_bundle(actor=actor, out=out, filters=_filters(export), progress=progress)
        out.seek(0)
        digest, size, number = hashlib.sha256(), 0, 0
        while data := out.read(CHUNK_BYTES):
            digest.update(data)
            size += len(data)
            ExportChunk.objects.create(
                workspace_id=export.workspace_id,
                export_id=export.pk,
                n=number,
                sealed=crypto.seal(_key(export), data, _place(export, number)),
            )
            number += 1
        _set(
            export,
            status=Export.Status.READY,
            events=bundle.events,
            size_bytes=size,
            sha256=digest.hexdigest(),
            expires_at=database_now() + KEPT,
        )


def _filters(export: Export) -> EventFilters:
    """What was asked for. Raises `Invalid` for what nobody asked like that: everything else would be another export."""
    try:
        return EventFilters.of(export.filters)
    except ValueError as error:
        raise Invalid(
            "Its filters were changed in the database to what is none. Ask for it again, and tell your security lead."
        ) from error


@contextmanager
def _progress(export: Export) -> Iterator[Any]:
    """Tells how far it is by a connection of its own: what the long transaction writes, nobody else sees before its end."""
    beside = connection.copy()
    told_at = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at < TOLD_EVERY_SECONDS and done < total:
            return
        told_at = time.monotonic()
        beside.ensure_connection()
        with beside.connection.transaction():
            # Past Django, whose transactions would name the workspace by themselves.
            beside.connection.execute("SELECT set_config('app.workspace_id', %s, true)", [str(export.workspace_id)])
            beside.connection.execute(_TELL, [done, total, LEASE, export.workspace_id, export.pk])

    try:
        yield tell
    finally:
        beside.close()


_TELL = """
UPDATE audit_export SET done = %s, total = %s, lease_until = now() + %s
WHERE workspace_id = %s AND id = %s AND status = 'running'
"""


def _end(export: Export, **values: Any) -> None:
    with enter(export.workspace_id):
        _set(export, **values)


def _set(export: Export, **values: Any) -> None:
    Export.objects.for_workspace(export.workspace_id).filter(pk=export.pk).update(**values)
    for name, value in values.items():
        setattr(export, name, value)


def _member(actor: Actor) -> UUID:
    if actor.kind is not ActorKind.USER:
        raise PermissionDenied(message="Exports in the background are for members. Programs take theirs at once.")
    return UUID(actor.id)


def _target(export: Export) -> Target:
    return Target("audit_export", str(export.pk), export.public_id)


def _key(export: Export) -> bytes:
    root = crypto.KeyRing.from_settings("BLOB_KEY").current
    return crypto.derive(root, crypto.bind("provenance/export/v1", str(export.workspace_id), str(export.pk)))


def _place(export: Export, number: int) -> bytes:
    return crypto.bind("provenance/export/v1", str(export.pk), str(number))
