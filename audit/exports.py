"""What an auditor takes away: a bundle of events with its proofs, and the keys to check it with. No key is in a bundle.

`audit/verify.py` checks it without this code, this database or this machine.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection

from audit.awaiting import hold_until_sealed
from audit.bundles import BundleWriter, Choice, Progress, Source
from audit.clocks import CLOCK_TOLERANCE
from audit.proofs import NotYetSealed
from audit.selectors import EventFilters, filtered
from audit.services import Target, record
from audit.signing import KeyRing
from audit.taxonomy import Event
from audit.tree import StoredLog, Tree, django_tree
from provenance.actor import Actor, ActorKind
from provenance.errors import Invalid, PermissionDenied
from provenance.permissions import Permission
from provenance.risk import Risk


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written: how many events and details, and what the manifest says."""

    events: int
    details: int
    manifest: dict[str, Any]


def export_bundle(
    *,
    actor: Actor,
    out: IO[bytes],
    filters: EventFilters | None = None,
    since: int | str | None = None,
    indices: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Write the sealed events that the filters find into a zip, in the order of the log, in constant memory.

    What is left out stands in it as a bare hash, so the bundle is complete all the same. `indices`: from the first index
    up to the second, else the whole log. `since`: size or note of a checkpoint that the auditor has; the bundle then
    shows that the log begins with it. `progress(done, total)` is told how far it is, in entries of the log.

    Who exported what is an event of its own, stored in this transaction and not part of the bundle. The caller must
    commit before the bytes leave. Raises `NotYetSealed` while there is no checkpoint, `AnotherLog`, `DamagedLog`, `Invalid`.
    """
    actor.require(Permission.AUDIT_READ)
    source = Source(django_tree(), _django_copy)
    wanted = filters if filters and filters.described() else None
    writer = _writer(
        source,
        actor.workspace_id,
        lambda log: _choice(source.tree, log, actor, wanted) if wanted else None,
        since=since,
        indices=indices,
        progress=progress or _nobody_watches,
    )
    return _write(actor, writer, out)


def export_instance(
    *, actor: Actor, out: IO[bytes], source: Source, since: int | str | None = None, progress: Progress | None = None
) -> Bundle:
    """Write the whole log of the instance with the checkpoints of all workspaces that it holds.

    Only the platform itself does this, on the host: `source` must be signed in as `prov_audit_read`. Otherwise like
    `export_bundle`.
    """
    actor.require(Permission.AUDIT_READ)
    if actor.kind is not ActorKind.SYSTEM or actor.workspace_id is not None:
        raise PermissionDenied(message="The log of the instance is exported on the host: `./manage.py audit_export`.")
    writer = _writer(source, None, lambda _log: None, since=since, progress=progress or _nobody_watches)
    return _write(actor, writer, out)


def export_keys(*, actor: Actor, out: IO[str]) -> list[str]:
    """Write the MAC keys of the actor's workspace as JSON for the verifier's `--mac-keys`; the key ids written.

    Only the platform itself does this, on the host: a key that verifies an HMAC could also make one. Recorded as
    critical, and the transaction ends with `NotSealed` unless that is sealed: the caller then destroys what it wrote.
    """
    actor.require(Permission.AUDIT_READ)
    if actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied(message="Keys of the log are handed out on the host: `./manage.py audit_keys`.")
    keys = KeyRing.from_settings(settings.AUDIT_SIGNS_AS).derived_keys(actor.workspace_id)
    json.dump({"workspace": str(actor.workspace_id), "keys": {kid: key.hex() for kid, key in keys.items()}}, out)
    told = record(
        actor=actor,
        event=Event.AUDIT_EXPORTED,
        target=Target("audit_key", str(actor.workspace_id)),
        detail={"key_ids": sorted(keys)},
        risk=Risk.CRITICAL,
    )
    hold_until_sealed(told)
    return sorted(keys)


def _writer(
    source: Source,
    workspace_id: UUID | None,
    choice: Callable[[StoredLog], Choice | None],
    **wishes: Any,
) -> BundleWriter:
    """For the newest epoch of a log, up to its newest published checkpoint."""
    for log in source.tree.logs(workspace_id)[-1:]:
        if newest := source.tree.newest_checkpoint(log.id):
            chosen, size, indices = choice(log), newest.checkpoint.size, wishes.pop("indices", None)
            first, end = indices or (chosen.starts_at if chosen else 0, size)
            if indices and not 0 <= first < end <= size:
                raise Invalid(f"{first} up to {end} is no range of a log of which {size} entries are sealed.")
            return BundleWriter(source, log, newest, first=first, end=end, choice=chosen, **wishes)
    raise NotYetSealed("Nothing of this log is sealed yet, so nothing can be proved about it. Try again in a second.")


def _write(actor: Actor, writer: BundleWriter, out: IO[bytes]) -> Bundle:
    written, manifest = writer.write(out)
    told = ("origin", "filters", "first", "end", "size", "events", "details", "files")
    record(
        actor=actor,
        event=Event.AUDIT_EXPORTED,
        target=Target("audit_log", str(actor.workspace_id or writer.log.origin)),
        detail={name: manifest[name] for name in told},
    )
    return Bundle(events=written.events, details=written.details, manifest=manifest)


def _choice(tree: Tree, log: StoredLog, actor: Actor, filters: EventFilters) -> Choice:
    """The filters as a choice. Times are of the events' ids; the order of the log is another one, so they only say where
    looking may begin: an event is sealed after it happened, but nobody knows how long after.
    """

    def ids(low: UUID, high: UUID) -> tuple[str, Sequence[Any]]:
        found = filtered(actor, filters).filter(pk__gte=low, pk__lte=high).values("pk")
        try:
            statement, parameters = found.query.sql_with_params()
        except EmptyResultSet:
            return "SELECT NULL::uuid AS id WHERE false", []
        return f"SELECT pk AS id FROM ({statement}) AS narrowed (pk)", parameters  # noqa: S608  made by the ORM

    choice = Choice(ids, filters.described())
    if filters.since:
        choice = replace(choice, starts_at=tree.size_before(log.id, filters.since - 2 * CLOCK_TOLERANCE))
    if filters.until:
        stops_at = tree.size_after(log.id, filters.until + 2 * CLOCK_TOLERANCE)
        choice = replace(choice, stops_at=stops_at, expected=filtered(actor, filters).count())
    return choice


def _django_copy(statement: str, parameters: Sequence[Any]) -> AbstractContextManager[Iterable[Any]]:
    cursor = connection.cursor()
    copied: AbstractContextManager[Iterable[Any]] = cursor.copy(statement, parameters)
    return copied


def _nobody_watches(_done: int, _total: int) -> None:
    """For exports without anybody to tell."""
