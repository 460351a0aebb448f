"""What a database administrator can do to the details of events, which no leaf holds."""

import random

from bench.tampering.world import Expected, Mutate, World, flipped


def _bit_of(column: str) -> Mutate:
    def mutate(world: World, chance: random.Random) -> Expected:
        index = chance.randrange(len(world.ids))
        ((value,),) = world.rows(f"SELECT {column} FROM audit.detail WHERE event_id = %s", world.ids[index])  # noqa: S608  ours
        world.change(
            f"UPDATE audit.detail SET {column} = %s WHERE event_id = %s",  # noqa: S608  ours
            *(flipped(bytes(value), chance), world.ids[index]),
        )
        return Expected(world.origin, index)

    return mutate


def _beside(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    change = chance.choice(["media_type = 'text/html'", "retention_class = 'prompts'", "workspace_id = NULL"])
    world.change(f"UPDATE audit.detail SET {change} WHERE event_id = %s", world.ids[index])  # noqa: S608  ours
    return Expected(world.origin, index)


def _delete(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.change("DELETE FROM audit.detail WHERE event_id = %s", world.ids[index])
    return Expected(world.origin, index)


def _erase(world: World, chance: random.Random) -> Expected:
    index = chance.randrange(len(world.ids))
    world.change(
        "UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = now() WHERE event_id = %s", world.ids[index]
    )
    return Expected(world.origin, index)


def _swap(world: World, chance: random.Random) -> Expected:
    first, second = sorted(chance.sample(range(len(world.ids)), 2))
    one, other = world.ids[first], world.ids[second]
    world.change(
        "UPDATE audit.detail SET salt = kept.salt, body = kept.body FROM public.kept_detail AS kept"
        " WHERE detail.event_id = ANY (%s) AND kept.event_id = ANY (%s) AND kept.event_id <> detail.event_id",
        *([one, other], [one, other]),
    )
    return Expected(world.origin, first)


MUTATIONS: dict[str, Mutate] = {
    "database: a bit of a detail": _bit_of("body"),
    "database: a bit of a salt": _bit_of("salt"),
    "database: what stands beside a detail": _beside,
    "database: a detail deleted": _delete,
    "database: a detail erased in silence": _erase,
    "database: two details swapped": _swap,
}
