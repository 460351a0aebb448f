"""Where a stored log stands, believed only as the log's own keys signed it.

Whoever owns the database can write another root or edge, or a checkpoint without its signature: what this sealer then grew or
signed would be a log that never was. So a log is taken up at its newest signed checkpoint, and what was committed after that
and not signed must continue it leaf by leaf.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from audit.epochs import misnamed
from audit.merkle import Frontier
from audit.notes import AnyVerifier, BadNote, Checkpoint, opened, signed_note
from audit.sealing import sql

Connection = psycopg.Connection[Any]
Verifiers = Callable[[str], Sequence[AnyVerifier]]
"""The public keys of the log of that name."""
Place = tuple[int, int]
"""A log and a size."""


class NotContinued(Exception):
    """What is stored of a log is not what its keys signed. Nothing may be sealed on it."""


class StoredLog(NamedTuple):
    """A row of `audit.log`."""

    id: int
    workspace_id: UUID | None
    epoch: int
    origin: str

    def own_name(self, installation: str) -> str:
        """Its name. Raises `NotContinued` for any other one: what is signed under that, no anchor would miss."""
        if problem := misnamed(installation, self.workspace_id, self.epoch, self.origin):
            raise NotContinued(
                f"{problem}. Nothing is sealed on it. Find out who wrote into the database, and take it back."
            )
        return self.origin


def standing(
    connection: Connection, log_id: int, origin: str, verifiers: Verifiers
) -> tuple[Frontier, dict[Place, str]]:
    """The edge of a log, and the checkpoints that wait for their signature. Raises `NotContinued`."""
    edge, waiting = Frontier(), dict[Place, str]()
    for size, text, signatures, stored in connection.execute(sql.STANDING, {"log_id": log_id}).fetchall():
        if signatures is not None:
            edge = _signed_edge(origin, size, signed_note(Checkpoint.parse(text), signatures), stored, verifiers)
            continue
        for _node in edge.append(_leaves(connection, log_id, edge.size, size)):
            pass
        if Checkpoint(origin, size, edge.root()).text != text:
            raise NotContinued(
                _PAST_THE_SEALER.format(origin=origin, size=size, problem="its root is not that of the leaves")
            )
        waiting[log_id, size] = text
    return edge, waiting


def all_waiting(
    connection: Connection, installation: str, verifiers: Verifiers, still: Callable[[], None]
) -> dict[Place, str]:
    """The checkpoints of all logs that wait for their signature. Raises `NotContinued`, also where none waits.

    `still` is called before each log, because thousands of them take longer than a lease.
    """
    waiting: dict[Place, str] = {}
    for log in map(StoredLog._make, connection.execute(sql.TAKEN_UP).fetchall()):
        still()
        waiting |= standing(connection, log.id, log.own_name(installation), verifiers)[1]
    return waiting


def _signed_edge(origin: str, size: int, note: str, stored: bytes, verifiers: Verifiers) -> Frontier:
    try:
        checkpoint, edge = opened(note, verifiers(origin)), Frontier.of(size, bytes(stored))
    except (BadNote, ValueError) as problem:
        raise NotContinued(_PAST_THE_SEALER.format(origin=origin, size=size, problem=problem)) from problem
    if checkpoint != Checkpoint(origin, size, edge.root()):
        words = "its edge is that of another tree"
        raise NotContinued(_PAST_THE_SEALER.format(origin=origin, size=size, problem=words))
    return edge


def _leaves(connection: Connection, log_id: int, first: int, size: int) -> Iterator[bytes]:
    bounds = {"log_id": log_id, "first": first, "size": size}
    return (bytes(leaf) for (leaf,) in connection.execute(sql.LAST_LEAVES, bounds).fetchall())


_PAST_THE_SEALER = (
    "The stored checkpoint of {origin} at {size} is not what this sealer made: {problem}. Nothing is sealed on it. Find out who "
    "wrote into the database, run `./manage.py verify --full`, and restore what was there."
)
