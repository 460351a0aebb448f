"""What a database administrator can do to the details of events, which no leaf holds."""

import random

from bench.tampering.world import Expected, Mutate, World, bit_of, to_one


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
    "database: a bit of a detail": bit_of("body", "detail WHERE event_id = %s"),
    "database: a bit of a salt": bit_of("salt", "detail WHERE event_id = %s"),
    "database: what stands beside a detail": to_one(
        "UPDATE audit.detail SET media_type = 'text/html' WHERE event_id = %s",
        "UPDATE audit.detail SET retention_class = 'prompts' WHERE event_id = %s",
        "UPDATE audit.detail SET workspace_id = NULL WHERE event_id = %s",
    ),
    "database: a detail deleted": to_one("DELETE FROM audit.detail WHERE event_id = %s"),
    "database: a detail erased in silence": to_one(
        "UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = now() WHERE event_id = %s"
    ),
    "database: two details swapped": _swap,
}
