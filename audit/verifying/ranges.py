"""One range of one log, read and checked by one process: events against keys and columns, leaves against events and tiles.

What it hands back is small: what is wrong, and the tree's nodes that its leaves make, so that whoever asked can hold them
against the signed roots. Rows never leave the process that read them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg

from audit import glance
from audit.clocks import CLOCK_TOLERANCE, TO_THE_SECOND
from audit.glance import Glance, leaf_of
from audit.judging import CHECKPOINT_PREFIX, COLUMNS, StoredEvent, checkpoint_entry, flaw
from audit.merkle import HASH_BYTES, PlacedNode, leaf_hash, subtrees
from audit.notes import (
    AnyVerifier,
    BadNote,
    Checkpoint,
    Ed25519Verifier,
    MldsaVerifier,
    opened,
    parse_vkey,
    signed_note,
)
from audit.sealing.growth import TILE_WIDTH
from audit.signing import KeyRing
from audit.verifying.expired_months import expired_leaves
from audit.verifying.key_register import End
from audit.verifying.stored_details import Signed, StoredDetails
from provenance.ids import uuid7_floor, uuid7_time

RANGE_LEAVES = 1 << 14
ALIGNED_TO = 1 << 12
"""Where a range begins to read: the nodes left of it are then few."""
MOST_FLAWS = 100
ROWS_AT_ONCE = 1 << 11
_OUTLIERS = 64


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong at one index of a log. `kind` is for programs."""

    index: int
    kind: str
    problem: str
    event: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """Leaves `first` up to `end` of a log, below one multiple of `RANGE_LEAVES`."""

    log_id: int
    origin: str
    workspace_id: UUID | None
    # Where reading leaves begins, so that the range is made of whole nodes.
    start: int
    first: int
    end: int
    instance_logs: tuple[int, ...]
    vkeys: tuple[str, ...]
    # Of keys of events that were replaced: where in this log nothing signed with them may stand any more.
    ends: Mapping[str, End] = field(default_factory=dict)


@dataclass(slots=True)
class Checked:
    """What was found. `nodes`: at each signed checkpoint, and at the end, the nodes from `start` up to there."""

    range: Range
    events: int = 0
    expired: int = 0
    details: int = 0
    erased: int = 0
    flaws: list[Flaw] = field(default_factory=list)
    nodes: dict[int, list[PlacedNode]] = field(default_factory=dict)
    checkpoints: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Leaves:
    """The stored leaves of a range from its start: hashes in order, and where each event stands."""

    hashes: list[bytes]
    places: dict[str, int]
    without_event: list[int]
    # From the first leaf that is judged on: the id of its event.
    ids: list[str]


def reachable(connection: psycopg.Connection[Any], log_id: int, first: int, size: int) -> int:
    """Up to the first missing leaf, at most: a checkpoint that speaks of many more would keep us busy for ever."""
    ((leaves,),) = connection.execute(_LEAVES_FROM, [log_id, first, size]).fetchall()
    return min(size, first + int(leaves) + 1)


def check(connection: psycopg.Connection[Any], keys: KeyRing, wanted: Range) -> Checked:
    """Read the range and judge it. That it cannot be read is a flaw like others, and hides none."""
    found = Checked(wanted)
    try:
        _check(connection, keys, found)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as problem:
        words = f"up to {wanted.end} something is stored that cannot be read: {problem}"
        place = min((each.index for each in found.flaws), default=wanted.first)
        found.flaws.append(Flaw(place, "unreadable", words))
    found.flaws.sort(key=lambda each: each.index)
    del found.flaws[MOST_FLAWS:]
    return found


def _check(connection: psycopg.Connection[Any], keys: KeyRing, found: Checked) -> None:
    wanted = found.range
    leaves = read_leaves(connection, wanted, found)
    check_events(connection, keys, leaves, found)
    if wanted.workspace_id is None:
        _check_noted(connection, leaves, found)
    else:
        # Only the log of the instance holds anything but events.
        found.flaws += [Flaw(index, "leaf", "the leaf names no event") for index in leaves.without_event]
    _check_tiles(connection, leaves, found)
    _check_checkpoints(connection, leaves, found)
    levels = _levels(leaves.hashes)
    # Up to a missing leaf all of it is judged: what was taken out and closed up shows as a leaf that the end lacks.
    whole_to = wanted.start + len(leaves.hashes)
    for size in (size for size in {*found.checkpoints, wanted.end} if size <= whole_to):
        found.nodes[size] = [
            ((level, index), levels[level][index - (wanted.start >> level)])
            for level, index in subtrees(wanted.start, size)
        ]


def read_leaves(connection: psycopg.Connection[Any], wanted: Range, found: Checked) -> Leaves:
    """The leaves, up to one that is missing, which is then told."""
    hashes: list[bytes] = []
    places: dict[str, int] = {}
    without: list[int] = []
    ids: list[str] = []
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(_LEAVES, {"log": wanted.log_id, "start": wanted.start, "end": wanted.end}).fetchall()
    for place, (index, value, event_id) in enumerate(rows, start=wanted.start):
        if index != place:
            break
        hashes.append(value)
        if index < wanted.first:
            continue
        ids.append(event_id or "")
        if event_id is None:
            without.append(index)
        else:
            places[event_id] = index
    if wanted.start + len(hashes) != wanted.end:
        found.flaws.append(Flaw(wanted.start + len(hashes), "leaf_missing", "the leaf is missing"))
    return Leaves(hashes, places, without, ids)


def event_rows(connection: psycopg.Connection[Any], wanted: Range, places: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The events of these leaves, and perhaps others, in whatever order is quickest for the server."""
    ids = sorted(places)
    # Nearly in the order of time: a few that committed late must not make the server read what lies between.
    late = [] if len(ids) <= 4 * _OUTLIERS else [*ids[:_OUTLIERS], *ids[-_OUTLIERS:]]
    near = ids[_OUTLIERS:-_OUTLIERS] if late else ids
    log = "workspace_id IS NULL" if wanted.workspace_id is None else "workspace_id = %(workspace)s"
    # In pieces, so that memory is bounded; and whole ones, because a row of a COPY costs three times as much to take.
    with connection.cursor(binary=True) as cursor:
        for start in range(0, len(near), ROWS_AT_ONCE):
            piece = near[start : start + ROWS_AT_ONCE]
            between = {"low": UUID(piece[0]), "high": UUID(piece[-1]), "workspace": wanted.workspace_id}
            yield from cursor.execute(_EVENTS.format(log=log, which="BETWEEN %(low)s AND %(high)s"), between).fetchall()
        if late:
            named = {"ids": [UUID(each) for each in late], "workspace": wanted.workspace_id}
            yield from cursor.execute(_EVENTS.format(log=log, which="= ANY (%(ids)s)"), named).fetchall()


def check_events(connection: psycopg.Connection[Any], keys: KeyRing, leaves: Leaves, found: Checked) -> None:
    """Judge every event of the range; afterwards `leaves.places` holds those of which there is no event."""
    wanted, places, hashes = found.range, leaves.places, leaves.hashes
    if not places:
        return
    start, seen = wanted.start, Glance(keys, wanted.workspace_id)
    doubtful: list[tuple[int, str]] = []
    bound: dict[str, Signed] = {}
    ends = wanted.ends
    wanted_places = dict(places)
    for row in event_rows(connection, wanted, wanted_places):
        identity, mac, body, kid = row[:4]
        place = places.pop(identity, None)
        if place is None:
            if identity in wanted_places:
                # Whoever owns the database can take the key of the table away, and readers may find either.
                doubtful.append((wanted_places[identity], identity))
            continue
        if leaf_of(body, mac) != hashes[place - start]:
            found.flaws.append(Flaw(place, "leaf", "the leaf is not that of the event", identity))
        said = seen.said(row)
        if said is None:
            doubtful.append((place, identity))
            continue
        bound[identity] = place, said["detail"], row[4]
        if kid in ends and ends[kid].is_before(UUID(identity).bytes, place):
            found.flaws.append(Flaw(place, "key", f"{kid} had ended before it was signed", identity))
    found.events += len(wanted_places) - len(places)
    _judge(connection, keys, doubtful, found, bound)
    _check_details(connection, keys, bound, found)
    _look_for_missing(connection, keys, leaves, found)


def _judge(
    connection: psycopg.Connection[Any],
    keys: KeyRing,
    doubtful: Sequence[tuple[int, str]],
    found: Checked,
    bound: dict[str, Signed],
) -> None:
    """Let the one judgment say what is wrong with what did not pass at a glance."""
    most = len(found.flaws) + MOST_FLAWS
    for place, identity in sorted(doubtful):
        events = [StoredEvent(*row) for row in connection.execute(_ONE, [UUID(identity)]).fetchall()]
        problem = next((words for event in events if (words := _wrong(event, keys, found.range))), "")
        if len(events) > 1:
            problem = problem or "there is more than one event of this id"
        if problem:
            found.flaws.append(Flaw(place, "event", problem, identity))
        elif events:
            # Under a key that came while this ran. Without an event, its month left meanwhile.
            bound[identity] = place, orjson.loads(events[0].body)["detail"], events[0].action
        if len(found.flaws) >= most:
            return


def _wrong(event: StoredEvent, keys: KeyRing, wanted: Range) -> str:
    if event.workspace_id != wanted.workspace_id:
        return "workspace_id differs from the log"
    return flaw(event, keys)


def _check_details(
    connection: psycopg.Connection[Any], keys: KeyRing, bound: Mapping[str, Signed], found: Checked
) -> None:
    details = StoredDetails(connection, keys, found.range.workspace_id)
    seen = details.check(bound)
    found.details += seen.details
    found.erased += seen.erased
    found.flaws += [Flaw(place, "detail", words, event_id) for place, event_id, words in seen.problems]


def _look_for_missing(connection: psycopg.Connection[Any], keys: KeyRing, leaves: Leaves, found: Checked) -> None:
    """Of leaves without a row: did the event leave with its month, or was it taken away?"""
    if not leaves.places:
        return
    moved = {
        str(row[0]): row
        for row in connection.execute(
            f"SELECT {COLUMNS} FROM audit.event WHERE id = ANY(%s)",  # noqa: S608  composed of constants
            [[UUID(identity) for identity in list(leaves.places)[: 4 * MOST_FLAWS]]],
        ).fetchall()
    }
    gone = expired_leaves(connection, lambda event: flaw(event, keys))
    for identity, place in leaves.places.items():
        if identity in moved:
            found.flaws.append(Flaw(place, "event", "workspace_id differs from the signed body", identity))
        elif gone.hold(found.range.origin, place, UUID(identity)):
            found.expired += 1
        else:
            found.flaws.append(Flaw(place, "event_missing", "the event is missing", identity))


def _check_noted(connection: psycopg.Connection[Any], leaves: Leaves, found: Checked) -> None:
    """Leaves of the log of logs that are no events are checkpoints of other logs, word for word."""
    wanted = found.range
    if not leaves.without_event:
        return
    rows = connection.execute(_NOTED, [wanted.first, wanted.end]).fetchall()
    # Several epochs of the log of logs may have used one index.
    noted: dict[int, set[bytes]] = {}
    for index, text in rows:
        noted.setdefault(index, set()).add(leaf_hash(CHECKPOINT_PREFIX + text.encode()))
    for index in leaves.without_event:
        if leaves.hashes[index - wanted.start] not in noted.get(index, ()):
            found.flaws.append(Flaw(index, "checkpoint", "the leaf is not that of a stored checkpoint"))


def _check_tiles(connection: psycopg.Connection[Any], leaves: Leaves, found: Checked) -> None:
    """Full tiles hold the same hashes: when one of the two was changed, this says where."""
    wanted = found.range
    first, end = wanted.start // TILE_WIDTH, (wanted.start + len(leaves.hashes)) // TILE_WIDTH
    stored = dict(connection.execute(_TILES, [wanted.log_id, first, end]).fetchall())
    for number in range(first, end):
        begin = number * TILE_WIDTH
        hashes = leaves.hashes[begin - wanted.start : begin - wanted.start + TILE_WIDTH]
        data = stored.get(number)
        if data is None:
            found.flaws.append(Flaw(begin, "tile", "the tile is missing"))
        elif bytes(data) != b"".join(hashes):
            offset = next(
                offset
                for offset, value in enumerate(hashes)
                if bytes(data[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]) != value
            )
            found.flaws.append(Flaw(begin + offset, "tile", "leaf and tile differ"))


def _check_checkpoints(connection: psycopg.Connection[Any], leaves: Leaves, found: Checked) -> None:
    """The signed checkpoints in the range: by this log's key, and each of a workspace in the log of logs."""
    wanted = found.range
    keys = _keys(wanted.vkeys)
    rows = connection.execute(_CHECKPOINTS, [wanted.workspace_id, wanted.log_id, wanted.first, wanted.end]).fetchall()
    noted: dict[int, set[bytes]] = {}
    if wanted.workspace_id is not None:
        places = [row[3] for row in rows]
        for index, value in connection.execute(_LEAVES_AT, [list(wanted.instance_logs), places]).fetchall():
            noted.setdefault(index, set()).add(bytes(value))
    for size, problem in noted_wrongly([(row[0], row[4]) for row in rows], leaves.ids, wanted.first).items():
        found.flaws.append(Flaw(size - 1, "checkpoint", f"the checkpoint at {size} is noted for {problem}"))
    for size, text, signatures, instance_idx, _at, is_of_it in rows:
        if not is_of_it:
            # Its own readers would not find it, and take an older one for the newest.
            found.flaws.append(
                Flaw(size - 1, "checkpoint", f"the checkpoint at {size} is stored for another workspace")
            )
        try:
            checkpoint = _opened(text, signatures, keys, is_instance=wanted.workspace_id is None)
        except BadNote as problem:
            found.flaws.append(Flaw(size - 1, "checkpoint", f"the checkpoint at {size} does not verify: {problem}"))
            continue
        if (checkpoint.origin, checkpoint.size) != (wanted.origin, size):
            found.flaws.append(Flaw(size - 1, "checkpoint", f"the checkpoint at {size} is one of another log or size"))
            continue
        found.checkpoints[size] = checkpoint.root
        if wanted.workspace_id is None:
            is_held, words = instance_idx is None, "says that the log of logs holds it, and is one of that log itself"
        else:
            is_held = leaf_hash(checkpoint_entry(text)) in noted.get(instance_idx, ())
            words = "is not in the log of logs"
        if not is_held:
            found.flaws.append(Flaw(size - 1, "instance", f"the checkpoint at {size} {words}"))


def _opened(text: str, signatures: str | None, keys: Sequence[AnyVerifier], *, is_instance: bool) -> Checkpoint:
    """The checkpoint that was signed. Raises `BadNote`.

    As an auditor's verifier wants it that has the keys of both kinds: the record is to outlive the weaker one.
    """
    if signatures is None:
        raise BadNote("it has no signature, and a later one has")
    kinds = (Ed25519Verifier, MldsaVerifier) if is_instance else (Ed25519Verifier,)
    return opened(signed_note(Checkpoint.parse(text), signatures), keys, kinds)


def noted_wrongly(noted: Sequence[tuple[int, datetime]], ids: Sequence[str], first: int) -> dict[int, str]:
    """What is wrong with the times that stand beside checkpoints and that nobody signed, by size.

    No checkpoint was there before its own events, those since the one before, nor after the next one, unless its own
    events are as late: then the clock of the database was ahead and was put right. `ids`: of the events from the leaf
    `first` on, empty for a leaf of another kind.
    """
    now, most, wrong = datetime.now(UTC), 2 * CLOCK_TOLERANCE, dict[int, str]()
    # What is dated ahead says nothing about when something was there.
    ahead = str(uuid7_floor(now + most))
    begins = [first, *(size for size, _at in noted)]
    own = [
        sorted(filter(None, ids[begin - first : size - first]))
        for begin, (size, _at) in zip(begins, noted, strict=False)
    ]
    following = now
    for (size, at), events in reversed([*zip(noted, own, strict=True)]):
        latest = max(following, uuid7_time(UUID(events[-1]))) if events else now
        if events and events[0] < ahead and at < uuid7_time(UUID(events[0])) - most:
            wrong[size] = f"{at:{TO_THE_SECOND}}, and holds the event {events[0]}, which is younger"
        elif at > latest + most:
            wrong[size] = f"{at:{TO_THE_SECOND}}" + (
                f", and the next one for {following:{TO_THE_SECOND}}" if following < now else ""
            )
        else:
            following = min(following, at)
    return wrong


def _keys(vkeys: Sequence[str]) -> list[AnyVerifier]:
    """None where somebody gave the log a name that no key has: its checkpoints then do not verify."""
    with suppress(BadNote):
        return [parse_vkey(vkey) for vkey in vkeys]
    return []


def _levels(hashes: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Every whole node over these leaves, level by level."""
    sha256 = hashlib.sha256
    levels: list[Sequence[bytes]] = [hashes]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([sha256(b"\x01" + below[at] + below[at + 1]).digest() for at in range(0, len(below) - 1, 2)])
    return levels


_LEAVES = """
SELECT idx, COALESCE(hash, ''), event_id::text FROM audit.leaf
WHERE log_id = %(log)s AND idx >= %(start)s AND idx < %(end)s ORDER BY idx
"""
_EVENTS = f"SELECT {glance.COLUMNS} FROM audit.event WHERE {{log}} AND id {{which}}"  # noqa: S608  composed of constants
_ONE = f"SELECT {COLUMNS} FROM audit.event WHERE id = %s"  # noqa: S608  composed of constants
_LEAVES_FROM = "SELECT count(*) FROM audit.leaf WHERE log_id = %s AND idx >= %s AND idx < %s"
_NOTED = "SELECT instance_idx, COALESCE(note, '') FROM audit.checkpoint WHERE instance_idx >= %s AND instance_idx < %s"
_TILES = "SELECT n, COALESCE(data, '') FROM audit.tile WHERE log_id = %s AND level = 0 AND n >= %s AND n < %s"
_CHECKPOINTS = """
SELECT size, COALESCE(note, ''), signatures || COALESCE(cosignatures, ''), instance_idx,
  GREATEST(LEAST(at, '9000-01-01'), '2000-01-01'), workspace_id IS NOT DISTINCT FROM %s::uuid
FROM audit.checkpoint
WHERE log_id = %s AND size > %s AND size <= %s ORDER BY size
"""
_LEAVES_AT = """
SELECT idx, COALESCE(hash, '') FROM audit.leaf WHERE log_id = ANY (%s) AND idx = ANY (%s) AND event_id IS NULL
"""
