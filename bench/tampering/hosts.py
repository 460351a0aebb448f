"""What those can do who have keys: the application's host, the sealer's, all of them together, and whoever restores a backup."""

import random
from uuid import UUID

import orjson

from audit.judging import event_entry
from audit.merkle import leaf_hash
from audit.notes import Checkpoint, LogSigner
from bench.tampering.database import COLUMNS
from bench.tampering.world import SIZES, Expected, Mutate, World
from provenance.canonical import canonical_json

# --- The application's host: it can sign events ----------------------------------------------------------------------


def _told_anew(world: World, event_id: UUID, chance: random.Random, *, process: str = "worker") -> None:
    """The same event with another story, well signed, and columns that say so."""
    ((body,),) = world.rows("SELECT body FROM audit.event WHERE id = %s", event_id)
    said = orjson.loads(body)
    key = world.keys(process).signing_key(world.workspace_id)
    said["kid"] = key.kid
    said["object"]["id"] = f"forged-{chance.randrange(1 << 30)}"
    text = canonical_json(said)
    world.change(
        "UPDATE audit.event SET body = %s, mac = %s, kid = %s, object_id = %s WHERE id = %s",
        *(text.decode(), key.mac(text), key.kid, said["object"]["id"], event_id),
    )


def _sign_another_story(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    _told_anew(world, world.ids[index], chance)
    return Expected(world.origin, index)


def _sign_with_another_key(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    _told_anew(world, world.ids[index], chance, process=chance.choice(["web", "gateway"]))
    return Expected(world.origin, index)


def _sign_and_adjust_the_leaf(world: World, chance: random.Random) -> Expected:
    index, log_id = chance.randrange(len(world.ids)), world.log_id(world.origin)
    _told_anew(world, world.ids[index], chance)
    ((body, mac),) = world.rows("SELECT body, mac FROM audit.event WHERE id = %s", world.ids[index])
    value = leaf_hash(event_entry(body.encode(), bytes(mac)))
    world.change("UPDATE audit.leaf SET hash = %s WHERE log_id = %s AND idx = %s", value, log_id, index)
    if index < 256:
        ((data,),) = world.rows("SELECT data FROM audit.tile WHERE log_id = %s AND level = 0 AND n = 0", log_id)
        changed = bytes(data[: index * 32]) + value + bytes(data[index * 32 + 32 :])
        world.change("UPDATE audit.tile SET data = %s WHERE log_id = %s AND level = 0 AND n = 0", changed, log_id)
    return Expected(world.origin, index, world.step_before(index))


# --- The sealer's host: it can sign checkpoints ----------------------------------------------------------------------


def _seal_a_false_event(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    column = chance.choice(["risk", "outcome", "actor_id"])
    world.change(f"UPDATE audit.event SET {column} = {COLUMNS[column]} WHERE id = %s", world.ids[index])  # noqa: S608  our own columns
    world.change("UPDATE audit.event SET mac = %s WHERE id = %s", chance.randbytes(32), world.ids[index])
    world.rebuild(world.origin)
    return Expected(world.origin, index)


def _sign_with_a_key_of_ones_own(world: World, chance: random.Random) -> Expected:
    log_id, size = world.log_id(world.origin), chance.choice(world.sizes)
    ((note,),) = world.rows("SELECT note FROM audit.checkpoint WHERE log_id = %s AND size = %s", log_id, size)
    stranger = LogSigner(chance.randbytes(32), chance.randbytes(32))
    world.change(
        "UPDATE audit.checkpoint SET signatures = %s WHERE log_id = %s AND size = %s",
        *(stranger.sign(Checkpoint.parse(note), is_instance=False), log_id, size),
    )
    return Expected(world.origin, size - 1)


# --- All of them together, and whoever restores a backup -------------------------------------------------------------


def _fork(world: World, chance: random.Random) -> Expected:
    _told_anew(world, chance.choice(world.ids), chance)
    world.rebuild(world.origin)
    return Expected()


def _roll_back(world: World, chance: random.Random) -> Expected:
    """Both logs as they were after an earlier pass."""
    passes = chance.randrange(1, len(world.sizes))
    for origin in (world.origin, f"{world.installation}/{world.other_id}", world.instance):
        log_id = world.log_id(origin)
        sizes = [size for (size,) in world.rows(SIZES, origin)]
        size = sizes[passes - 1]
        world.change("DELETE FROM audit.checkpoint WHERE log_id = %s AND size > %s", log_id, size)
        world.owner.execute("DELETE FROM audit.tile WHERE log_id = %s AND n >= %s", (log_id, size >> 8))
        for table, column in (("event", "id"), ("detail", "event_id")):
            world.owner.execute(
                f"DELETE FROM audit.{table} WHERE {column} IN"  # noqa: S608  ours
                " (SELECT event_id FROM audit.leaf WHERE log_id = %s AND idx >= %s)",
                (log_id, size),
            )
        world.change("DELETE FROM audit.leaf WHERE log_id = %s AND idx >= %s", log_id, size)
    return Expected()


MUTATIONS: dict[str, Mutate] = {
    "application: another story, well signed": _sign_another_story,
    "application: signed by another process": _sign_with_another_key,
    "application: another story, and its leaf": _sign_and_adjust_the_leaf,
    "sealer: a false event sealed anew": _seal_a_false_event,
    "sealer: a key of one's own": _sign_with_a_key_of_ones_own,
    "together: a fork": _fork,
    "backup: rolled back": _roll_back,
}
