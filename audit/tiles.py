"""A workspace's log as c2sp.org/tlog-tiles serves it: checkpoint, tiles, and bundles of entries.

Only what the newest published checkpoint holds is handed out; all of it but the checkpoint never changes again.
"""

import re
import struct
from dataclasses import dataclass
from uuid import UUID

from audit.errors import DamagedLog
from audit.judging import event_entry
from audit.models import AuditEvent
from audit.sealing.growth import TILE_HEIGHT, TILE_WIDTH
from audit.tree import SignedCheckpoint, StoredLog, Tree, django_tree
from provenance.actor import Actor
from provenance.errors import NotFound
from provenance.permissions import Permission

HIGHEST_LEVEL = 63
_LARGEST_ENTRY = 0xFFFF  # its length is told in two bytes
_PLACE = re.compile(r"((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVEL = re.compile(r"0|[1-9][0-9]?")


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """One log up to its newest published checkpoint, as one actor reads it."""

    actor: Actor
    tree: Tree
    log: StoredLog
    checkpoint: SignedCheckpoint

    def tile(self, level: str, place: str) -> bytes:
        """`tile/<L>/<N>[.p/<W>]`. Raises `NotFound` for what the checkpoint does not hold, or holds no more, `DamagedLog`."""
        height = int(level) if _LEVEL.fullmatch(level) else HIGHEST_LEVEL + 1
        number, width = _parsed(place)
        first = number * TILE_WIDTH
        if height > HIGHEST_LEVEL or first + width > self.checkpoint.checkpoint.size >> TILE_HEIGHT * height:
            raise NotFound("The checkpoint of this log holds no such tile.")
        return self.tree.tile(self.log.id, height, number, width)

    def entries(self, place: str) -> bytes:
        """`tile/entries/<N>[.p/<W>]`: each entry with its length before it, in two bytes. Raises `NotFound`."""
        number, width = _parsed(place)
        first = number * TILE_WIDTH
        if first + width > self.checkpoint.checkpoint.size:
            raise NotFound("The checkpoint of this log holds no such entries.")
        ids = self.tree.entry_ids(self.log.id, first, first + width)
        if len(ids) != width:
            raise DamagedLog.by(f"Leaves between {first} and {first + width} of {self.log.origin} are missing")
        events = AuditEvent.objects.for_actor(self.actor).filter(pk__in=ids).in_bulk()
        bundle = []
        for index, event_id in enumerate(ids, start=first):
            event = events.get(event_id)
            if event is None:
                raise NotFound(f"The event at {index} is not kept any more; its hash stands in the tile.")
            entry = event_entry(event.body.encode(), bytes(event.mac))
            if len(entry) > _LARGEST_ENTRY:
                raise DamagedLog.by(f"The event at {index} of {self.log.origin} is larger than any that was sealed")
            bundle.append(struct.pack(">H", len(entry)) + entry)
        return b"".join(bundle)


def published_log(*, actor: Actor, workspace_id: UUID, epoch: int | None = None) -> PublishedLog:
    """The log of the actor's workspace; the newest epoch unless another is named.

    Raises `NotFound` for another workspace, which is told apart from one that does not exist by nobody, and for a log
    that has no published checkpoint yet. Raises `DamagedLog` for a checkpoint that is none.
    """
    actor.require(Permission.AUDIT_READ)
    if workspace_id == actor.workspace_id:
        tree = django_tree()
        logs = [log for log in tree.logs(workspace_id) if epoch in {None, log.epoch}]
        newest = tree.newest_checkpoint(logs[-1].id) if logs else None
        if newest is not None:
            return PublishedLog(actor, tree, logs[-1], newest)
    raise NotFound("There is no such log here, or nothing of it is sealed yet.")


def _parsed(place: str) -> tuple[int, int]:
    """Number and width of a tile. Raises `NotFound` for a spelling that c2sp.org/tlog-tiles does not know."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise NotFound("There is no such tile.")
    higher, last, width = match.groups()
    number = int(higher.replace("x", "").replace("/", "") + last)
    # One name for one resource: otherwise caches keep it under several.
    if _path(number) != higher + last or int(width or 1) >= TILE_WIDTH:
        raise NotFound("There is no such tile.")
    return number, int(width) if width else TILE_WIDTH


def _path(number: int) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
