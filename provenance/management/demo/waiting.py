"""Waiting until the finance run has come to its person, and until what happened is sealed."""

import time
from uuid import UUID

from audit.models import AuditEvent
from audit.tree import django_tree
from provenance.db import enter
from provenance.management.demo.seed_file import Seed
from workflows.models import Run
from workflows.states import WaitingOn
from workspaces import lookups

LOOK_AGAIN_SECONDS = 0.1


class NotYetSealed(Exception):
    """The sealer did not come to what happened."""


class NobodyIsAsked(Exception):
    """The finance run did not come to its person."""


def wait_for_approval(seed: Seed, *, seconds: float) -> str:
    """The public id of a finance run that waits for a person, as soon as there is one. Raises `NobodyIsAsked`."""
    slug = seed["workspace"]["slug"]
    workspace_id = lookups.workspace_of_slug(slug)
    if workspace_id is None:
        raise NobodyIsAsked(f"There is no workspace {slug}: run `./manage.py seed_demo` first.")
    deadline = time.monotonic() + seconds
    while True:
        runs = _runs(workspace_id, seed["runs"]["finance"]["workflow"])
        for run in runs:
            if WaitingOn.APPROVAL in run.waiting_on:
                return run.public_id
        if runs and all(run.is_terminal for run in runs):
            raise NobodyIsAsked(f"The finance run {runs[0].public_id} has {_ended(runs[0])} and waits for nobody.")
        if time.monotonic() > deadline:
            raise NobodyIsAsked(
                f"No finance run waits for a person after {seconds:.0f} s ({_standing(runs)}). "
                "Does the worker run? See ./manage.py status and the logs."
            )
        time.sleep(LOOK_AGAIN_SECONDS)


def wait_until_sealed(workspace_id: UUID, *, seconds: float) -> float:
    """Wait until a published checkpoint holds every event that is there now; how long it took. Raises `NotYetSealed`."""
    began = time.monotonic()
    with enter(workspace_id):
        # Newest first: what is older than all of them was sealed in a pass before theirs.
        wanted = list(
            AuditEvent.objects.filter(workspace_id=workspace_id).order_by("-pk").values_list("pk", flat=True)[:500]
        )
    while True:
        with enter(workspace_id):
            tree = django_tree()
            places = tree.positions(wanted)
            sizes = {
                log_id: tree.newest_checkpoint(log_id) for log_id in {log_id for log_id, _index in places.values()}
            }
        ends = {log_id: found.checkpoint.size for log_id, found in sizes.items() if found}
        if len(places) == len(wanted) and all(index < ends.get(log_id, 0) for log_id, index in places.values()):
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            waiting = len(wanted) - len(places)
            raise NotYetSealed(f"{waiting} events are not sealed after {seconds:.0f} s. Does the sealer run?")
        time.sleep(LOOK_AGAIN_SECONDS)


def _runs(workspace_id: UUID, workflow: str) -> list[Run]:
    with enter(workspace_id):
        return list(Run.objects.for_workspace(workspace_id).filter(workflow__slug=workflow).order_by("-id")[:20])


def _ended(run: Run) -> str:
    return f"{run.status} ({run.failure_code}: {run.failure_reason})" if run.failure_code else run.status


def _standing(runs: list[Run]) -> str:
    return f"the newest one is {runs[0].status}" if runs else "there is none"
