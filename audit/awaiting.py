"""Waiting until an event is sealed: for what must not leave before nobody can take back that it left.

The event is committed first, then the answer waits for the signed checkpoint over it. Never inside the transaction: the
sealer cannot see what is not committed.
"""

import time
from uuid import UUID

from django.db import transaction

from audit.envelope import SignedEvent
from audit.tree import django_tree
from provenance.db import enter
from provenance.errors import ProvenanceError

LONGEST_SECONDS = 5.0
PAUSE_SECONDS = 0.05


class NotSealed(ProvenanceError):
    """The event is stored, and no checkpoint was published over it in time; so nothing is handed out."""

    code = "not_sealed"
    status = 503
    title = "The log is not sealed"


def hold_until_sealed(event: SignedEvent) -> None:
    """Let the answer of the open transaction wait, after its COMMIT, until the event is sealed.

    Whoever opened the transaction gets `NotSealed` from its end when that takes longer than `LONGEST_SECONDS`; the event
    stays. For events of a workspace.
    """
    workspace_id = event.workspace_id
    if workspace_id is None:
        raise ValueError(
            "Only events of a workspace can be waited for: who waits does not read the log of the instance."
        )
    transaction.on_commit(lambda: wait_until_sealed(workspace_id, event.id))


def wait_until_sealed(workspace_id: UUID, event_id: UUID) -> None:
    """Return when a published checkpoint has the event in it. Raises `NotSealed` after `LONGEST_SECONDS`."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not _is_sealed(workspace_id, event_id):
        if time.monotonic() > deadline:
            raise NotSealed(
                f"This is in the log, and the log was not sealed within {LONGEST_SECONDS:.0f} seconds, so it is not handed out. "
                "Try again; if it stays so, `./manage.py status` says what is wrong with the sealer.",
                event_id=str(event_id),
            )
        time.sleep(PAUSE_SECONDS)


def _is_sealed(workspace_id: UUID, event_id: UUID) -> bool:
    # A transaction for each look: one that stays open would see the same for ever.
    with enter(workspace_id):
        position = django_tree().position(event_id)
    return position is not None and position.sealed_in is not None
