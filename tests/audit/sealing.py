"""A sealer for tests, signed in as its own Postgres role, and what it left in the tables."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from audit import awaiting
from audit.judging import checkpoint_entry, event_entry
from audit.merkle import leaf_hash, tree_root
from audit.notes import Checkpoint, LogSigner, opened, signed_note
from audit.sealer import Sealer
from audit.sealing.log_keys import LogKeys
from audit.signing import KeyRing
from audit.taxonomy import Event
from bench.events import make_workspace
from bench.guards import past_the_guards
from provenance.home import Home
from provenance.ids import uuid7
from tests import databases

ORIGIN = "log.test"
WORKSPACE, OTHER = uuid7(), uuid7()
"""Two workspaces for events of no consequence: `pytest.mark.workspaces` has them there."""
SIGNER = LogSigner(b"e" * 32, b"m" * 32)
SIGNERS = ("sealer", "web", "gateway", "worker", "setup", "retention")


def all_keys(process: str = "sealer") -> KeyRing:
    """Every MAC key of this test run, to sign as this process."""
    home = Home.locate()
    return KeyRing.parse({f"{name}-1": home.read_key(f"mac-{name}") for name in SIGNERS}, process)


@contextmanager
def sealer(
    signer: LogSigner = SIGNER, reread: Callable[[], LogSigner] | None = None, **changes: Any
) -> Iterator[Sealer]:
    """One that gives its lease back at the end."""
    made = Sealer(
        **{
            "connect": lambda: databases.login("sealer"),
            "keys": all_keys(),
            "log_keys": LogKeys(signer, reread),
            "origin": ORIGIN,
            **changes,
        }
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def going_on() -> Iterator[None]:
    """A sealer at work meanwhile, for what waits for it; on a busy machine that may take a while."""
    stop = threading.Event()
    with sealer() as one, pytest.MonkeyPatch.context() as patch:
        patch.setattr(awaiting, "LONGEST_SECONDS", 120)
        thread = threading.Thread(target=one.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def seal(*places: Any, **changes: Any) -> Sealer:
    """Seal everything that is committed, and let it be carried to these places."""
    with sealer(places=places, **changes) as one:
        while one.work():
            pass
        for courier in one.couriers:
            courier.deliver()
        assert one._lease.fence or one._refusal, "nothing was sealed: another sealer holds the lease"
        return one


def start_over() -> None:
    """As a database that knows nothing of what was sealed: empty but for the two workspaces."""
    databases.empty_all_tables()
    with databases.admin() as owner:
        for workspace_id in (WORKSPACE, OTHER):
            make_workspace(owner, workspace_id)
        owner.execute("UPDATE audit.sealer SET snap = '1:1:', sealed_maybe = '00000000-0000-0000-0000-000000000000'")


def rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What the tables hold, past every wall."""
    with databases.admin() as owner:
        return owner.execute(statement, parameters).fetchall()


def leaves(workspace_id: UUID | None) -> list[tuple[bytes, UUID | None]]:
    """The leaves of a log, in order: hash and event. Their indices must be without a gap."""
    found = rows(
        "SELECT idx, hash, event_id FROM audit.leaf JOIN audit.log ON log.id = log_id"
        " WHERE workspace_id IS NOT DISTINCT FROM %s ORDER BY idx",
        workspace_id,
    )
    assert [index for index, _hash, _event in found] == list(range(len(found)))
    return [(bytes(value), event_id) for _index, value, event_id in found]


def ids_in(workspace_id: UUID | None) -> list[UUID | None]:
    """The events of a log, in order."""
    return [event_id for _hash, event_id in leaves(workspace_id)]


def checkpoints(workspace_id: UUID | None) -> list[Checkpoint]:
    """The checkpoints of a log, each opened with the log's public keys."""
    found = rows(
        "SELECT note, signatures FROM audit.checkpoint WHERE workspace_id IS NOT DISTINCT FROM %s ORDER BY size",
        workspace_id,
    )
    return [
        opened(signed_note(Checkpoint.parse(note), signatures), SIGNER.verifiers(Checkpoint.parse(note).origin))
        for note, signatures in found
    ]


def leaf_of(event_id: UUID | str) -> bytes:
    """The leaf that a stored event must have."""
    (leaf,) = leaves_of([event_id]).values()
    return leaf


def leaves_of(event_ids: Sequence[UUID | str]) -> dict[UUID, bytes]:
    """The leaves that stored events must have, by their ids."""
    found = rows("SELECT id, body, mac FROM audit.event WHERE id = ANY (%s)", list(event_ids))
    return {event_id: leaf_hash(event_entry(body.encode(), bytes(mac))) for event_id, body, mac in found}


def leaf_of_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The leaf that the instance log must have for another log's checkpoint."""
    return leaf_hash(checkpoint_entry(checkpoint.text))


def assert_log_is_sound(workspace_id: UUID | None) -> None:
    """Each leaf is that of its event, and each checkpoint is signed and the root of the leaves up to it."""
    stored = leaves(workspace_id)
    told = {event_id: value for value, event_id in stored if event_id}
    assert told == leaves_of(list(told))
    found = checkpoints(workspace_id)
    for checkpoint in found:
        assert checkpoint.root == tree_root([value for value, _event in stored[: checkpoint.size]])
    assert found[-1].size == len(stored)


def status(subject: str = "sealer") -> str | None:
    """What is wrong with the sealer or a place, as pages are told it; None when nothing is said of it."""
    found = rows("SELECT problem FROM audit.status WHERE subject = %s", subject)
    return found[0][0] if found else None


def told(event: Event) -> list[tuple[UUID | None, Any]]:
    """What events of this type tell: workspace and facts of each."""
    return rows(
        "SELECT event.workspace_id, convert_from(detail.body, 'UTF8')::jsonb FROM audit.event"
        " JOIN audit.detail ON event_id = id WHERE action = %s ORDER BY id",
        event,
    )


def tamper(statement: str, *parameters: Any) -> int:
    """Do what a database superuser could do: any statement with the guards off. How many rows it touched."""
    with databases.admin() as owner, owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        with past_the_guards(owner, *(name for (name,) in owner.execute(_GUARDED).fetchall())):
            return owner.execute(statement, parameters).rowcount


@contextmanager
def undone(event_id: Any) -> Iterator[None]:
    """What is done inside to the rows of one event is undone at the end."""
    columns = {"audit.event": "id", "audit.detail": "event_id", "audit.leaf": "event_id"}
    with databases.admin() as owner:
        kept = {
            table: owner.execute(f"SELECT to_jsonb(kept)::text FROM {table} AS kept WHERE {column} = %s", [event_id])
            for table, column in columns.items()
        }
        rows_of = {table: [row for (row,) in found.fetchall()] for table, found in kept.items()}
    yield
    for table, column in columns.items():
        tamper(f"DELETE FROM {table} WHERE {column} = %s", event_id)
        for row in rows_of[table]:
            tamper(f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s::jsonb)", row)


_GUARDED = """
SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'audit' AND relkind IN ('r', 'p') AND NOT relispartition
"""


def vkeys(workspace_id: UUID | None) -> list[str]:
    """The public keys of a log, as an auditor gets them."""
    return SIGNER.vkeys(f"{ORIGIN}/{workspace_id or 'instance'}", is_instance=workspace_id is None)
