"""The port upwards: who asked, and how to wake them when a request closes. Nothing here knows what a run is."""

from collections.abc import Callable
from uuid import UUID

from django.db import transaction

Wake = Callable[[UUID, UUID], None]

_wakes: dict[str, Wake] = {}


def register(name: str, wake: Wake) -> None:
    """Let an upper floor be woken for requests of this origin: `wake(workspace_id, origin_id)`. Called in `plugs.py`."""
    _wakes[name] = wake


def wake_on_commit(name: str, workspace_id: UUID, origin_id: UUID) -> None:
    """Wake whoever asked once the open transaction has committed.

    A wake-up is a doorbell: it may be lost with the process or with Valkey, and a sweep finds closed requests that
    something still waits for. So its failure is logged and does not undo what a person decided.
    """
    if wake := _wakes.get(name):
        transaction.on_commit(lambda: wake(workspace_id, origin_id), robust=True)
