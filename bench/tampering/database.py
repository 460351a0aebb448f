"""What a database administrator can do who has none of the keys."""

import base64
import random
from uuid import UUID

from audit.judging import event_entry
from audit.merkle import leaf_hash
from bench.tampering.world import Expected, Mutate, World, bit_of, flipped, to_one
from provenance.ids import uuid7

COLUMNS = {
    "object_type": "'tool'",
    "object_id": "object_id || 'x'",
    "rev": "COALESCE(rev, 0) + 1",
    "op": "'update'",
    "changed": "changed || 'status'::text",
    "action": "'run.succeeded'",
    "actor_id": "actor_id || 'x'",
    "actor_type": "'user'",
    "outcome": "'failure'",
    "risk": "'critical'",
    "run_id": "id",
    "kid": "'worker-77'",
    "workspace_id": "NULL",
}


def _body_bit(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    ((body,),) = world.rows("SELECT body FROM audit.event WHERE id = %s", world.ids[index])
    while True:
        changed = flipped(body.encode(), chance)
        if changed.isascii() and b"\0" not in changed:
            break
    world.change("UPDATE audit.event SET body = %s WHERE id = %s", changed.decode(), world.ids[index])
    return Expected(world.origin, index)


def _delete_leaf(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx = %s", world.log_id(world.origin), index)
    return Expected(world.origin, index)


def _delete_and_close_the_gap(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids) - 1), world.log_id(world.origin)
    world.change("DELETE FROM audit.event WHERE id = %s", world.ids[index])
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx = %s", log_id, index)
    _shift(world, log_id, index, -1)
    # After the last checkpoint that is still whole, only the end tells that there is one leaf less.
    is_at_the_end = index >= world.sizes[-2]
    return Expected(world.origin, index, len(world.ids) - 1 if is_at_the_end else world.step_before(index))


def _insert_between(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids)), world.log_id(world.origin)
    forged = _copy_of(world, world.ids[index], mac=chance.randbytes(32))
    _shift(world, log_id, index - 1, 1)
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", forged)
    world.change(
        "INSERT INTO audit.leaf (log_id, idx, hash, event_id) VALUES (%s, %s, %s, %s)",
        *(log_id, index, leaf_hash(event_entry(body.encode(), bytes(mac))), forged),
    )
    return Expected(world.origin, index)


def _append_behind_the_checkpoint(world: World, chance: random.Random) -> Expected:
    forged = _copy_of(world, world.ids[0], mac=chance.randbytes(32))
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", forged)
    size = len(world.ids)
    world.change(
        "INSERT INTO audit.leaf (log_id, idx, hash, event_id) VALUES (%s, %s, %s, %s)",
        *(world.log_id(world.origin), size, leaf_hash(event_entry(body.encode(), bytes(mac))), forged),
    )
    return Expected(world.origin, size, by_fsck=True)


def _swap_leaves(world: World, chance: random.Random) -> Expected:
    log_id, (first, second) = world.log_id(world.origin), sorted(chance.sample(range(len(world.ids)), 2))
    for before, after in ((first, 1 << 40), (second, first), (1 << 40, second)):
        world.change("UPDATE audit.leaf SET idx = %s WHERE log_id = %s AND idx = %s", after, log_id, before)
    return Expected(world.origin, first, world.step_before(first))


def _swap_events(world: World, chance: random.Random) -> Expected:
    first, second = sorted(chance.sample(range(len(world.ids)), 2))
    (one,), (other,) = (
        world.rows("SELECT body, mac FROM audit.event WHERE id = %s", world.ids[index]) for index in (first, second)
    )
    for values, index in ((other, first), (one, second)):
        world.change("UPDATE audit.event SET body = %s, mac = %s WHERE id = %s", *values, world.ids[index])
    return Expected(world.origin, first)


def _cut_the_tail(world: World, chance: random.Random) -> Expected:
    size = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx >= %s", world.log_id(world.origin), size)
    world.change("DELETE FROM audit.event WHERE id = ANY (%s)", world.ids[size:])
    return Expected(world.origin, size)


def _leaf_bit(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.flip(chance, "hash", "leaf WHERE log_id = %s AND idx = %s", world.log_id(world.origin), index)
    return Expected(world.origin, index)


def _tile_bit(world: World, chance: random.Random) -> Expected:
    place = world.flip(chance, "data", "tile WHERE log_id = %s AND level = 0 AND n = 0", world.log_id(world.origin))
    return Expected(world.origin, place // 32)


def _edge_bit(world: World, chance: random.Random) -> Expected:
    size = chance.choice(world.sizes)
    world.flip(chance, "frontier", "checkpoint WHERE log_id = %s AND size = %s", world.log_id(world.origin), size)
    return Expected(world.origin, size - 1, by_fsck=True)


def _checkpoint_root(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((note,),) = world.rows("SELECT note FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    origin, count, root, _end = note.split("\n")
    changed = base64.b64encode(flipped(base64.b64decode(root), chance)).decode()
    world.change(
        "UPDATE audit.checkpoint SET note = %s WHERE log_id = %s AND size = %s",
        *(f"{origin}\n{count}\n{changed}\n", log_id, size),
    )
    return Expected(world.origin, size - 1)


def _signature_bit(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((line,),) = world.rows("SELECT signatures FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    head, _, encoded = line.removesuffix("\n").rpartition(" ")
    changed = base64.b64encode(flipped(base64.b64decode(encoded), chance)).decode()
    world.change(
        "UPDATE audit.checkpoint SET signatures = %s WHERE log_id = %s AND size = %s",
        *(f"{head} {changed}\n", log_id, size),
    )
    return Expected(world.origin, size - 1)


def _log_of_logs_bit(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(world.instance_size)
    world.flip(chance, "hash", "leaf WHERE log_id = %s AND idx = %s", world.log_id(world.instance), index)
    return Expected(world.instance, index)


def _drop_a_checkpoint(world: World, chance: random.Random) -> Expected:
    size = chance.choice(world.sizes[:-1])
    world.change("DELETE FROM audit.checkpoint WHERE log_id = %s AND size = %s", world.log_id(world.origin), size)
    return Expected()


def _shift(world: World, log_id: int, after: int, by: int) -> None:
    # In two steps, because Postgres looks at the key row by row.
    far = 1 << 40
    world.owner.execute("UPDATE audit.leaf SET idx = idx + %s WHERE log_id = %s AND idx > %s", (far, log_id, after))
    world.owner.execute("UPDATE audit.leaf SET idx = idx - %s WHERE log_id = %s AND idx > %s", (far - by, log_id, far))


def _copy_of(world: World, event_id: UUID, *, mac: bytes) -> UUID:
    """A stored event that nobody signed, told like another one."""
    made = uuid7()
    world.change(
        """INSERT INTO audit.event SELECT (jsonb_populate_record(event, jsonb_build_object('id', %s::text,
             'body', replace(body, id::text, %s::text)))).* FROM audit.event WHERE id = %s""",
        *(made, made, event_id),
    )
    world.change("UPDATE audit.event SET mac = %s WHERE id = %s", mac, made)
    return made


MUTATIONS: dict[str, Mutate] = {
    "database: a bit of a body": _body_bit,
    "database: a bit of a MAC": bit_of("mac", "event WHERE id = %s"),
    "database: one column": to_one(
        *(f"UPDATE audit.event SET {column} = {COLUMNS[column]} WHERE id = %s" for column in sorted(COLUMNS))  # noqa: S608  our own columns
    ),
    "database: an event deleted": to_one("DELETE FROM audit.event WHERE id = %s"),
    "database: a leaf deleted": _delete_leaf,
    "database: an event deleted and the gap closed": _delete_and_close_the_gap,
    "database: an event put in between": _insert_between,
    "database: an event put behind the checkpoint": _append_behind_the_checkpoint,
    "database: two leaves swapped": _swap_leaves,
    "database: two events swapped": _swap_events,
    "database: the tail cut": _cut_the_tail,
    "database: a bit of a leaf": _leaf_bit,
    "database: a bit of a tile": _tile_bit,
    "database: a bit of a stored edge": _edge_bit,
    "database: a bit of a root": _checkpoint_root,
    "database: a bit of a signature": _signature_bit,
    "database: a bit of the log of logs": _log_of_logs_bit,
    "database: a checkpoint dropped": _drop_a_checkpoint,
}
