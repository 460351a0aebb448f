"""A run begins: what it is made of is fixed, and the same request never makes two."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from agents.errors import AgentNotActive
from agents.prompt import new_boundary
from agents.selectors import version_for_run
from agents.trust import LIMITS, Trust
from audit.loading import demand_as_signed
from audit.services import record
from audit.taxonomy import Event
from provenance.actor import Actor
from provenance.api import IdempotencyMismatch, Repeatable
from provenance.canonical import digest
from provenance.db import database_now, service, workspace_of
from provenance.errors import NotFound
from provenance.ids import uuid7
from provenance.permissions import Permission
from provenance.schemas import violations
from secrets_vault import references
from workflows import definition, doorbell, selectors, sql, transitions, values
from workflows.definition import Definition, ToolStep
from workflows.errors import InputRefused, NotPublished
from workflows.facts import ENGINE_VERSION
from workflows.models import (
    Budget,
    IdempotencyKey,
    Run,
    RunManifest,
    Scope,
    Timer,
    Token,
    Workflow,
    WorkflowVersion,
)

KEEP_KEYS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started, now or by the same request before (`is_repeat`)."""

    run: Run
    is_repeat: bool


@service
def start_run(
    *,
    actor: Actor,
    workflow_slug: str,
    input: Any,  # noqa: A002  the word of the contract, and keyword-only
    idempotency_key: Repeatable | str | None = None,
) -> Run:
    """Start the live version. Like `start_run_once`, for callers that do not care whether it was a repeat."""
    return start_run_once(actor=actor, workflow_slug=workflow_slug, input=input, idempotency_key=idempotency_key).run


@service
def start_run_once(
    *,
    actor: Actor,
    workflow_slug: str,
    input: Any,  # noqa: A002  the word of the contract, and keyword-only
    idempotency_key: Repeatable | str | None = None,
) -> Started:
    """Queue a run of the live version: run, manifest, first token, key and event in one commit, then the doorbell.

    The same `idempotency_key` with the same request gives the same run; with another one it is `IdempotencyMismatch`.
    Raises `InputRefused` with one error per field, `NotPublished`, `AgentNotActive`, `RowAltered`.
    """
    actor.require(Permission.RUNS_WRITE)
    repeat = _repeatable(idempotency_key, workflow_slug, input)
    if repeat and (earlier := _started_before(actor, repeat)):
        return Started(earlier, is_repeat=True)
    workflow = Workflow.objects.for_actor(actor).filter(slug=workflow_slug).first()
    if workflow is None:
        raise NotFound(f"There is no workflow {workflow_slug[:63]!r} here.")
    live = selectors.live_alias(workflow)
    if live is None:
        raise NotPublished
    # What runs is what somebody published (T06).
    demand_as_signed(workflow, live, live.version)
    loaded = definition.load(live.version.definition)
    _check_input(loaded, input)
    run = _queued_run(actor, workflow, live.version, loaded, input)
    if repeat:
        _remember(actor, repeat, run)
    return Started(run, is_repeat=False)


def _check_input(loaded: Definition, given: Any) -> None:
    if errors := [{"path": path, "message": message} for path, message in violations(loaded.input, given)]:
        raise InputRefused(
            f"The input does not fit: {errors[0]['path'] or 'it'}: {errors[0]['message']}", errors=errors
        )
    references.refuse_in(given)


def _queued_run(actor: Actor, workflow: Workflow, version: WorkflowVersion, loaded: Definition, given: Any) -> Run:
    manifest = _manifest(actor, loaded)
    now, run_id = database_now(), uuid7()
    run = Run(
        id=run_id,
        workspace_id=workflow.workspace_id,
        workflow=workflow,
        version=version,
        environment=loaded.environment,
        root_run_id=run_id,
        input_ref=values.put(workflow.workspace_id, given),
        manifest_hash=digest(manifest),
        started_by_kind=actor.kind.value,
        started_by_id=actor.id,
        key_id=actor.key_id,
        on_behalf_of=actor.answerable,
        created_at=now,
        deadline_at=now + timedelta(minutes=loaded.minutes),
    )
    run.save()
    record(
        actor=actor,
        event=Event.RUN_QUEUED,
        target=run,
        outcome="pending",
        context=transitions.context_of(run),
        detail={"workflow": workflow.slug, "version": version.number, "manifest_hash": run.manifest_hash},
    )
    _make_ready(run, loaded, manifest)
    return run


def _make_ready(run: Run, loaded: Definition, manifest: Mapping[str, Any]) -> None:
    """The engine's own rows of a new run, and the doorbell."""
    RunManifest(workspace_id=run.workspace_id, run=run, content=manifest).save(force_insert=True)
    scope = Scope(workspace_id=run.workspace_id, run=run)
    scope.save(force_insert=True)
    Timer(workspace_id=run.workspace_id, run=run, kind=Timer.Kind.RUN_DEADLINE, fire_at=run.deadline_at).save(
        force_insert=True
    )
    Budget(workspace_id=run.workspace_id, run=run, limit=_token_limit(loaded, manifest)).save(force_insert=True)
    token = Token(
        workspace_id=run.workspace_id,
        run=run,
        scope=scope,
        node_key=loaded.first.name,
        wake_at=run.created_at + timedelta(seconds=sql.RING_AGAIN_SECONDS),
    )
    token.save(force_insert=True)
    doorbell.ring_on_commit(run.workspace_id, token.pk, token.dispatch_no)


def _token_limit(loaded: Definition, manifest: Mapping[str, Any]) -> int:
    """What the definition says, and never more than the tightest of its agents may use (M159)."""
    of_agents = [int(agent["token_budget"]) for agent in manifest["agents"].values()]
    return min([*of_agents, *([loaded.tokens] if loaded.tokens else [])], default=0)


def _manifest(actor: Actor, loaded: Definition) -> dict[str, Any]:
    """What this run is made of, fixed now: later versions of agents never reach into a run in flight."""
    workspace_id = workspace_of(actor)
    agents = {}
    for slug in sorted(loaded.agents):
        try:
            found = version_for_run(workspace_id, slug)
        except NotFound as error:
            raise AgentNotActive(f"The agent {slug!r} of this workflow does not exist any more.") from error
        demand_as_signed(found.agent, found.version)
        agents[slug] = {
            "title": found.agent.title,
            "agent_id": str(found.agent.pk),
            "version_id": str(found.version.pk),
            "version": found.version.number,
            "content_hash": found.version.content_hash,
            "provider": found.provider.name,
            "model": found.version.model,
            # The level caps what the version asks for.
            "token_budget": min(found.version.token_budget, LIMITS[Trust(found.agent.trust_level)].tokens_per_run),
        }
    return {
        "engine": ENGINE_VERSION,
        "workflow": loaded.content_hash,
        "agents": agents,
        "tools": selectors.pins(workspace_id, {step.tool for step in loaded.steps if isinstance(step, ToolStep)}),
        # Envelopes of untrusted data carry it, so that a run resumed after a crash reads the same transcript.
        "boundary": new_boundary(),
    }


# --- Repeats ---------------------------------------------------------------------------------------------------------


def _repeatable(key: Repeatable | str | None, slug: str, given: Any) -> Repeatable | None:
    if isinstance(key, str):
        return Repeatable(key, digest({"workflow": slug, "input": selectors.exact(given)})) if key else None
    return key


def _started_before(actor: Actor, repeat: Repeatable) -> Run | None:
    """The run that this key made. Two requests at once: the second waits here for the first one's commit."""
    with_lock = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"
    sql.run(with_lock, name=f"start:{workspace_of(actor)}:{actor.id}:{repeat.key}")
    keys = IdempotencyKey.objects.for_actor(actor).filter(principal_id=actor.id, key=repeat.key)
    known = keys.first()
    if known is None:
        return None
    if known.expires_at < database_now():
        keys.delete()
        return None
    if known.request_hash != repeat.fingerprint:
        raise IdempotencyMismatch
    run: Run = Run.objects.for_actor(actor).get(pk=known.run_id)
    return run


def _remember(actor: Actor, repeat: Repeatable, run: Run) -> None:
    IdempotencyKey(
        workspace_id=run.workspace_id,
        principal_id=actor.id,
        key=repeat.key,
        request_hash=repeat.fingerprint,
        run_id=run.pk,
        expires_at=run.created_at + KEEP_KEYS,
    ).save(force_insert=True)
