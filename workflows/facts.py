"""What a step needs to know about its run, loaded once per turn: definition, manifest, input and earlier outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from approvals.rules import users_among
from audit.attestation import Altered, LoadedRow, RowAltered
from audit.loading import demand_as_signed
from audit.services import EventContext
from provenance.actor import Actor, ActorKind
from provenance.canonical import NotCanonical, digest
from provenance.ids import public_id
from provenance.permissions import Permission
from workflows import definition, values
from workflows.definition import Definition
from workflows.models import Run, RunManifest, Step
from workflows.states import StepStatus

ENGINE = "workflows.engine"
ENGINE_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPin:
    """An agent as the run's manifest fixed it at the start."""

    slug: str
    title: str
    agent_id: UUID
    version_id: UUID
    version: int
    provider: str
    model: str

    @classmethod
    def of(cls, slug: str, entry: Mapping[str, Any]) -> "AgentPin":
        """The pin that a manifest holds."""
        return cls(
            slug=slug,
            title=entry["title"],
            agent_id=UUID(entry["agent_id"]),
            version_id=UUID(entry["version_id"]),
            version=entry["version"],
            provider=entry["provider"],
            model=entry["model"],
        )


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """A run as its steps see it. `outputs` grows as steps end, so that each value is read once in a turn.

    `has_begun`: a step of it had been begun before this turn.
    """

    workspace_id: UUID
    run_id: UUID
    workflow_id: UUID
    version_id: UUID
    version_label: str
    published_by: str
    environment: str
    started_by_kind: str
    started_by_id: str
    key_id: UUID | None
    on_behalf_of: str
    definition: Definition
    manifest: Mapping[str, Any]
    input: Any
    has_begun: bool = False
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """What expressions read."""
        return {"input": self.input, "steps": {name: {"output": output} for name, output in self.outputs.items()}}

    def agent(self, slug: str) -> AgentPin:
        """The pinned agent."""
        return AgentPin.of(slug, self.manifest["agents"][slug])

    def context(self, step: str = "", agent: AgentPin | None = None) -> EventContext:
        """Where an event of this run happened."""
        return EventContext(
            run_id=self.run_id,
            step=step,
            workflow_version=str(self.version_id),
            agent_version=str(agent.version_id) if agent else "",
            environment=self.environment,
        )

    def call_key(self, node_key: str, item_index: int, seq: int) -> str:
        """The key of a call: the same over every retry, another one in every other run (C11)."""
        item = f".{item_index}" if item_index else ""
        return f"{public_id('run', self.run_id)}:{node_key}{item}:{seq}"

    def engine_actor(self) -> Actor:
        """The engine, acting for whoever answers for the run."""
        return engine_actor(self.workspace_id, self.on_behalf_of)

    def agent_actor(self, agent: AgentPin) -> Actor:
        """An agent of the run, which asks and never decides (M008)."""
        return Actor(
            kind=ActorKind.AGENT,
            id=str(agent.agent_id),
            label=agent.title,
            workspace_id=self.workspace_id,
            permissions=frozenset({Permission.APPROVALS_WRITE}),
            via="run",
            on_behalf_of=self.on_behalf_of,
        )

    @property
    def conflicted_user_ids(self) -> list[UUID]:
        """People who count as having asked: starter, owner of the key, publisher of the version (T22)."""
        starter = self.started_by_id if self.started_by_kind == ActorKind.USER else ""
        return users_among(starter, self.on_behalf_of, self.published_by)


def engine_actor(workspace_id: UUID, on_behalf_of: str) -> Actor:
    """The engine, acting for a person who answers for a run."""
    actor = Actor.system(ENGINE, workspace_id, {Permission.APPROVALS_WRITE, Permission.RUNS_WRITE})
    return replace(actor, on_behalf_of=on_behalf_of)


def load(workspace_id: UUID, run_id: UUID) -> RunFacts:
    """Read a run's facts. Call it inside the workspace, with the run locked.

    Raises `RowAltered` when the run, a step of it, its definition or its manifest is not what was signed: a step that asks a
    person can be taken out of each of them, by whoever owns the database (T06).
    """
    run: Run = Run.objects.for_workspace(workspace_id).select_related("version").get(pk=run_id)
    manifest = RunManifest.objects.for_workspace(workspace_id).filter(run_id=run_id).first()
    steps = list(Step.objects.for_workspace(workspace_id).filter(run_id=run_id).order_by("id"))
    demand_as_signed(run, run.version, *steps)
    if manifest is None or not _is_of(manifest.content, run.manifest_hash):
        raise altered(run, "its manifest is not the one that it was started with")
    facts = RunFacts(
        workspace_id=workspace_id,
        run_id=run_id,
        workflow_id=run.workflow_id,
        version_id=run.version_id,
        version_label=run.version.label,
        published_by=run.version.published_by,
        environment=run.environment,
        started_by_kind=run.started_by_kind,
        started_by_id=run.started_by_id,
        key_id=run.key_id,
        on_behalf_of=run.on_behalf_of,
        definition=definition.load(run.version.definition),
        manifest=manifest.content,
        input=values.get(workspace_id, run.input_ref),
        has_begun=bool(steps),
    )
    for step in steps:
        if step.status == StepStatus.SUCCEEDED:
            facts.outputs[step.node_key] = values.get(workspace_id, step.output_ref)
    return facts


def altered(run: Run, problem: str) -> RowAltered:
    """The refusal of a run that is not what the log says, for something beside its row."""
    row = LoadedRow(run.object_type(), str(run.pk), run.workspace_id, run.audit_rev, run.state())
    return RowAltered(Altered(row, problem))


def _is_of(content: Any, signed_hash: str) -> bool:
    try:
        return digest(content) == signed_hash
    except NotCanonical:
        return False
