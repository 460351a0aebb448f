"""Driving runs inside a test, as a worker process would."""

from collections.abc import Callable
from typing import Any

from provenance.actor import Actor
from provenance.db import enter
from workflows import engine, services
from workflows.models import Run, Token


def published(actor: Actor, source: str, slug: str) -> Any:
    """A workflow with this definition, live."""
    services.save_draft(actor=actor, slug=slug, source=source)
    return services.publish_version(actor=actor, slug=slug)


def token_of(run: Run) -> Token:
    """The newest token of a run."""
    with enter(run.workspace_id):
        token: Token = Token.objects.filter(run_id=run.pk).latest("id")
    return token


def drive(run: Run, as_role: Callable[[str], Any], dispatch_no: int | None = None) -> int | None:
    """Answer the run's doorbell as a worker."""
    token = token_of(run)
    with as_role("worker"):
        return engine.drive(run.workspace_id, token.pk, token.dispatch_no if dispatch_no is None else dispatch_no)


def fresh(run: Run) -> Run:
    """The run as it stands now."""
    with enter(run.workspace_id):
        found: Run = Run.objects.get(pk=run.pk)
    return found
